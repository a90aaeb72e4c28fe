import type { DownloadAnswer } from "./api.ts";
import { isOutstanding, type NoticeRecord } from "./chain/ledger.ts";
import type { Delivery } from "./inbox.ts";
import { defaultTime } from "./options.ts";
import { WaybillError } from "./protocol/errors.ts";
import { type Address, fromBase64, type Hex } from "./protocol/hex.ts";
import { decodeManifest, type Manifest, manifestDigest, transferId } from "./protocol/manifest.ts";
import type { Outcome } from "./protocol/reasons.ts";
import { noticeId } from "./protocol/statements.ts";
import { Reporter } from "./reporter.ts";
import type { Session } from "./session.ts";
import { download } from "./transfer/download.ts";
import type { Progress } from "./transfer/parts.ts";
import type { Received, Target } from "./transfer/target.ts";
import type { Moved } from "./transfer/ticker.ts";
import type { Traffic } from "./transfer/traffic.ts";
import { aborted, type Gate, type Limit, limit, pause } from "./waiting.ts";

export interface ReceiveOrder {
  /** With a notice there may be none, which means its sender. */
  readonly sources: readonly Address[];
  /** A source's id as the caller wrote it. */
  readonly idOf: (source: Address) => string;
  /** Null: any transfer. */
  readonly transfer: Hex | null;
  /** Only this notice, even if it was answered already. */
  readonly notice?: Hex | undefined;
  /** Says where the target is: payloads are handed on only to calls with the same. */
  readonly place: string;
  /** Whether a payload is wanted. */
  readonly accept?: ((manifest: Manifest, sender: string) => boolean | Promise<boolean>) | undefined;
  readonly target: Target<Received>;
  /** Milliseconds; null for the default. */
  readonly time: number | null;
  readonly maxBytes: number;
  readonly waitForReceipt: boolean;
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
interface Fetching {
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

/** Waits for one payload, verifies it and says so on the chain. */
export async function receive(session: Session, order: ReceiveOrder): Promise<Delivery> {
  try {
    return await new Receiving(session, order).run(async (signal) => {
      await session.sync(signal);
      session.me();
      checkSources(session, order.sources);
    });
  } catch (error) {
    const { signal } = order;
    throw signal?.aborted && error === signal.reason ? aborted(signal) : error;
  }
}

/** The same for one of many, when the others have seen to it that the session is in step with the chain. */
export function receiveOne(session: Session, order: ReceiveOrder): Promise<Delivery> {
  return new Receiving(session, order).run(async () => {});
}

/** What was kept is delivered even if its sender has been expelled since. */
function checkSources({ ledger, inbox }: Session, sources: readonly Address[]): void {
  const stranger = sources.find((source) => !ledger.member(source)?.active && !inbox.holds(source));
  if (stranger) throw strange(stranger);
}

class Receiving {
  readonly #session: Session;
  readonly #order: ReceiveOrder;
  /** Notices that this call could not make anything of. */
  readonly #passed = new Set<Hex>();
  /** Whether the chain was read since the call began. */
  #inStep = false;

  constructor(session: Session, order: ReceiveOrder) {
    this.#session = session;
    this.#order = order;
  }

