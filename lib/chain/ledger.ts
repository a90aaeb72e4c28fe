import { WaybillError } from "../protocol/errors.ts";
import type { Address, Hex } from "../protocol/hex.ts";
import { PAGE_SIZE } from "../protocol/limits.ts";
import type { Outcome } from "../protocol/reasons.ts";
import {
  type Domain,
  EVERYONE,
  indicesOf,
  type Message,
  type Notice,
  noticeId,
  type RosterChange,
  type Statement,
  signerOf,
  statementId,
  taskId,
} from "../protocol/statements.ts";
import type { ReceiptGroup, TaskEvent } from "../protocol/wire.ts";
import type { Cursor } from "./view.ts";

type EventOf<Type extends TaskEvent["type"]> = Extract<TaskEvent, { type: Type }>;
type RosterEvent = EventOf<"opened"> | EventOf<"admitted"> | EventOf<"expelled">;

/** Where an event stands. */
export interface Place {
  readonly seq: number;
  readonly block: number;
  readonly transaction: Hex;
}

/** A place in a task's roster. An account that was admitted again has several, active in the newest at most. */
export interface Member {
  readonly account: Address;
  readonly index: number;
  readonly active: boolean;
}

/** One recipient of a notice. `cleared`: it answered with something else than VERIFIED, or the notice was withdrawn. */
export interface RecipientRecord {
  readonly account: Address;
  readonly index: number;
  readonly state: "outstanding" | "verified" | "cleared";
  /** What it answered, if it did. */
  readonly outcome: Outcome | null;
  /** The transaction that carries its answer. */
  readonly transaction: Hex | null;
}

/** A notice as it stands on the chain. */
export interface NoticeRecord {
  readonly id: Hex;
  readonly notice: Notice;
  readonly place: Place;
  /** Whether the sender's signature was verified. If not, its word doesn't count here. */
  readonly proved: boolean;
  readonly withdrawn: boolean;
  readonly recipients: ReadonlyMap<Address, RecipientRecord>;
}

/** What an event tells the members, beside notices and receipts. `id`: its statement's, the same wherever it stands. */
export type News =
  | { readonly type: "message"; readonly id: Hex; readonly message: Message; readonly place: Place }
  | {
      readonly type: "roster";
      readonly id: Hex;
      readonly change: "opened" | "admitted" | "expelled";
      readonly members: Address[];
      readonly place: Place;
    };

export interface LedgerOptions {
  readonly domain: Domain;
  readonly task: Hex;
  /**
   * The events come from an RPC node of one's own: the contract checked their signatures, so those of contract wallets
   * (ERC-1271) count as well. Otherwise only what a key signed counts.
   */
  readonly trusted: boolean;
}

/** What the events have told so far. */
class Facts {
  readonly accounts: Address[] = [];
  readonly indices = new Map<Address, number>();
  readonly active = new Set<Address>();
  readonly notices = new Map<Hex, MutableNotice>();
  readonly transfers = new Map<string, NoticeRecord[]>();
  readonly messages = new Set<Hex>();
  /** The Admit or Expel that each version of the roster was changed by. */
  readonly changes = new Map<number, Hex>();
  /** The hash of each event's block, by seq - 1. */
  readonly hashes: Hex[] = [];
  owner: Address | null = null;
  roster = 0;
  position: Cursor = { seq: 0, block: 0 };
}

interface MutableNotice extends NoticeRecord {
  withdrawn: boolean;
  readonly recipients: Map<Address, RecipientRecord>;
}

interface Answer {
  readonly record: MutableNotice;
  readonly author: Address;
  readonly outcome: Outcome;
}

/**
 * A task as its signed events tell it. Events are folded in the order of `seq`; each is checked as the contract checked
 * it, so that whoever hands them over can withhold, but not forge.
 */
export class Ledger {
  readonly #options: LedgerOptions;
  #facts = new Facts();

  constructor(options: LedgerOptions) {
    this.#options = options;
  }

