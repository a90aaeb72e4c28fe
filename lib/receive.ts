import { isOutstanding, type NoticeRecord } from "./chain/ledger.ts";
import { Fetching, type FetchOrder } from "./fetching.ts";
import type { Delivery } from "./inbox.ts";
import { defaultTime } from "./options.ts";
import { WaybillError } from "./protocol/errors.ts";
import type { Address, Hex } from "./protocol/hex.ts";
import type { Outcome } from "./protocol/reasons.ts";
import type { Session } from "./session.ts";
import type { Received } from "./transfer/target.ts";
import { aborted, pause } from "./waiting.ts";

export interface ReceiveOrder extends FetchOrder {
  /** With a notice there may be none, which means its sender. */
  readonly sources: readonly Address[];
  /** Null: any transfer. */
  readonly transfer: Hex | null;
  /** Only this notice, even if it was answered already. */
  readonly notice?: Hex | undefined;
  /** Says where the target is: payloads are handed on only to calls with the same. */
  readonly place: string;
  readonly waitForReceipt: boolean;
}

/** Between two tries of a receipt that the API turned down. */
const INSIST_MS = 5_000;

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
  readonly #fetching: Fetching;
  /** Notices that this call could not make anything of. */
  readonly #passed = new Set<Hex>();
  /** Whether the chain was read since the call began. */
  #inStep = false;

  constructor(session: Session, order: ReceiveOrder) {
    this.#session = session;
    this.#order = order;
    this.#fetching = new Fetching(session, order);
  }

  async run(begin: (signal: AbortSignal) => Promise<void>): Promise<Delivery> {
    const { order, session } = { order: this.#order, session: this.#session };
    await order.target.check();
    const end = this.#fetching.limit(order.time ?? defaultTime(0), () => this.#nothingCame());
    try {
      await begin(end.signal);
      this.#inStep = true;
      const there = await this.#foundAgain(end.signal);
      if (there) return there;
      for (;;) {
        const found = await session.follower.until(() => this.#next(), { signal: end.signal });
        const delivery = await this.#take(found, end.signal);
        if (delivery) return delivery;
      }
    } finally {
      end.clear();
    }
  }

  /**
   * A process that ended when its receipt was out, and is started again: no notice of this tag will come any more, and the file is
   * there. In memory nothing is left of it, and in one process a payload is given once.
   */
  async #foundAgain(signal: AbortSignal): Promise<Delivery | null> {
    const { sources, transfer, notice, place } = this.#order;
    const { ledger, inbox } = this.#session;
    if (transfer === null || notice) return null;
    for (const sender of sources) {
      const records = ledger.noticesOf(sender, transfer);
      const record = records.find(({ id }) => this.#session.isVerified(id));
      if (!record || records.some(({ id }) => inbox.isAnswered(id))) continue;
      const payload = await this.#fetching.find(record, signal);
      if (payload) return { sender, transfer, payload, place, notices: [record.id] };
    }
    return null;
  }

  #nothingCame(): string {
    if (!this.#inStep) return "The task's events could not be read in time. Check the network, then receive again.";
    const { sources, transfer, idOf } = this.#order;
    const { ledger, account } = this.#session;
    const had = sources
      .flatMap((source) => (transfer === null ? [] : ledger.noticesOf(source, transfer)))
      .find(({ recipients }) => recipients.get(account)?.state === "verified");
    const named = transfer === null ? "" : ", with this tag";
    if (!had) return `No notice came from a listed source${named}, in time. Receive again to wait longer.`;
    return `You have verified this tag of ${idOf(had.notice.sender)} before, and it counts once. To read it again while it is kept, receive with notice: "${had.id}".`;
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
    if (!this.#session.isVerified(id) && !this.#isOpen(record))
      throw new WaybillError("GONE", "The notice was withdrawn or turned down, or its deadline is over.");
    if (!this.#session.isVerified(id) && inbox.isAnswered(id)) return undefined; // its receipt is on its way
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
    void this.#post(record.id, outcome)
      .catch((error: unknown) => !(error instanceof WaybillError && error.retryable))
      .then((isOut) => isOut || inbox.unanswered(record.id)); // with the chain's next word
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
      const payload = await this.#fetching.run(record, signal);
      const notices = this.#openLike(record).map(({ id }) => id);
      if (this.#session.isVerified(record.id)) notices.push(record.id);
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
      const again = { ...delivery, place, payload: await this.#fetching.run(record, signal) };
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
      const open = delivery.notices.filter((id) => !this.#session.isVerified(id));
      const taken = await Promise.all(open.map((id) => this.#post(id, "VERIFIED")));
      for (const id of delivery.notices) this.#session.inbox.answered(id);
      const turnedDown = open.filter((_, i) => !taken[i]);
      if (this.#order.waitForReceipt) await this.#untilStanding(delivery, turnedDown);
      for (const id of delivery.notices) this.#session.inbox.delivered(id);
      return delivery;
    } catch (error) {
      if (!isFinal(error)) this.#session.inbox.keep(delivery);
      throw error instanceof WaybillError && error.code === "EXPELLED" ? expelled(this.#carried(delivery)) : error;
    }
  }

  /** Whoever relays may say that it refuses a receipt, and relay it later all the same: nobody but the chain is asked. */
  async #untilStanding(delivery: Delivery, turnedDown: readonly Hex[]): Promise<void> {
    const { ledger, follower } = this.#session;
    // A reorg may take a notice off the chain until it is mined again; its deadline stays.
    const deadlines = new Map(delivery.notices.map((id) => [id, ledger.notice(id)?.notice.deadline ?? 0]));
    const at = Math.max(...deadlines.values());
    const done = new AbortController();
    void this.#insist(turnedDown, done.signal).catch(() => {});
    try {
      await follower.until(() => this.#standing(delivery, deadlines), { signal: this.#order.signal, at });
    } finally {
      done.abort();
    }
  }

  /** A node behind the API may lag, and not know yet that we were admitted again. While the chain doesn't end the wait, it is told again. */
  async #insist(receipts: readonly Hex[], signal: AbortSignal): Promise<void> {
    for (let left = receipts; left.length > 0; ) {
      await pause(INSIST_MS, signal);
      const taken = await Promise.all(left.map((id) => this.#post(id, "VERIFIED", signal).catch(() => false)));
      left = left.filter((_, i) => !taken[i]);
    }
  }

  /** The chain alone decides: one answer stands, or none can any more. */
  #standing(delivery: Delivery, deadlines: ReadonlyMap<Hex, number>): true | undefined {
    const { ledger, follower, account } = this.#session;
    if (delivery.notices.some((id) => this.#session.isVerified(id))) return true;
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

  /**
   * Why a receipt doesn't count any more, or that we were expelled, the chain tells as well, and of that alone the call
   * makes its verdict; only one that doesn't wait for the chain has to take the server's word for the latter.
   * @returns False when it should be said again.
   */
  async #post(notice: Hex, outcome: Outcome, signal = this.#order.signal): Promise<boolean> {
    const { task, ledger } = this.#session;
    const at = ledger.notice(notice)?.notice.deadline;
    try {
      await this.#session.say({ kind: "receipt", task, notice, outcome }, { at, signal });
      return true;
    } catch (error) {
      const code = error instanceof WaybillError ? error.code : null;
      if (code === "REFUSED_STATEMENT") return true;
      if (code === "EXPELLED" && this.#order.waitForReceipt) return false;
      throw error;
    }
  }
}

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
