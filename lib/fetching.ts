import type { DownloadAnswer } from "./api.ts";
import type { NoticeRecord } from "./chain/ledger.ts";
import { defaultTime } from "./options.ts";
import { WaybillError } from "./protocol/errors.ts";
import { type Address, fromBase64, type Hex } from "./protocol/hex.ts";
import { decodeManifest, type Manifest, manifestDigest, transferId } from "./protocol/manifest.ts";
import { noticeId } from "./protocol/statements.ts";
import { Reporter } from "./reporter.ts";
import type { Session } from "./session.ts";
import { download } from "./transfer/download.ts";
import type { Progress } from "./transfer/parts.ts";
import type { Received, Target } from "./transfer/target.ts";
import type { Moved } from "./transfer/ticker.ts";
import type { Traffic } from "./transfer/traffic.ts";
import { type Gate, type Limit, limit, pause } from "./waiting.ts";

/** What is wanted of a payload, and how it is to come. */
export interface FetchOrder {
  /** A source's id as the caller wrote it. */
  readonly idOf: (source: Address) => string;
  /** Whether a payload is wanted. */
  readonly accept?: ((manifest: Manifest, sender: string) => boolean | Promise<boolean>) | undefined;
  readonly target: Target<Received>;
  /** Milliseconds; null for the default. */
  readonly time: number | null;
  readonly maxBytes: number;
  readonly signal: AbortSignal | undefined;
  /** Ends the wait for a notice and the download as the time does, but not the wait for a receipt. */
  readonly enough?: AbortSignal | undefined;
  /** Lets only so many downloads of one call run at a time. */
  readonly gate?: Gate | undefined;
  /** What those share that run. */
  readonly traffic?: Traffic | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
  readonly onBytes?: ((moved: Moved) => void) | undefined;
  /** When a notice was found, and before its payload is asked for. */
  readonly onNotice?: ((notice: { readonly sender: Address; readonly notice: Hex }) => void) | undefined;
  /** Tell the sender how far the download is. */
  readonly report: boolean;
}

/** A payload that is about to be downloaded. */
interface Found {
  readonly record: NoticeRecord;
  readonly manifest: Manifest;
  readonly answer: DownloadAnswer;
  /** When the answer was asked for, by performance.now. */
  readonly issued: number;
  readonly reporter: Reporter | null;
}

/** Times that a node which lags behind the others is asked for a notice that stands on the chain. */
const NOTICE_TRIES = 6;
const NOTICE_PAUSE_MS = 500;

/** Brings what a notice promises to the order's target, verified. */
export class Fetching {
  readonly #session: Session;
  readonly #order: FetchOrder;

  constructor(session: Session, order: FetchOrder) {
    this.#session = session;
    this.#order = order;
  }

  /** @param waiting Ends it, with what is left of the call's own time. */
  async run(record: NoticeRecord, waiting: AbortSignal): Promise<Received> {
    const order = this.#order;
    order.onNotice?.({ sender: record.notice.sender, notice: record.id });
    const issued = performance.now();
    const answer = await this.#ask(record, waiting);
    const manifest = checkManifest(record, answer);
    const unwanted = await this.#unwanted(record, manifest);
    if (unwanted) {
      await order.target.forget?.(manifest, record.notice.sender);
      throw unwanted;
    }
    const reporter = this.#reporter(record.id);
    const work = (): Promise<Received> => this.#download({ record, manifest, answer, issued, reporter }, waiting);
    try {
      const payload = await (order.gate ? order.gate.run(work, waiting) : work());
      reporter?.end("verified");
      return payload;
    } catch (error) {
      reporter?.end("failed");
      throw error;
    }
  }

