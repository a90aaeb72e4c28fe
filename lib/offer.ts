import { answered } from "./answered.ts";
import type { PublishedNotice } from "./api.ts";
import { isOutstanding, type Member, type NoticeRecord } from "./chain/ledger.ts";
import { checkSender, isActive } from "./membership.ts";
import { defaultTime } from "./options.ts";
import type { Callbacks, SendOrder } from "./order.ts";
import { names, pagesOf } from "./pages.ts";
import { WaybillError } from "./protocol/errors.ts";
import type { Address, Hex } from "./protocol/hex.ts";
import { transferId } from "./protocol/manifest.ts";
import { type Notice, noticeId, signStatement } from "./protocol/statements.ts";
import type { Head } from "./protocol/wire.ts";
import type { Posted } from "./relay.ts";
import type { Session } from "./session.ts";
import { type StoredPayload, store } from "./stored.ts";

/** One more deadline is tried when another process of ours has just used one up. */
const NOTICE_TRIES = 4;

/** A payload in the store, and a notice of it to each recipient. */
export class Offer {
  /** The notice by which each recipient is waited for. */
  readonly awaited: Map<Address, Notice> = new Map();
  /** Published by this call, so that it may take them back. */
  readonly published: Notice[] = [];
  /** By the id of the notice. */
  readonly posting: Map<Hex, Promise<Posted>> = new Map();
  /** Bytes of the payload. */
  size = 0;
  readonly #session: Session;
  readonly #order: SendOrder;
  readonly #callbacks: Callbacks;
  readonly #transfer: Hex;
  #digest: Hex = "0x";

  constructor(session: Session, order: SendOrder, callbacks: Callbacks) {
    this.#session = session;
    this.#order = order;
    this.#callbacks = callbacks;
    this.#transfer = transferId(order.tag);
  }

  /** Brings the payload into the store, and a notice to each recipient that has none. */
  async make(): Promise<void> {
    await this.#make().catch((error: unknown) => this.#makeAgain(error));
  }

  /** What stands on the chain about exactly these bytes. */
  records(): NoticeRecord[] {
    const { ledger, account } = this.#session;
    return ledger.noticesOf(account, this.#transfer).filter(({ notice }) => notice.manifest === this.#digest);
  }

  async #make(): Promise<void> {
    const order = { ...this.#order, transfer: this.#transfer };
    const stored = (await answered(this.#session, order)) ?? (await store(this.#session, order));
    this.#digest = stored.digest;
    this.size = stored.size;
    await this.#session.sync(order.signal);
    checkSender(this.#session); // a recipient that was expelled meanwhile fails for itself
    await this.#join(stored);
    await this.#publish(stored);
  }

  /** What was there when we joined it can be swept before we publish. What we store anew has its time. */
  #makeAgain(error: unknown): Promise<void> {
    const swept = error instanceof WaybillError && error.code === "NOT_STORED";
    if (swept && this.#order.source.replayable) return this.#make();
    throw error;
  }

  /** Recipients that have verified, or have an open notice, get no new one. */
  async #join({ notices, head }: StoredPayload): Promise<void> {
    const [joined, again] = [new Set<Notice>(), [] as PublishedNotice[]];
    for (const account of this.#order.recipients.filter((one) => !this.awaited.has(one))) {
      const member = this.#session.ledger.member(account)!;
      const standing = this.records().findLast((record) => isVerified(record, account) || isOpen(record, member, head));
      const waiting = notices.findLast((signed) => this.#isPending(signed, member, head));
      const notice = standing?.notice ?? waiting?.notice;
      if (!notice) continue;
      this.awaited.set(account, notice);
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
      this.posting.set(noticeId(notice), posting);
    }
  }

  #isPending({ notice, recipients }: PublishedNotice, member: Member, head: Head): boolean {
    if (this.#session.ledger.notice(noticeId(notice)) !== null || notice.deadline <= head.timestamp) return false;
    return recipients.includes(member.account) && names(notice, member);
  }

  async #publish(stored: StoredPayload): Promise<void> {
    const fresh = this.#order.recipients.filter((one) => !this.awaited.has(one) && isActive(this.#session, one));
    if (fresh.length === 0) return;
    const seconds = Math.ceil((this.#order.time ?? defaultTime(stored.size)) / 1000);
    const taken = new Set([
      ...this.records().map((record) => record.notice.deadline),
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
    this.published.push(...notices.map(({ notice }) => notice)); // from here on they may be out, whatever is answered
    try {
      // Not with the caller's signal: cut off in the middle, nobody would know whether there is something to take back.
      await api.finish(task, this.#transfer, { notices });
    } catch (error) {
      const refused = error instanceof WaybillError && !error.retryable && error.code !== "BAD_SERVER";
      if (refused) this.published.length -= notices.length;
      throw error;
    }
    this.#relay(notices);
    for (const { notice, recipients } of notices) {
      for (const account of recipients) this.awaited.set(account, notice);
      this.#tellNotice(notice, false);
    }
  }

  #tellNotice(notice: Notice, joined: boolean): void {
    this.#callbacks.run(() => this.#order.onNotice?.({ notice: noticeId(notice), deadline: notice.deadline, joined }));
  }
}

/** Whether a recipient has verified what a notice is about. */
export function isVerified(record: NoticeRecord, account: Address): boolean {
  return record.recipients.get(account)?.state === "verified";
}

function isOpen(record: NoticeRecord, member: Member, head: Head): boolean {
  return isOutstanding(record, member) && record.notice.deadline > head.timestamp;
}
