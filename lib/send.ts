import { answered } from "./answered.ts";
import type { PublishedNotice } from "./api.ts";
import { isOutstanding, type Member, type NoticeRecord } from "./chain/ledger.ts";
import { defaultTime } from "./options.ts";
import { names, pagesOf } from "./pages.ts";
import { WaybillError } from "./protocol/errors.ts";
import type { Address, Hex } from "./protocol/hex.ts";
import { transferId } from "./protocol/manifest.ts";
import type { Outcome } from "./protocol/reasons.ts";
import { type Notice, noticeId, signStatement } from "./protocol/statements.ts";
import type { Head } from "./protocol/wire.ts";
import type { Posted } from "./relay.ts";
import type { Session } from "./session.ts";
import { type StoredPayload, store } from "./stored.ts";
import { orAbort, type Progress } from "./transfer/parts.ts";
import type { Source } from "./transfer/source.ts";
import type { Moved } from "./transfer/ticker.ts";
import { aborted, limit } from "./waiting.ts";
import { type RecipientProgress, watch } from "./watch.ts";

/** Why a recipient's id is not among those that verified. */
export type Failure = Exclude<Outcome, "VERIFIED"> | "WITHDRAWN" | "EXPELLED" | "TIMEOUT" | "IDLE" | "NOT_PUBLISHED";

/** A recipient's answer, as it stands on the chain. */
export interface ReceiptEvent {
  /** The recipient's id as the caller wrote it. */
  readonly recipient: string;
  readonly outcome: Outcome;
  readonly notice: Hex;
  readonly transaction: Hex;
}

/** A notice that this call published or joined. */
export interface NoticeEvent {
  readonly notice: Hex;
  /** Seconds of chain time. */
  readonly deadline: number;
  /** Whether an earlier call published it. */
  readonly joined: boolean;
}

export interface SendOrder {
  readonly recipients: readonly Address[];
  /** A recipient's id as the caller wrote it. */
  readonly idOf: (recipient: Address) => string;
  readonly source: Source;
  readonly tag: string;
  /** Milliseconds; null for the default. */
  readonly time: number | null;
  readonly partSize: number | undefined;
  /** Milliseconds without a sign of life of anybody who is outstanding, after which the call gives up; null: none. */
  readonly idle: number | null;
  /** Whether a signal takes the notices of this call back. */
  readonly withdraw: boolean;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
  readonly onBytes: ((moved: Moved) => void) | undefined;
  readonly onRecipient: ((event: { recipient: Address } & RecipientProgress) => void) | undefined;
  readonly onNotice: ((event: NoticeEvent) => void) | undefined;
  readonly onReceipt: ((event: { recipient: Address } & Omit<ReceiptEvent, "recipient">) => void) | undefined;
}

export interface SendResult {
  readonly received: readonly Address[];
  readonly failed: ReadonlyMap<Address, Failure>;
  /** Why a notice did not get onto the chain, if one did not and somebody knows. */
  readonly why: WaybillError | null;
}

/** One more deadline is tried when another process of ours has just used one up. */
const NOTICE_TRIES = 4;
/** How long an aborted call tries to take its notices back. */
const WITHDRAW_MS = 60_000;

/** Sends one payload to some recipients and waits for their answers. */
export async function send(session: Session, order: SendOrder): Promise<SendResult> {
  const sending = new Sending(session, order);
  try {
    return await sending.run();
  } catch (error) {
    throw await sending.giveUp(error);
  }
}

class Sending {
  readonly #session: Session;
  readonly #order: SendOrder;
  readonly #transfer: Hex;
  /** The notice by which each recipient is waited for. */
  readonly #awaited = new Map<Address, Notice>();
  /** Published by this call, so that it may take them back. */
  readonly #published: Notice[] = [];
  /** By the id of the notice. */
  readonly #posting = new Map<Hex, Promise<Posted>>();
  readonly #unpublished = new Map<Hex, WaybillError>();
  /** Taken back by this call because the chain stood still when their deadline was over. */
  readonly #overdue = new Set<Hex>();
  readonly #told = new Set<Address>();
  /** Taken back by this call because nobody who was outstanding showed a sign of life. */
  readonly #idle = new Set<Hex>();
  #digest: Hex = "0x";
  #size = 0;
  #callbackFailed = false;

