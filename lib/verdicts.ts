import type { NoticeRecord } from "./chain/ledger.ts";
import { checkSender } from "./membership.ts";
import { isVerified, type Offer } from "./offer.ts";
import type { Callbacks, Failure, SendOrder, SendResult } from "./order.ts";
import { names } from "./pages.ts";
import { WaybillError } from "./protocol/errors.ts";
import type { Address, Hex } from "./protocol/hex.ts";
import { noticeId } from "./protocol/statements.ts";
import type { Posted } from "./relay.ts";
import type { Session } from "./session.ts";
import { orAbort } from "./transfer/parts.ts";
import { type RecipientProgress, watch } from "./watch.ts";

/** What becomes of an offer: the chain's word about each recipient. */
export class Verdicts {
  readonly #session: Session;
  readonly #order: SendOrder;
  readonly #offer: Offer;
  readonly #callbacks: Callbacks;
  readonly #unpublished = new Map<Hex, WaybillError>();
  /** Taken back by this call because the chain stood still when their deadline was over. */
  readonly #overdue = new Set<Hex>();
  /** Taken back by this call because nobody who was outstanding showed a sign of life. */
  readonly #idle = new Set<Hex>();
  readonly #told = new Set<Address>();

  constructor(session: Session, order: SendOrder, offer: Offer, callbacks: Callbacks) {
    this.#session = session;
    this.#order = order;
    this.#offer = offer;
    this.#callbacks = callbacks;
  }

  /** Waits until everybody has answered, is out, or is late. */
  async wait(): Promise<SendResult> {
    const { follower } = this.#session;
    const done = new AbortController();
    const asking = [...this.#offer.posting].map(([id, posting]) => this.#watchFailure(id, posting, done.signal));
    const at = Math.max(...[...this.#offer.awaited.values()].map((notice) => notice.deadline));
    const onStill = (): void => void this.#stir();
    const { signal: outer } = this.#order;
    const signal = outer ? AbortSignal.any([outer, done.signal]) : done.signal;
    const verdicts = follower.until(() => this.#tally(), { signal, at, onStill });
    try {
      return await Promise.race([verdicts, this.#watch(done.signal)]);
    } finally {
      done.abort();
      await Promise.all(asking);
    }
  }

  /** Looks how far the recipients are, if anybody wants to know. Never resolves: it ends with the signal, or a callback's error. */
  async #watch(signal: AbortSignal): Promise<never> {
    const { idle, onRecipient, recipients } = this.#order;
    const tell = (account: Address, progress: RecipientProgress): void => {
      if (recipients.includes(account)) this.#callbacks.run(() => onRecipient?.({ recipient: account, ...progress }));
    };
    const giveUp = (records: readonly NoticeRecord[]): Promise<void> => this.#giveUpIdle(records);
    if (idle !== null || onRecipient !== undefined)
      await watch(
        { session: this.#session, idle, size: this.#offer.size, open: () => this.#open(), tell, giveUp },
        signal,
      );
    return new Promise<never>(() => {});
  }

  /** The notices that are waited for, as far as they stand on the chain and somebody is outstanding. */
  #open(): NoticeRecord[] {
    const ids = new Set([...this.#offer.awaited.values()].map(noticeId));
    const records = [...ids].map((id) => this.#session.ledger.notice(id));
    return records.filter((record) => record !== null).filter(isAnybodyOutstanding);
  }

  /** Notices that an earlier call published, too: the sender's word that it waits no longer is about the transfer. */
  async #giveUpIdle(records: readonly NoticeRecord[]): Promise<void> {
    for (const { id } of records) this.#idle.add(id);
    await Promise.all(records.map(({ notice }) => this.#session.say({ kind: "withdraw", of: notice })));
  }

  /** Why, if it should not get onto the chain in time; that it doesn't, the chain alone tells. */
  async #watchFailure(id: Hex, posting: Promise<Posted>, signal: AbortSignal): Promise<void> {
    const asked = orAbort(posting, signal).then((posted) => posted.failure(signal));
    const error = await asked.catch((failed: unknown) => failed);
    if (error instanceof WaybillError && !signal.aborted) this.#unpublished.set(id, error);
  }

  /**
   * The deadline is over, and the chain shows no block after it: perhaps it makes blocks for transactions only. Taking the
   * notices back makes one, by which the verdicts are found. Others' and earlier calls' notices are not ours to take back.
   */
  async #stir(): Promise<void> {
    const open = this.#offer.published.filter((notice) => {
      const record = this.#session.ledger.notice(noticeId(notice));
      return record !== null && isAnybodyOutstanding(record);
    });
    for (const notice of open) this.#overdue.add(noticeId(notice));
    // If that fails, no block comes, and the wait ends with CHAIN_STALLED.
    await Promise.allSettled(open.map((notice) => this.#session.say({ kind: "withdraw", of: notice })));
  }

  /** Everybody's verdict, or undefined while some are open. */
  #tally(): SendResult | undefined {
    this.#tellReceipts();
    const verdicts = this.#order.recipients.map((recipient) => [recipient, this.#verdict(recipient)] as const);
    if (verdicts.some(([, verdict]) => verdict === null)) {
      checkSender(this.#session);
      return undefined;
    }
    const failed = new Map<Address, Failure>();
    for (const [recipient, verdict] of verdicts) if (verdict !== "VERIFIED") failed.set(recipient, verdict!);
    return { received: this.received(), failed, why: [...this.#unpublished.values()][0] ?? null };
  }

  #verdict(account: Address): "VERIFIED" | Failure | null {
    const records = this.#offer.records();
    if (records.some((record) => isVerified(record, account))) return "VERIFIED";
    const notice = this.#offer.awaited.get(account);
    const member = this.#session.ledger.member(account);
    if (!notice || !member?.active || !names(notice, member)) return "EXPELLED";
    const id = noticeId(notice);
    const record = this.#session.ledger.notice(id);
    const answer = record?.recipients.get(account);
    if (answer?.state === "cleared" && answer.outcome !== null) return answer.outcome as Failure;
    if (answer?.state === "cleared" && this.#idle.has(id)) return "IDLE";
    if (answer?.state === "cleared") return this.#overdue.has(id) ? "TIMEOUT" : "WITHDRAWN";
    const head = this.#session.follower.head;
    if (!head || head.timestamp <= notice.deadline) return null;
    return record ? "TIMEOUT" : "NOT_PUBLISHED";
  }

  /** Who has verified these bytes so far. */
  received(): Address[] {
    const records = this.#offer.records();
    return this.#order.recipients.filter((account) => records.some((record) => isVerified(record, account)));
  }

  #tellReceipts(): void {
    for (const { id, recipients } of this.#offer.records())
      for (const { account, outcome, transaction } of recipients.values()) {
        if (outcome === null || this.#told.has(account) || !this.#order.recipients.includes(account)) continue;
        const notice = this.#offer.awaited.get(account);
        if (outcome !== "VERIFIED" && (!notice || noticeId(notice) !== id)) continue; // of an earlier call
        this.#told.add(account);
        this.#callbacks.run(() =>
          this.#order.onReceipt?.({ recipient: account, outcome, notice: id, transaction: transaction! }),
        );
      }
  }
}

/** Whether a notice still waits for anybody's answer. */
export function isAnybodyOutstanding({ recipients }: NoticeRecord): boolean {
  return [...recipients.values()].some(({ state }) => state === "outstanding");
}