  /** The payload of a notice that we have verified, if an earlier call has left it where this one wants it. */
  async find(record: NoticeRecord, signal: AbortSignal): Promise<Received | null> {
    const { target } = this.#order;
    if (!target.holds) return null;
    try {
      const manifest = checkManifest(record, await this.#ask(record, signal));
      return await target.holds(manifest, record.notice.sender, signal);
    } catch (error) {
      if (error instanceof WaybillError && error.code === "GONE") return null; // then nobody can tell
      throw error;
    }
  }

  #reporter(notice: Hex): Reporter | null {
    if (!this.#order.report || this.#session.isVerified(notice)) return null;
    const { api, task } = this.#session;
    return new Reporter((report, signal) => api.reportProgress(task, notice, report, signal));
  }

  async #unwanted({ notice }: NoticeRecord, manifest: Manifest): Promise<WaybillError | null> {
    const { maxBytes, accept, idOf } = this.#order;
    if (manifest.size > maxBytes)
      return new WaybillError("TOO_LARGE", `The payload has ${manifest.size} bytes, and maxBytes is ${maxBytes}.`);
    if (!accept || (await accept(manifest, idOf(notice.sender)))) return null;
    return new WaybillError("REFUSED", "The payload was not accepted, and its sender is told so.");
  }

  async #download({ record, manifest, answer, issued, reporter }: Found, waiting: AbortSignal): Promise<Received> {
    const { order, session } = { order: this.#order, session: this.#session };
    // Without a time of the caller's own, the download gets what a payload of this size is given.
    const end = order.time === null ? this.limit(defaultTime(manifest.size), tooSlow) : null;
    try {
      const signal = end?.signal ?? waiting;
      const sink = await order.target.begin(manifest, record.notice.sender, signal);
      if (sink)
        await download({
          manifest,
          sink,
          url: answer,
          issued,
          refresh: (aborted) => session.api.download(session.task, record.id, aborted),
          transport: session.transport,
          storeOrigin: session.deployment.storeOrigin,
          traffic: order.traffic,
          signal,
          onProgress: order.onProgress,
          onBytes: (moved) => {
            reporter?.moved(moved.movedBytes);
            order.onBytes?.(moved);
          },
        });
      return await order.target.commit();
    } finally {
      end?.clear();
    }
  }

  async #ask(record: NoticeRecord, signal: AbortSignal): Promise<DownloadAnswer> {
    const { api, task } = this.#session;
    for (let tries = 1; ; tries++) {
      try {
        return await api.download(task, record.id, signal);
      } catch (error) {
        const early = error instanceof WaybillError && error.code === "UNKNOWN_NOTICE";
        if (!early || tries === NOTICE_TRIES) throw error;
        await pause(NOTICE_PAUSE_MS, signal);
      }
    }
  }

  /** Ends with the call's signals, or after a time with TIMEOUT. */
  limit(ms: number, what: () => string): Limit {
    const outer = [this.#order.signal, this.#order.enough].filter((signal) => signal !== undefined);
    const late = (): WaybillError => timedOut(what(), this.#session.follower.fault);
    return limit(ms, outer.length > 0 ? AbortSignal.any(outer) : undefined, late);
  }
}

/**
 * The manifest must be the one that the chain commits to. Wrong bytes are the server's doing; bytes that are right and make
 * no manifest, or one of another transfer, are what the sender signed.
 */
function checkManifest({ id, notice }: NoticeRecord, answer: DownloadAnswer): Manifest {
  const bytes = fromBase64(answer.manifest);
  if (noticeId(answer.notice) !== id || bytes === null || manifestDigest(bytes) !== notice.manifest)
    throw new WaybillError("BAD_SERVER", "The API's manifest is not the one that the notice on the chain commits to.");
  try {
    const manifest = decodeManifest(bytes);
    if (transferId(manifest.tag) === notice.transfer) return manifest;
  } catch (cause) {
    throw new WaybillError("CORRUPT", "The sender committed to a manifest that is none.", { cause });
  }
  throw new WaybillError("CORRUPT", "The sender committed to the manifest of another transfer.");
}

/** Who can't read the chain can't know that nothing came. */
function timedOut(what: string, fault: unknown): WaybillError {
  if (!(fault instanceof WaybillError)) return new WaybillError("TIMEOUT", what);
  const message = `${what} And the chain could not be read when the time was over: ${fault.message}`;
  return new WaybillError("TIMEOUT", message, { cause: fault });
}

const tooSlow = (): string => "The download took too long. Receive again to wait longer.";