  async run(begin: (signal: AbortSignal) => Promise<void>): Promise<Delivery> {
    const { order, session } = { order: this.#order, session: this.#session };
    await order.target.check();
    const end = this.#limit(order.time ?? defaultTime(0), () => this.#nothingCame());
    try {
      await begin(end.signal);
      this.#inStep = true;
      for (;;) {
        const found = await session.follower.until(() => this.#next(), { signal: end.signal });
        const delivery = await this.#take(found, end.signal);
        if (delivery) return delivery;
      }
    } finally {
      end.clear();
    }
  }

  #nothingCame(): string {
    if (!this.#inStep) return "The task's events could not be read in time. Check the network, then receive again.";
    const { sources, transfer, idOf } = this.#order;
    const { ledger, account } = this.#session;
    const had = sources
      .flatMap((source) => (transfer === null ? [] : ledger.noticesOf(source, transfer)))
      .find(({ recipients }) => recipients.get(account)?.state === "verified");
    if (!had) return "No notice came from a listed source in time. Receive again to wait longer.";
    return `You have verified this tag of ${idOf(had.notice.sender)} before, and it counts once. To read it again while it is kept, receive with notice: "${had.id}".`;
  }

  #limit(ms: number, what: () => string): Limit {
    const outer = [this.#order.signal, this.#order.enough].filter((signal) => signal !== undefined);
    const late = (): WaybillError => timedOut(what(), this.#session.follower.fault);
    return limit(ms, outer.length > 0 ? AbortSignal.any(outer) : undefined, late);
  }

  /** What to do next: a payload that is here already, or else the oldest open notice, which is then ours. */
  #next(): Delivery | NoticeRecord | undefined {
    const { inbox } = this.#session;
    this.#session.me();
    const kept = inbox.take(
      ({ sender, transfer, notices }) => this.#isWanted(sender, transfer, notices) && inbox.claim(sender, transfer),
    );
    if (kept) return kept;
    if (this.#order.notice) return this.#named(this.#order.notice);
    for (const record of this.#session.ledger.notices()) {
      const { sender, transfer } = record.notice;
      if (!this.#isWanted(sender, transfer) || !this.#isOpen(record) || this.#passed.has(record.id)) continue;
      if (inbox.isAnswered(record.id) || this.#answerLater(record)) continue;
      if (inbox.claim(sender, transfer)) return record;
    }
    this.#checkHope();
    return undefined;
  }

  /** Nothing can come when every listed source was expelled. */
  #checkHope(): void {
    const { ledger } = this.#session;
    const { sources } = this.#order;
    if (!sources.some((source) => ledger.member(source)?.active)) throw strange(sources[0]!);
  }

  #isWanted(sender: Address, transfer: Hex, notices?: readonly Hex[]): boolean {
    const { sources, transfer: wanted, notice } = this.#order;
    if (notice && !notices?.includes(notice)) return false;
    if (notice && sources.length === 0) return true;
    return sources.includes(sender) && (wanted === null || wanted === transfer);
  }

  /** The one notice that was asked for: open, or verified by us and read once more. */
  #named(id: Hex): NoticeRecord | undefined {
    const { ledger, inbox, account } = this.#session;
    const record = ledger.notice(id);
    if (!record?.proved) throw new WaybillError("UNKNOWN_NOTICE", "There is no such notice on the chain, or not yet.");
    const { sender, transfer } = record.notice;
    if (!this.#isWanted(sender, transfer, [id])) throw new WaybillError("USAGE", "The notice is not from that source.");
    if (!record.recipients.has(account)) throw new WaybillError("NOT_RECIPIENT", "The notice is not for you.");
    if (!this.#isVerified(id) && !this.#isOpen(record))
      throw new WaybillError("GONE", "The notice was withdrawn or turned down, or its deadline is over.");
    if (!this.#isVerified(id) && inbox.isAnswered(id)) return undefined; // its receipt is on its way
    return inbox.claim(sender, transfer) ? record : undefined;
  }

  #isOpen(record: NoticeRecord): boolean {
    const { ledger, follower } = this.#session;
    if (!isOutstanding(record, this.#session.me()) || !ledger.member(record.notice.sender)?.active) return false;
    return !follower.head || follower.head.timestamp <= record.notice.deadline;
  }

  /** A payload counts once: a later notice of what was verified goes to no call, and is answered by itself. */
  #answerLater(record: NoticeRecord): boolean {
    const { ledger, account, inbox } = this.#session;
    const { sender, transfer, manifest } = record.notice;
    const verified = ledger
      .noticesOf(sender, transfer)
      .find(({ id, recipients }) => recipients.get(account)?.state === "verified" || inbox.isDelivered(id));
    if (!verified) return false;
    const outcome = verified.notice.manifest === manifest ? "VERIFIED" : "REFUSED";
    inbox.answered(record.id);
    void this.#post(record.id, outcome).catch((error: unknown) => {
      if (error instanceof WaybillError && error.retryable) inbox.unanswered(record.id); // with the chain's next word
    });
    return true;
  }

  /** Null when there was nothing behind the notice any more. */
  async #take(found: Delivery | NoticeRecord, signal: AbortSignal): Promise<Delivery | null> {
    const { sender, transfer } = "notice" in found ? found.notice : found;
    try {
      const delivery = "notice" in found ? await this.#deliver(found, signal) : await this.#fetchAgain(found, signal);
      return delivery && (await this.#settle(delivery));
    } finally {
      this.#session.inbox.release(sender, transfer);
    }
  }

  async #deliver(record: NoticeRecord, signal: AbortSignal): Promise<Delivery | null> {
    const { sender, transfer } = record.notice;
    try {
      const payload = await this.#fetch(record, signal);
      const notices = this.#openLike(record).map(({ id }) => id);
      if (this.#isVerified(record.id)) notices.push(record.id);
      return { sender, transfer, payload, place: this.#order.place, notices };
    } catch (error) {
      await this.#order.target.discard(error);
      if (await this.#isGone(record, error, signal)) return null;
      const outcome = outcomeOf(error);
      if (outcome) await this.#turnDown(record, outcome);
      throw error;
    }
  }

  /** A payload that an earlier call has verified, brought to where this one wants it. If that fails, it is kept as it is. */
  async #fetchAgain(delivery: Delivery, signal: AbortSignal): Promise<Delivery> {
    const { place, target } = this.#order;
    const record = delivery.notices.map((id) => this.#session.ledger.notice(id)).find((found) => found !== null);
    if (delivery.place === place || !record) return delivery;
    try {
      const again = { ...delivery, place, payload: await this.#fetch(record, signal) };
      if (delivery.payload instanceof ReadableStream) await delivery.payload.cancel();
      return again;
    } catch (error) {
      await target.discard(error);
      this.#session.inbox.keep(delivery);
      throw error;
    }
  }

  /** A notice may be withdrawn while we look at it; another one may come. */
  async #isGone(record: NoticeRecord, error: unknown, signal: AbortSignal): Promise<boolean> {
    if (!(error instanceof WaybillError) || error.code !== "GONE" || this.#order.notice) return false;
    await this.#session.sync(signal);
    if (this.#isOpen(record)) return false;
    this.#passed.add(record.id);
    return true;
  }

  async #fetch(record: NoticeRecord, waiting: AbortSignal): Promise<Received> {
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

  #reporter(notice: Hex): Reporter | null {
    if (!this.#order.report || this.#isVerified(notice)) return null;
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

  async #download({ record, manifest, answer, issued, reporter }: Fetching, waiting: AbortSignal): Promise<Received> {
    const { order, session } = { order: this.#order, session: this.#session };
    // Without a time of the caller's own, the download gets what a payload of this size is given.
    const end = order.time === null ? this.#limit(defaultTime(manifest.size), tooSlow) : null;
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

  /** The open notices of the same bytes: one delivery, and one answer for each. */
  #openLike({ notice }: NoticeRecord): NoticeRecord[] {
    const same = this.#session.ledger.noticesOf(notice.sender, notice.transfer);
    return same.filter((other) => other.notice.manifest === notice.manifest && this.#isOpen(other));
  }

  /** The sender learns why; that it can't be told changes nothing for the caller. */
  async #turnDown(record: NoticeRecord, outcome: Outcome): Promise<void> {
    for (const { id } of this.#openLike(record)) {
      this.#session.inbox.answered(id);
      await this.#post(id, outcome).catch(() => {});
    }
  }

  /** Hands the receipts out: there is no way back from here. If the call ends before one stands, the payload is kept. */
  async #settle(delivery: Delivery): Promise<Delivery> {
    try {
      if (delivery.notices.length === 0) throw late(this.#carried(delivery));
      const open = delivery.notices.filter((id) => !this.#isVerified(id));
      await Promise.all(open.map((id) => this.#post(id, "VERIFIED")));
      for (const id of delivery.notices) this.#session.inbox.answered(id);
      if (this.#order.waitForReceipt) await this.#untilStanding(delivery);
      for (const id of delivery.notices) this.#session.inbox.delivered(id);
      return delivery;
    } catch (error) {
      if (!isFinal(error)) this.#session.inbox.keep(delivery);
      throw error instanceof WaybillError && error.code === "EXPELLED" ? expelled(this.#carried(delivery)) : error;
    }
  }

  /** Whoever relays may say that it refuses a receipt, and relay it later all the same: nobody but the chain is asked. */
  async #untilStanding(delivery: Delivery): Promise<void> {
    const { ledger, follower } = this.#session;
    // A reorg may take a notice off the chain until it is mined again; its deadline stays.
    const deadlines = new Map(delivery.notices.map((id) => [id, ledger.notice(id)?.notice.deadline ?? 0]));
    const at = Math.max(...deadlines.values());
    await follower.until(() => this.#standing(delivery, deadlines), { signal: this.#order.signal, at });
  }

  /** The chain alone decides: one answer stands, or none can any more. */
  #standing(delivery: Delivery, deadlines: ReadonlyMap<Hex, number>): true | undefined {
    const { ledger, follower, account } = this.#session;
    if (delivery.notices.some((id) => this.#isVerified(id))) return true;
    const carried = this.#carried(delivery);
    if (!ledger.member(account)?.active) throw expelled(carried);
    const open = delivery.notices.filter((id) => {
      const over = follower.head !== null && follower.head.timestamp > deadlines.get(id)!;
      const record = ledger.notice(id);
      return (!record || record.recipients.get(account)?.state === "outstanding") && !over;
    });
    if (open.length > 0) return undefined;
    throw late(carried);
  }

  #carried({ payload, sender }: Delivery): Carried {
    return { payload, sender: this.#order.idOf(sender) };
  }

  #isVerified(notice: Hex): boolean {
    const { ledger, account } = this.#session;
    return ledger.notice(notice)?.recipients.get(account)?.state === "verified";
  }

  /**
   * Why a receipt doesn't count any more, or that we were expelled, the chain tells as well, and of that alone the call
   * makes its verdict; only one that doesn't wait for the chain has to take the server's word for the latter.
   */
  async #post(notice: Hex, outcome: Outcome): Promise<void> {
    const { task, ledger } = this.#session;
    const at = ledger.notice(notice)?.notice.deadline;
    const saying = this.#session.say({ kind: "receipt", task, notice, outcome }, { at, signal: this.#order.signal });
    const left = this.#order.waitForReceipt ? ["REFUSED_STATEMENT", "EXPELLED"] : ["REFUSED_STATEMENT"];
    await saying.catch((error: unknown) => {
      if (!(error instanceof WaybillError) || !left.includes(error.code)) throw error;
    });
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

/** What the sender is told of a failure, if it is about the payload and not about us or the way. */
function outcomeOf(error: unknown): Outcome | null {
  const { code } = error as Partial<WaybillError>;
  return code === "CORRUPT" || code === "TOO_LARGE" || code === "REFUSED" ? code : null;
}

function strange(source: Address): WaybillError {
  return new WaybillError("NOT_MEMBER", `${source} is no active member of this task. Ask its owner.`);
}

/** Nothing changes any more; the error carries the payload. */
function isFinal(error: unknown): boolean {
  return error instanceof WaybillError && ["LATE", "EXPELLED"].includes(error.code);
}

/** What an error carries that comes when the payload is here. */
interface Carried {
  readonly payload: Received;
  readonly sender: string;
}

function expelled({ payload, sender }: Carried): WaybillError {
  const details = { payload, sender };
  return new WaybillError("EXPELLED", "You were expelled before your receipt stood.", { details });
}

function late({ payload, sender }: Carried): WaybillError {
  const message = "The payload is here and verified, but the deadline or a withdrawal came before the receipt.";
  return new WaybillError("LATE", message, { details: { payload, sender } });
}
