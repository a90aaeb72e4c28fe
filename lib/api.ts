import type * as z from "zod/mini";
import { type ApiOptions, type Call, Calls, type Request } from "./calls.ts";
import type { Cursor } from "./chain/view.ts";
import type { WaybillError } from "./protocol/errors.ts";
import { type Address, type Hex, toBase64 } from "./protocol/hex.ts";
import type { Outcome } from "./protocol/reasons.ts";
import type { PartRequest, ProgressRequest } from "./protocol/requests.ts";
import type { Message, Notice, Open, RosterChange, Signed } from "./protocol/statements.ts";
import {
  beginAnswer,
  downloadAnswer,
  eventsAnswer,
  finishAnswer,
  noticeAnswer,
  openAnswer,
  partsAnswer,
  progressAnswer,
  statementAnswer,
  statementStateAnswer,
  storedPartsAnswer,
} from "./protocol/wire.ts";

type Schema<T> = z.ZodMiniType<T, unknown>;
export type BeginAnswer = z.infer<typeof beginAnswer>;
export type NoticeAnswer = z.infer<typeof noticeAnswer>;
export type FinishAnswer = z.infer<typeof finishAnswer>;
export type DownloadAnswer = z.infer<typeof downloadAnswer>;
export type EventsAnswer = z.infer<typeof eventsAnswer>;
export type StatementState = z.infer<typeof statementStateAnswer>;
export type PartsAnswer = z.infer<typeof partsAnswer>;
export type StoredParts = z.infer<typeof storedPartsAnswer>["parts"];

/** A notice that is signed, with its recipients' accounts in bit order. */
export interface PublishedNotice {
  readonly notice: Notice;
  readonly signature: Hex;
  readonly recipients: readonly Address[];
}

/**
 * The functions over HTTPS. Each request is signed (ERC-8128) and signed anew when it is repeated; no answer is believed
 * before it has the agreed shape.
 *
 * @throws from every method: WaybillError with the server's code; UNREACHABLE when there is no answer; BAD_SERVER when
 * the answer is none of ours.
 */
export class Api {
  readonly #calls: Calls;

  constructor(options: ApiOptions) {
    this.#calls = new Calls(options);
  }

  openTask({ statement, signature }: Signed<Open>): Promise<{ statement: Hex }> {
    const { owner, salt, members } = statement;
    return this.#calls.call(post("/v1/tasks", { owner, salt, members, signature }, openAnswer));
  }

  changeRoster({ statement, signature }: Signed<RosterChange>): Promise<{ statement: Hex }> {
    const { kind, task, members, roster } = statement;
    return this.#calls.call(post(`/v1/tasks/${task}/roster`, { kind, members, roster, signature }, statementAnswer));
  }

  /** The newest event, and where the chain stands. */
  newest(task: Hex, signal?: AbortSignal): Promise<EventsAnswer> {
    return this.#calls.call(get(`/v1/tasks/${task}/events`, eventsAnswer, { signal }));
  }

  /** One try: whoever follows has its own patience. */
  events(task: Hex, after: Cursor, signal: AbortSignal): Promise<EventsAnswer> {
    const hash = after.hash === undefined ? "" : `&hash=${after.hash}`;
    const query = `?after=${after.seq}&block=${after.block}${hash}`;
    return this.#calls.call(get(`/v1/tasks/${task}/events`, eventsAnswer, { query, signal, tries: 1 }));
  }

  message({ statement, signature }: Signed<Message>): Promise<{ statement: Hex }> {
    const body = { message: statement, signature };
    return this.#calls.call(post(`/v1/tasks/${statement.task}/messages`, body, statementAnswer));
  }

  receipt(task: Hex, notice: Hex, outcome: Outcome, signature: Hex): Promise<{ statement: Hex }> {
    return this.#calls.call(post(`/v1/tasks/${task}/receipts`, { notice, outcome, signature }, statementAnswer));
  }