  /** An empty ledger of the same task. */
  draft(): Ledger {
    return new Ledger(this.#options);
  }

  /**
   * Takes over what another ledger of the task has read, for it is what the chain says now. All at once: nobody sees a task
   * that is half read.
   * @returns The `seq` of the last event that both have.
   */
  adopt(other: Ledger): number {
    const [before, after] = [this.#facts.hashes, other.#facts.hashes];
    const fork = before.findIndex((hash, i) => hash !== after[i]);
    this.#facts = other.#facts;
    return fork === -1 ? before.length : fork;
  }

  /** The hash of the block in which an event stands, or null if there is no such event. */
  blockHash(seq: number): Hex | null {
    return this.#facts.hashes[seq - 1] ?? null;
  }

  /** The newest event that was applied; zeros before the first. */
  get position(): Cursor {
    return this.#facts.position;
  }

  /** Null until the task's opening was applied. */
  get owner(): Address | null {
    return this.#facts.owner;
  }

  /** The roster's version: what the next Admit or Expel has to name. */
  get roster(): number {
    return this.#facts.roster;
  }

  /** Everybody who was ever enrolled, by index. */
  members(): Member[] {
    return this.#facts.accounts.map((account, index) => ({ account, index, active: this.#isActiveAt(account, index) }));
  }

  /** An account's newest place in the task, or null if it never was a member. */
  member(account: Address): Member | null {
    const index = this.#facts.indices.get(account);
    return index === undefined ? null : { account, index, active: this.#facts.active.has(account) };
  }

  /** A notice that stands on the chain, proved or not. */
  notice(id: Hex): NoticeRecord | null {
    return this.#facts.notices.get(id) ?? null;
  }

  /** All proved notices, oldest first. */
  *notices(): Generator<NoticeRecord> {
    for (const record of this.#facts.notices.values()) if (record.proved) yield record;
  }

  /** The proved notices of one payload, oldest first. */
  noticesOf(sender: Address, transfer: Hex): readonly NoticeRecord[] {
    return this.#facts.transfers.get(`${sender}/${transfer}`) ?? [];
  }

  /** The id of the statement that changed the roster of this version, or null if none has yet. */
  rosterChange(version: number): Hex | null {
    return this.#facts.changes.get(version) ?? null;
  }

  /** Whether a message stands on the chain. */
  hasMessage(id: Hex): boolean {
    return this.#facts.messages.has(id);
  }

  /** Is a message for this member? */
  concerns(message: Message, account: Address): boolean {
    if (message.recipients === EVERYONE) return true;
    return indicesOf(message.page, message.recipients).some((index) => this.#facts.accounts[index] === account);
  }

  /**
   * Applies the next event; what is no next event, or not its author's word, changes nothing.
   *
   * @throws WaybillError BAD_SERVER when the event cannot be in the task's line, NEEDS_RPC when a contract wallet opened
   * the task and the events are not from a trusted node.
   */
  apply(event: TaskEvent): News | null {
    const { seq, block } = this.#facts.position;
    if (event.task !== this.#options.task) throw forged(event, "it belongs to another task");
    if (event.seq !== seq + 1 || event.prevBlock !== block || event.block < block)
      throw forged(event, `it does not follow event ${seq} in block ${block}`);
    if ((event.type === "opened") !== (seq === 0)) throw forged(event, "a task is opened once, first of all");
    const news = this.#fold(event);
    this.#facts.position = { seq: event.seq, block: event.block, hash: event.blockHash };
    this.#facts.hashes.push(event.blockHash);
    return news;
  }

  #fold(event: TaskEvent): News | null {
    switch (event.type) {
      case "opened":
        return this.#opened(event);
      case "admitted":
      case "expelled":
        return this.#changed(event);
      case "noticed":
        return this.#noticed(event);
      case "receipts":
        return this.#receipts(event);
      case "walletReceipt":
        return this.#walletReceipt(event);
      case "withdrawn":
        return this.#withdrawn(event);
      case "posted":
        return this.#posted(event);
    }
  }

  #opened(event: EventOf<"opened">): News {
    const { owner, salt, members, signature } = event;
    if (taskId(owner, salt) !== event.task) throw forged(event, "the task's id does not commit to this owner");
    const open = { kind: "open", owner, salt, members } as const;
    if (!this.#isSigned(open, owner, signature))
      throw new WaybillError(
        "NEEDS_RPC",
        "The task was opened by a contract wallet, whose signature only a node can check. Put `rpc` into the deployment.",
      );
    this.#facts.owner = owner;
    this.#facts.roster = 1;
    this.#enroll(members);
    return rosterNews(event, statementId(open, owner));
  }

  #changed(event: EventOf<"admitted"> | EventOf<"expelled">): News {
    const kind = event.type === "admitted" ? "admit" : "expel";
    const change: RosterChange = { kind, task: event.task, members: event.members, roster: event.roster };
    if (event.roster !== this.#facts.roster) throw forged(event, `the roster is at version ${this.#facts.roster}`);
    if (!this.#isSigned(change, this.#facts.owner!, event.signature))
      throw forged(event, "the task's owner did not sign it with its key");
    const id = statementId(change, this.#facts.owner!);
    this.#facts.changes.set(this.#facts.roster, id);
    this.#facts.roster += 1;
    if (kind === "admit") this.#enroll(event.members);
    else for (const account of event.members) this.#facts.active.delete(account);
    return rosterNews(event, id);
  }

  #noticed(event: EventOf<"noticed">): null {
    const { task, sender, page, recipients, transfer, manifest, deadline } = event;
    const notice: Notice = { kind: "notice", task, sender, page, recipients, transfer, manifest, deadline };
    const id = noticeId(notice);
    if (this.#facts.notices.has(id)) throw forged(event, "this notice is on the chain already");
    this.#checkAuthor(event, sender);
    const indices = this.#checkRecipients(event, page, recipients);
    const records = indices.map((index): [Address, RecipientRecord] => {
      const account = this.#facts.accounts[index]!;
      return [account, { account, index, state: "outstanding", outcome: null, transaction: null }];
    });
    const proved = this.#isSigned(notice, sender, event.signature);
    const place = placeOfEvent(event);
    const record = { id, notice, place, proved, withdrawn: false, recipients: new Map(records) };
    this.#facts.notices.set(id, record);
    if (proved) this.#facts.transfers.set(`${sender}/${transfer}`, [...this.noticesOf(sender, transfer), record]);
    return null;
  }

  #receipts(event: EventOf<"receipts">): null {
    if (event.receipts.length === 0) throw forged(event, "it carries no receipt");
    const said = new Set<string>();
    const answers = event.receipts.flatMap((group) => this.#answersIn(event, group, said));
    for (const { record, author, outcome } of answers) this.#answer(record, author, outcome, event.transaction);
    return null;
  }

  /**
   * What a group's signatures say, none of it applied yet.
   * @param said Whose word on which notice was read. A repetition is refused as it comes: an answer of 8 MiB could hold 60,000,
   * and each costs a recovery of its signer.
   */
  #answersIn(event: EventOf<"receipts">, { notice, outcome, signatures }: ReceiptGroup, said: Set<string>): Answer[] {
    const record = this.#known(event, notice);
    const receipt = { kind: "receipt", task: event.task, notice, outcome } as const;
    if (signatures.length === 0) throw forged(event, "a group carries no receipt");
    return signatures.map((signature) => {
      const author = this.#checkAnswer(event, record, signerOf(this.#options.domain, receipt, signature));
      const word = `${notice} ${author}`;
      if (said.has(word)) throw forged(event, "one member answers twice");
      said.add(word);
      return { record, author, outcome };
    });
  }

  /** A key can't vouch for a contract wallet: over HTTPS its answer stays uncounted. */
  #walletReceipt(event: EventOf<"walletReceipt">): null {
    const record = this.#known(event, event.notice);
    const { task, notice, outcome, account, signature } = event;
    this.#checkAnswer(event, record, account);
    if (this.#isSigned({ kind: "walletReceipt", task, notice, outcome, account }, account, signature))
      this.#answer(record, account, outcome, event.transaction);
    return null;
  }

  #withdrawn(event: EventOf<"withdrawn">): null {
    const record = this.#known(event, event.notice);
    if (record.withdrawn) throw forged(event, "the notice is withdrawn already");
    const { notice } = record;
    // An account may have become a contract wallet meanwhile (EIP-7702): no forgery for certain, but no proof either.
    if (!this.#isSigned({ kind: "withdraw", of: notice }, notice.sender, event.signature)) return null;
    record.withdrawn = true;
    for (const [account, recipient] of record.recipients)
      if (recipient.state === "outstanding")
        record.recipients.set(account, { ...recipient, state: "cleared", transaction: event.transaction });
    return null;
  }

  #posted(event: EventOf<"posted">): News | null {
    const { task, sender, page, recipients, name, payload, salt, deadline } = event;
    const message: Message = { kind: "message", task, sender, page, recipients, name, payload, salt, deadline };
    const id = statementId(message, sender);
    if (this.#facts.messages.has(id)) throw forged(event, "this message is on the chain already");
    this.#checkAuthor(event, sender);
    if (recipients !== EVERYONE || page !== 0) this.#checkRecipients(event, page, recipients);
    this.#facts.messages.add(id);
    if (!this.#isSigned(message, sender, event.signature)) return null;
    return { type: "message", id, message, place: placeOfEvent(event) };
  }

  #enroll(members: readonly Address[]): void {
    for (const account of members) {
      if (this.#facts.active.has(account)) continue;
      this.#facts.active.add(account);
      this.#facts.indices.set(account, this.#facts.accounts.push(account) - 1);
    }
  }

  #answer(record: MutableNotice, author: Address, outcome: Outcome, transaction: Hex): void {
    const recipient = record.recipients.get(author)!;
    const state = outcome === "VERIFIED" ? "verified" : "cleared";
    record.recipients.set(author, { ...recipient, state, outcome, transaction });
  }

  #known(event: TaskEvent, notice: Hex): MutableNotice {
    const record = this.#facts.notices.get(notice);
    if (!record) throw forged(event, "it speaks of a notice that is not there");
    return record;
  }

  #checkAuthor(event: TaskEvent, author: Address): void {
    if (!this.#facts.active.has(author)) throw forged(event, `its author ${author} is no active member`);
  }

  /** The contract counts a receipt only for the bit of its author's present index. */
  #checkAnswer(event: TaskEvent, record: NoticeRecord, author: Address | null): Address {
    if (author === null) throw forged(event, "a receipt is not signed");
    this.#checkAuthor(event, author);
    const recipient = record.recipients.get(author);
    if (recipient?.index !== this.#facts.indices.get(author) || recipient?.state !== "outstanding")
      throw forged(event, `nothing is outstanding for ${author}`);
    return author;
  }

  #checkRecipients(event: TaskEvent, page: number, recipients: bigint): number[] {
    const indices = indicesOf(page, recipients);
    const last = indices.at(-1);
    if (last === undefined || recipients >> BigInt(PAGE_SIZE) !== 0n || last >= this.#facts.accounts.length)
      throw forged(event, "its recipients are no members");
    return indices;
  }

  #isActiveAt(account: Address, index: number): boolean {
    return this.#facts.active.has(account) && this.#facts.indices.get(account) === index;
  }

  #isSigned(statement: Statement, author: Address, signature: Hex): boolean {
    return this.#options.trusted || signerOf(this.#options.domain, statement, signature) === author;
  }
}

/** Is `record` still to be answered by this member, under the index that it has now? */
export function isOutstanding(record: NoticeRecord, member: Member): boolean {
  const recipient = record.recipients.get(member.account);
  return recipient?.state === "outstanding" && recipient.index === member.index;
}

function placeOfEvent({ seq, block, transaction }: TaskEvent): Place {
  return { seq, block, transaction };
}

function rosterNews(event: RosterEvent, id: Hex): News {
  return { type: "roster", id, change: event.type, members: [...event.members], place: placeOfEvent(event) };
}

function forged(event: TaskEvent, why: string): WaybillError {
  return new WaybillError("BAD_SERVER", `Event ${event.seq} (${event.type}) cannot be true: ${why}.`);
}