  constructor(session: Session, order: SendOrder) {
    this.#session = session;
    this.#order = order;
    this.#transfer = transferId(order.tag);
  }

  async run(): Promise<SendResult> {
    const { signal } = this.#order;
    await this.#session.sync(signal);
    this.#checkSender();
    this.#checkRecipients();
    await this.#session.relay.check();
    await this.#offer().catch((error: unknown) => this.#offerAgain(error));
    return this.#answers();
  }

  /** Brings the payload into the store, and a notice to each recipient that has none. */
  async #offer(): Promise<void> {
    const order = { ...this.#order, transfer: this.#transfer };
    const stored = (await answered(this.#session, order)) ?? (await store(this.#session, order));
    this.#digest = stored.digest;
    this.#size = stored.size;
    await this.#session.sync(order.signal);
    this.#checkSender(); // a recipient that was expelled meanwhile fails for itself
    await this.#join(stored);
    await this.#publish(stored);
  }

  /** What was there when we joined it can be swept before we publish. What we store anew has its time. */
  #offerAgain(error: unknown): Promise<void> {
    const swept = error instanceof WaybillError && error.code === "NOT_STORED";
    if (swept && this.#order.source.replayable) return this.#offer();
    throw error;
  }

  /** An early end takes back what this call published, so that nobody receives what nobody waits for. */
  async giveUp(error: unknown): Promise<unknown> {
    const { signal } = this.#order;
    const ended = signal?.aborted === true;
    if (!ended && !this.#callbackFailed) return expelledSender(error);
    if (this.#order.withdraw || !ended) await this.#withdraw();
    return ended ? aborted(signal, { received: this.#received().map(this.#order.idOf) }) : error;
  }

  #checkSender(): void {
    const { account } = this.#session;
    if (!this.#isActive(account)) throw notMember(`You (${account})`);
  }

  #checkRecipients(): void {
    const stranger = this.#order.recipients.find((recipient) => !this.#isActive(recipient));
    if (stranger) throw notMember(stranger);
  }

  #isActive(account: Address): boolean {
    return this.#session.ledger.member(account)?.active === true;
  }

  /** Recipients that have verified, or have an open notice, get no new one. */
  async #join({ notices, head }: StoredPayload): Promise<void> {
    const [joined, again] = [new Set<Notice>(), [] as PublishedNotice[]];
    for (const account of this.#order.recipients.filter((one) => !this.#awaited.has(one))) {
      const member = this.#session.ledger.member(account)!;
      const standing = this.#records().findLast(
        (record) => isVerified(record, account) || isOpen(record, member, head),
      );
      const waiting = notices.findLast((signed) => this.#isPending(signed, member, head));
      const notice = standing?.notice ?? waiting?.notice;
      if (!notice) continue;
      this.#awaited.set(account, notice);
      joined.add(notice);
      if (!standing && waiting && !again.includes(waiting)) again.push(waiting);
    }
    for (const notice of joined) this.#tellNotice(notice, true);
    if (again.length > 0) await this.#postAgain(again);
  }

  /** Its outbox entry may have been lost; that it can't be posted any more means that it has got somewhere. */
  async #postAgain(notices: readonly PublishedNotice[]): Promise<void> {
    const { api, task } = this.#session;
    await api.finish(task, this.#transfer, { notices }, this.#order.signal).catch((error: unknown) => {
      if (!(error instanceof WaybillError) || error.retryable) throw error;
    });
    this.#relay(notices);
  }

  /** Finish has put them into the outbox; a member that relays for itself brings them onto the chain, too. */
  #relay(notices: readonly PublishedNotice[]): void {
    const { relay, account: author } = this.#session;
    for (const { notice, signature } of notices) {
      const posting = relay.post({ statement: notice, author, signature }, { at: notice.deadline });
      posting.catch(() => {}); // the wait for answers asks for it
      this.#posting.set(noticeId(notice), posting);
    }
  }