  withdraw(task: Hex, notice: Hex, signature: Hex): Promise<{ statement: Hex }> {
    return this.#calls.call(post(`/v1/tasks/${task}/withdrawals`, { notice, signature }, statementAnswer));
  }

  /** What became of a statement of ours. One try. */
  statement(task: Hex, id: Hex, signal?: AbortSignal): Promise<StatementState> {
    return this.#calls.call(get(`/v1/tasks/${task}/statements/${id}`, statementStateAnswer, { signal, tries: 1 }));
  }

  begin(
    task: Hex,
    body: { transfer: Hex; size: number | null; partSize?: number; contentType?: string },
    signal?: AbortSignal,
  ): Promise<BeginAnswer> {
    return this.#calls.call({ ...post(`/v1/tasks/${task}/transfers`, body, beginAnswer), signal });
  }

  signParts(task: Hex, transfer: Hex, parts: readonly PartRequest[], signal?: AbortSignal): Promise<PartsAnswer> {
    return this.#calls.call({ ...post(`${transferPath(task, transfer)}/parts`, { parts }, partsAnswer), signal });
  }

  async storedParts(task: Hex, transfer: Hex, signal?: AbortSignal): Promise<StoredParts> {
    const answer = await this.#calls.call(get(`${transferPath(task, transfer)}/parts`, storedPartsAnswer, { signal }));
    return answer.parts;
  }

  finish(
    task: Hex,
    transfer: Hex,
    body: { manifest?: Uint8Array; notices: readonly PublishedNotice[] },
    signal?: AbortSignal,
  ): Promise<FinishAnswer> {
    const manifest = body.manifest && { manifest: toBase64(body.manifest) };
    const path = `${transferPath(task, transfer)}/finish`;
    return this.#calls.call({ ...post(path, { ...manifest, notices: body.notices }, finishAnswer), signal });
  }

  /** How a notice stands, to its sender and recipients. */
  notice(task: Hex, notice: Hex, signal?: AbortSignal): Promise<NoticeAnswer> {
    return this.#calls.call(get(`/v1/tasks/${task}/notices/${notice}`, noticeAnswer, { signal }));
  }

  /** The same, with the manifest that it commits to. */
  noticeWithManifest(task: Hex, notice: Hex, signal?: AbortSignal): Promise<NoticeAnswer> {
    const path = `/v1/tasks/${task}/notices/${notice}`;
    return this.#calls.call(get(path, noticeAnswer, { query: "?manifest=true", signal }));
  }

  download(task: Hex, notice: Hex, signal?: AbortSignal): Promise<DownloadAnswer> {
    return this.#calls.call({
      ...post(`/v1/tasks/${task}/notices/${notice}/download`, undefined, downloadAnswer),
      signal,
    });
  }

  /** How far our download is. One try: the next report says more. */
  reportProgress(task: Hex, notice: Hex, report: ProgressRequest, signal: AbortSignal): Promise<{ wait: number }> {
    const path = `/v1/tasks/${task}/notices/${notice}/progress`;
    return this.#calls.call({ method: "PUT", path, body: report, answer: progressAnswer, signal, tries: 1 });
  }

  /**
   * Any request, for people who script: signed, and sent once, or twice where the clock was wrong.
   * @returns the answer as it came; with what it says went wrong, if it does.
   */
  exchange(request: Request, body: Uint8Array): Promise<{ body: Uint8Array; problem: WaybillError | null }> {
    return this.#calls.exchange(request, body);
  }
}

function post<T>(path: string, body: unknown, answer: Schema<T>): Call<T> {
  return { method: "POST", path, body, answer };
}

function get<T>(path: string, answer: Schema<T>, more: Partial<Call<T>>): Call<T> {
  return { method: "GET", path, answer, ...more };
}

function transferPath(task: Hex, transfer: Hex): string {
  return `/v1/tasks/${task}/transfers/${transfer}`;
}
