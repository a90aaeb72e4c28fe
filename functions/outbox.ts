import * as z from "zod/mini";
import { WaybillError } from "../lib/protocol/errors.ts";
import { type Address, type Hex, wordHex } from "../lib/protocol/hex.ts";
import { MAX_MEMBERS } from "../lib/protocol/limits.ts";
import { type Outcome, outcomes, type Reason, reasonNames } from "../lib/protocol/reasons.ts";
import { address, id32, messageJson, noticeJson } from "../lib/protocol/requests.ts";
import { type Domain, type Signed, type Statement, statementId, taskOf } from "../lib/protocol/statements.ts";
import type { statementStateAnswer } from "../lib/protocol/wire.ts";
import type { Bell } from "./bell.ts";
import { eachOf } from "./crew.ts";
import { nameOf, type Posted, readName, timeKey } from "./entry-name.ts";
import type { Store } from "./store.ts";

/** What the outbox needs of the bucket. */
export type OutboxStore = Pick<Store, "getJson" | "putJson" | "list" | "delete">;

/** How a statement ended: on the chain (`transaction` null when somebody else put it there), or refused. */
export type Settlement = Exclude<StatementState, { state: "pending" }>;
export type StatementState = z.infer<typeof statementStateAnswer>;

/** A statement that waits to be published. */
export interface Entry {
  readonly id: Hex;
  /** Its key in the bucket: the first one, when it was posted again. */
  readonly key: string;
  /** When it was posted, in milliseconds. */
  readonly arrival: number;
  readonly signed: Signed;
  /** The request that posted it: 32 hex digits. */
  readonly request?: string;
}

/** What is read wrongly once may have been spoilt on its way, and the verdict on an entry is for good. */
const READS = 3;

/** A statement whose end is known; `signed` isn't when nobody could read its entry. */
export type Ended = Pick<Entry, "id" | "key"> & Partial<Entry>;

/**
 * What one look takes in: it fits into memory. What lies behind these is seen when they are settled or refused, which none
 * escapes for long, or cleared away, because they were posted before.
 */
const MAX_PENDING = 10_000;
/** Entries that are read at the same time. */
const READ_AT_ONCE = 50;
/** Settlements that are written at the same time. */
const SETTLED_AT_ONCE = 50;
/**
 * Whoever posted an entry found its statement not refused: so a refusal came later, but for clocks that differ. No two can be
 * further apart than this: a store takes no request from more than 15 minutes ago or ahead.
 */
const CLOCKS_APART_MS = 30 * 60_000;
/** A key's signature has 65 bytes, a wallet's any number: this is far above what multisigs need. */
const MAX_SIGNATURE = 8192;

const bytes = z.string().check(z.regex(/^0x([0-9a-f]{2})*$/), z.maxLength(2 + 2 * MAX_SIGNATURE));
const members = z.array(address).check(z.minLength(1), z.maxLength(MAX_MEMBERS));
const outcome = z.enum(Object.keys(outcomes) as [Outcome, ...Outcome[]]);
const roster = z.int().check(z.gte(0), z.lt(2 ** 32));

const statementJson = z.union([
  z.strictObject({ kind: z.literal("open"), owner: address, salt: id32, members }),
  z.strictObject({ kind: z.enum(["admit", "expel"]), task: id32, members, roster }),
  noticeJson,
  z.strictObject({ kind: z.literal("receipt"), task: id32, notice: id32, outcome }),
  z.strictObject({ kind: z.literal("walletReceipt"), task: id32, notice: id32, outcome, account: address }),
  z.strictObject({ kind: z.literal("withdraw"), of: noticeJson }),
  messageJson,
]);
const request = z.string().check(z.regex(/^[0-9a-f]{32}$/));
const postedJson = z.strictObject({
  statement: statementJson,
  author: address,
  signature: bytes,
  request: z.optional(request),
});
/** Whose statement it was; not there for an entry that nobody could read. */
const origin = { task: z.optional(id32), author: z.optional(address) };
const settledJson = z.union([
  z.strictObject({
    state: z.literal("settled"),
    transaction: z.nullable(id32),
    block: z.int().check(z.gte(0)),
    ...origin,
  }),
  z.strictObject({
    state: z.literal("refused"),
    reason: z.enum(reasonNames as unknown as [Reason, ...Reason[]]),
    ...origin,
  }),
]);
type Settled = Settlement & { readonly task?: Hex; readonly author?: Address };