  #isPending({ notice, recipients }: PublishedNotice, member: Member, head: Head): boolean {
    if (this.#session.ledger.notice(noticeId(notice)) !== null || notice.deadline <= head.timestamp) return false;
    return recipients.includes(member.account) && names(notice, member);
  }

  async #publish(stored: StoredPayload): Promise<void> {
    const fresh = this.#order.recipients.filter((one) => !this.#awaited.has(one) && this.#isActive(one));
    if (fresh.length === 0) return;
    const seconds = Math.ceil((this.#order.time ?? defaultTime(stored.size)) / 1000);
    const taken = new Set([
      ...this.#records().map((record) => record.notice.deadline),
      ...stored.notices.map(({ notice }) => notice.deadline),
    ]);
    const ahead = await this.#session.deadlineIn(seconds, this.#order.signal);
    let deadline = Math.max(stored.head.timestamp + seconds, ahead);
    for (let tries = 1; ; tries++) {
      while (taken.has(deadline)) deadline += 1;
      taken.add(deadline);
      try {
        return await this.#post(await this.#signNotices(fresh, deadline));
      } catch (error) {
        const used = error instanceof WaybillError && error.code === "NOTICE_EXISTS";
        if (!used || tries === NOTICE_TRIES) throw error;
      }
    }
  }

  /** One notice for each page that has recipients. */
  async #signNotices(accounts: readonly Address[], deadline: number): Promise<PublishedNotice[]> {
    const { ledger, task, account: sender, signer, deployment } = this.#session;
    const pages = pagesOf(accounts.map((account) => ledger.member(account)!));
    const common = {
      kind: "notice",
      task,
      sender,
      transfer: this.#transfer,
      manifest: this.#digest,
      deadline,
    } as const;
    const signed: PublishedNotice[] = [];
    for (const { page, recipients, members } of pages) {
      const notice: Notice = { ...common, page, recipients };
      const { signature } = await signStatement(signer, deployment, notice);
      signed.push({ notice, signature, recipients: members.map(({ account }) => account) });
    }
    return signed;
  }

  async #post(notices: readonly PublishedNotice[]): Promise<void> {
    const { api, task } = this.#session;
    this.#order.signal?.throwIfAborted();
    this.#published.push(...notices.map(({ notice }) => notice)); // from here on they may be out, whatever is answered
    try {
      // Not with the caller's signal: cut off in the middle, nobody would know whether there is something to take back.
      await api.finish(task, this.#transfer, { notices });
    } catch (error) {
      const refused = error instanceof WaybillError && !error.retryable && error.code !== "BAD_SERVER";
      if (refused) this.#published.length -= notices.length;
      throw error;
    }
    this.#relay(notices);
    for (const { notice, recipients } of notices) {
      for (const account of recipients) this.#awaited.set(account, notice);
      this.#tellNotice(notice, false);
    }
  }

