import type { Api, NoticeAnswer } from "../../lib/api.ts";
import type { NoticeRecord } from "../../lib/chain/ledger.ts";
import { WaybillError } from "../../lib/protocol/errors.ts";
import { fromBase64, type Hex } from "../../lib/protocol/hex.ts";
import { decodeManifest, type Manifest, manifestDigest, transferId } from "../../lib/protocol/manifest.ts";

/** What the API knows of a notice, with its manifest where that is the one that the chain commits to. */
export interface Details {
  readonly answer: NoticeAnswer;
  readonly manifest: Manifest | null;
}

/** Null when the API has no record of the notice, or may not tell. */
export async function detailsOf(api: Api, { id, notice }: NoticeRecord, signal: AbortSignal): Promise<Details | null> {
  try {
    const answer = await api.notice(notice.task, id, signal);
    return { answer, manifest: committed(answer, notice.manifest, notice.transfer) };
  } catch (error) {
    if (error instanceof WaybillError && ["UNKNOWN_NOTICE", "NOT_FOUND", "NOT_RECIPIENT"].includes(error.code))
      return null;
    throw error;
  }
}

/** A server that shows another manifest is not believed. */
function committed({ manifest }: NoticeAnswer, digest: Hex, transfer: Hex): Manifest | null {
  const bytes = fromBase64(manifest);
  if (!bytes || manifestDigest(bytes) !== digest) return null;
  const read = decodeManifest(bytes);
  return transferId(read.tag) === transfer ? read : null;
}
