import type { Api, NoticeAnswer } from "../../lib/api.ts";
import type { NoticeRecord } from "../../lib/chain/ledger.ts";
import { WaybillError } from "../../lib/protocol/errors.ts";
import { transferId } from "../../lib/protocol/manifest.ts";

/** What the API knows of a notice. */
export interface Details {
  readonly answer: NoticeAnswer;
  /** Null where the API's is not the one that the notice commits to. The size is the API's word. */
  readonly named: Pick<NoticeAnswer, "tag" | "size"> | null;
}

/** Null when the API has no record of the notice, or may not tell. */
export async function detailsOf(api: Api, { id, notice }: NoticeRecord, signal: AbortSignal): Promise<Details | null> {
  try {
    const answer = await api.notice(notice.task, id, signal);
    return { answer, named: transferId(answer.tag) === notice.transfer ? answer : null };
  } catch (error) {
    if (error instanceof WaybillError && ["UNKNOWN_NOTICE", "NOT_FOUND", "NOT_RECIPIENT"].includes(error.code))
      return null;
    throw error;
  }
}