  /** Waits until everybody has answered, is out, or is late. */
  async #answers(): Promise<SendResult> {
    const { follower } = this.#session;
    const done = new AbortController();
    const asking = [...this.#posting].map(([id, posting]) => this.#watchFailure(id, posting, done.signal));
    const at = Math.max(...[...this.#awaited.values()].map((notice) => notice.deadline));
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
      if (recipients.includes(account)) this.#callback(() => onRecipient?.({ recipient: account, ...progress }));
    };
    const giveUp = (records: readonly NoticeRecord[]): Promise<void> => this.#giveUpIdle(records);
    if (idle !== null || onRecipient !== undefined)
      await watch({ session: this.#session, idle, size: this.#size, open: () => this.#open(), tell, giveUp }, signal);
    return new Promise<never>(() => {});
  }

  /** The notices that are waited for, as far as they stand on the chain and somebody is outstanding. */
  #open(): NoticeRecord[] {
    const ids = new Set([...this.#awaited.values()].map(noticeId));
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
    const open = this.#published.filter((notice) => {
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
      this.#checkSender();
      return undefined;
    }
    const failed = new Map<Address, Failure>();
    for (const [recipient, verdict] of verdicts) if (verdict !== "VERIFIED") failed.set(recipient, verdict!);
    return { received: this.#received(), failed, why: [...this.#unpublished.values()][0] ?? null };
  }

  #verdict(account: Address): "VERIFIED" | Failure | null {
    const records = this.#records();
    if (records.some((record) => isVerified(record, account))) return "VERIFIED";
    const notice = this.#awaited.get(account);
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

  #received(): Address[] {
    const records = this.#records();
    return this.#order.recipients.filter((account) => records.some((record) => isVerified(record, account)));
  }

  /** What stands on the chain about exactly these bytes. */
  #records(): NoticeRecord[] {
    const { ledger, account } = this.#session;
    return ledger.noticesOf(account, this.#transfer).filter(({ notice }) => notice.manifest === this.#digest);
  }

  #tellReceipts(): void {
    for (const { id, recipients } of this.#records())
      for (const { account, outcome, transaction } of recipients.values()) {
        if (outcome === null || this.#told.has(account) || !this.#order.recipients.includes(account)) continue;
        const notice = this.#awaited.get(account);
        if (outcome !== "VERIFIED" && (!notice || noticeId(notice) !== id)) continue; // of an earlier call
        this.#told.add(account);
        this.#callback(() =>
          this.#order.onReceipt?.({ recipient: account, outcome, notice: id, transaction: transaction! }),
        );
      }
  }

  #tellNotice(notice: Notice, joined: boolean): void {
    this.#callback(() => this.#order.onNotice?.({ notice: noticeId(notice), deadline: notice.deadline, joined }));
  }

  #callback(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#callbackFailed = true;
      throw error;
    }
  }

  async #withdraw(): Promise<void> {
    const end = limit(WITHDRAW_MS, undefined, () => new WaybillError("TIMEOUT", "Withdrawing took too long."));
    try {
      await Promise.allSettled(this.#published.map((notice) => this.#withdrawOne(notice, end.signal)));
    } finally {
      end.clear();
    }
  }

  /** Resolves when nothing of the notice is open any more: withdrawn, answered, or refused, and so never open. */
  async #withdrawOne(notice: Notice, signal: AbortSignal): Promise<void> {
    const { ledger } = this.#session;
    const id = noticeId(notice);
    const posted = await this.#session.say({ kind: "withdraw", of: notice }, { signal });
    const probe = (): true | undefined => {
      const record = ledger.notice(id);
      return record && !isAnybodyOutstanding(record) ? true : undefined;
    };
    await this.#session.stands(posted, probe, { signal });
  }
}

function isVerified(record: NoticeRecord, account: Address): boolean {
  return record.recipients.get(account)?.state === "verified";
}

function isAnybodyOutstanding({ recipients }: NoticeRecord): boolean {
  return [...recipients.values()].some(({ state }) => state === "outstanding");
}

function isOpen(record: NoticeRecord, member: Member, head: Head): boolean {
  return isOutstanding(record, member) && record.notice.deadline > head.timestamp;
}

function notMember(who: string): WaybillError {
  return new WaybillError("NOT_MEMBER", `${who} is no active member of this task. Ask its owner.`);
}

/** To a sender, having been expelled is not being a member. */
function expelledSender(error: unknown): unknown {
  if (!(error instanceof WaybillError) || error.code !== "EXPELLED") return error;
  return new WaybillError("NOT_MEMBER", error.message, { cause: error });
}