/**
 * The statements that were accepted and aren't settled yet, in the order of their arrival, and what became of the
 * others. An entry goes only after its settlement is written, so whatever crashes in between, none is lost.
 */
export class Outbox {
  readonly #store: OutboxStore;
  readonly #pending: string;
  readonly #settled: string;
  readonly #refused: string;
  readonly #bell: Bell;
  readonly #now: () => number;
  /** Entries never change under their key. */
  #read = new Map<string, Entry>();

  constructor(store: OutboxStore, domain: Domain, options: { bell?: Bell; now?: () => number } = {}) {
    this.#store = store;
    this.#pending = `outbox/${domain.chainId}/${domain.contract}/`;
    this.#settled = `settled/${domain.chainId}/${domain.contract}/`;
    this.#refused = `refused/${domain.chainId}/${domain.contract}/`;
    this.#bell = options.bell ?? (async () => {});
    this.#now = options.now ?? Date.now;
  }

  /**
   * Puts a statement on its way and answers its id. Posting it again changes nothing; what is settled stays so.
   * @param request The request that posts it, 32 hex digits.
   */
  async post(signed: Signed, request?: string): Promise<Hex> {
    const id = statementId(signed.statement, signed.author);
    if (await this.#settlement(id)) return id;
    const posted = { signed, ...(request !== undefined && { request }) };
    await this.#store.putJson(this.#pending + nameOf(id, posted, this.#now()), toJson(posted));
    await this.#bell().catch(() => undefined); // the schedule looks into the outbox too
    return id;
  }

  /** What became of a statement; "pending" also for one that was never posted. */
  async state(id: Hex): Promise<StatementState> {
    return stateOf(await this.#settlement(id));
  }

  /** As `state`, for the statement's author, or anybody if `everyones`, in that task; to others nothing has become of it. */
  async stateFor(id: Hex, task: Hex, reader: Address, everyones: boolean): Promise<StatementState> {
    const settled = await this.#settlement(id);
    const mayRead = settled?.task === task && (everyones || settled.author === reader);
    return stateOf(mayRead ? settled : null);
  }

  /**
   * The waiting statements in the order of their arrival, each once. Clears away those that have been refused before (a
   * crash after that, or a repeated post in the same moment) and repeats of what waits, which must not take others' room;
   * and refuses those that can't be read.
   *
   * Others that have been settled may be among them: the contract counts none twice, and says so in a simulation.
   */
  async pending(): Promise<Entry[]> {
    const listed = await this.#store.list(this.#pending, { limit: MAX_PENDING });
    const refused = await this.#refusedSince(listed); // after the entries, so that none of theirs is missed
    const known = this.#read;
    this.#read = new Map();
    const entries = new Map<Hex, Entry>();
    const repeats: string[] = [];
    for (const entry of await eachOf(listed, READ_AT_ONCE, ({ key }) => this.#entry(key, known, refused))) {
      if (!entry) continue;
      if (entries.has(entry.id)) repeats.push(entry.key);
      else entries.set(entry.id, entry);
    }
    for (const entry of entries.values()) this.#read.set(entry.key, entry);
    if (repeats.length > 0) await this.#store.delete(repeats);
    return [...entries.values()];
  }

  /** Whether nothing waits, by one listing. */
  async isEmpty(): Promise<boolean> {
    return (await this.#store.list(this.#pending, { limit: 1 })).length === 0;
  }

  /** As `settleAll`, for one. */
  settle(entry: Ended, settlement: Settlement): Promise<void> {
    return this.settleAll([[entry, settlement]]);
  }

  /** Writes what became of statements, unless that is known already, and only then removes their entries. */
  async settleAll(ended: readonly (readonly [Ended, Settlement])[]): Promise<void> {
    await eachOf(ended, SETTLED_AT_ONCE, ([entry, settlement]) => this.#writeDown(entry, settlement));
    await this.#store.delete(ended.map(([{ key }]) => key));
  }

  async #writeDown({ id, signed }: Ended, settlement: Settlement): Promise<void> {
    const settled: Settled = {
      ...settlement,
      ...(signed && { task: taskOf(signed.statement), author: signed.author }),
    };
    await this.#store.putJson(`${this.#settled}${id}.json`, settled, { ifNoneMatch: true });
    if (settlement.state === "refused")
      await this.#store.putJson(`${this.#refused}${timeKey(this.#now())}-${id}.json`, {});
  }

  /** What was refused since the first of these entries was posted, however long ago that is. */
  async #refusedSince([first]: readonly { key: string }[]): Promise<Set<Hex>> {
    if (!first) return new Set();
    const posted = Number(first.key.slice(this.#pending.length).split("-")[0]) || 0;
    const startAfter = `${this.#refused}${timeKey(posted - CLOCKS_APART_MS)}`;
    const listed = await this.#store.list(this.#refused, { startAfter, limit: Number.POSITIVE_INFINITY });
    return new Set(listed.map(({ key }) => key.slice(-71, -5) as Hex));
  }

  async #entry(key: string, known: ReadonlyMap<string, Entry>, refused: ReadonlySet<Hex>): Promise<Entry | null> {
    const name = readName(key.slice(this.#pending.length));
    if (!name) return null; // not ours
    const { id, arrival, posted } = name;
    if (refused.has(id)) {
      await this.#store.delete(key);
      return null;
    }
    const entry = known.get(key);
    if (entry) return entry;
    return posted && isOf(posted, id) ? { id, key, arrival, ...posted } : this.#readEntry(key, id, arrival);
  }

  async #readEntry(key: string, id: Hex, arrival: number): Promise<Entry | null> {
    for (let reads = 0; reads < READS; reads++) {
      const found = await this.#store.getJson(key);
      if (!found) return null; // another worker was faster
      const posted = fromJson(found.value);
      if (posted && isOf(posted, id)) return { id, key, arrival, ...posted };
    }
    await this.settle({ id, key }, { state: "refused", reason: "MALFORMED" });
    return null;
  }

  async #settlement(id: Hex): Promise<Settled | null> {
    const found = await this.#store.getJson(`${this.#settled}${id}.json`);
    if (!found) return null;
    const parsed = settledJson.safeParse(found.value);
    if (!parsed.success) throw new WaybillError("INTERNAL", `The record of statement ${id} is damaged.`);
    return parsed.data as Settled;
  }
}

function isOf({ signed }: Posted, id: Hex): boolean {
  return statementId(signed.statement, signed.author) === id;
}

function stateOf(settled: Settled | null): StatementState {
  if (settled === null) return { state: "pending" };
  const { task: _task, author: _author, ...settlement } = settled;
  return settlement;
}

function toJson({ signed: { statement, author, signature }, request }: Posted): unknown {
  return { statement: statementToJson(statement), author, signature, request };
}

function statementToJson(statement: Statement): unknown {
  if (statement.kind === "withdraw") return { ...statement, of: statementToJson(statement.of) };
  if (statement.kind !== "notice" && statement.kind !== "message") return statement;
  return { ...statement, recipients: wordHex(statement.recipients) };
}

function fromJson(value: unknown): Posted | null {
  const parsed = postedJson.safeParse(value);
  if (!parsed.success) return null;
  const { request, ...signed } = parsed.data;
  return { signed: signed as Signed, ...(request !== undefined && { request }) };
}
