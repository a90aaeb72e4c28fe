import { type Result, toQuantity } from "ethers";
import * as z from "zod/mini";
import { WaybillError } from "../protocol/errors.ts";
import type { Address, Hex } from "../protocol/hex.ts";
import type { Head, TaskEvent } from "../protocol/wire.ts";
import { parseLogs, taskEventOf, waybill } from "./events.ts";
import { isRefusal, isTooLong, Rpc } from "./rpc.ts";

/** Indices per `members` call: two storage reads each keep it far below every node's gas cap for calls. */
const MEMBERS_PER_CALL = 1000;
/** Blocks looked at together when walking back: events come in bursts, and most nodes allow ranges of a hundred. */
const BLOCKS_BACK = 100;
/** Events beyond what was asked for, times the limit, after which smaller windows are read. */
const SURPLUS = 4;
/** JSON-RPC's code for a call that the contract reverted. */
const REVERTED = 3;

export interface ReaderOptions {
  /** The node's JSON-RPC URL. May carry a key: it appears in no error. */
  readonly rpc: string;
  readonly chainId: number;
  readonly contract: Address;
  /** Blocks on top before anything counts as being on the chain. */
  readonly confirmations: number;
  /** The contract's first block; reading begins here. Default 0. */
  readonly fromBlock?: number;
  /** Milliseconds that one call may take. Default 10,000. */
  readonly timeout?: number;
}

/** A place in a task's line of events: an event's `seq` and block. `{ seq: 0, block: 0 }` is before the first. */
export interface Cursor {
  readonly seq: number;
  readonly block: number;
}

export interface Membership {
  /** The account's newest index in the task. */
  readonly index: number;
  readonly active: boolean;
}

export interface Roster {
  readonly owner: Address;
  readonly version: number;
  /** Indices given so far. */
  readonly count: number;
}

export interface NoticeState {
  /** Seconds of chain time. */
  readonly deadline: number;
  /** Bit i speaks of the member with index page * 104 + i. */
  readonly outstanding: bigint;
  readonly verified: bigint;
  readonly withdrawn: boolean;
}

const block = z.object({ number: z.string(), timestamp: z.string() });

/**
 * Reads the contract over one node. It polls, caches and retries nothing.
 *
 * Views answer as of block `at`, by default the newest. Every method throws WaybillError UNAVAILABLE when the node
 * can't be asked or lags behind, WRONG_CHAIN when it serves another chain or there is no Waybill contract at the
 * address, and BAD_SERVER when its answers make no sense.
 */
export class ChainReader {
  readonly #rpc: Rpc;
  readonly #options: ReaderOptions;
  #checked: Promise<void> | null = null;
  /** Blocks in one query for logs: all, until the node finds that too many. */
  #span: number = Number.POSITIVE_INFINITY;

  /** @throws WaybillError USAGE if `rpc` is no http(s) URL. */
  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#rpc = new Rpc(options.rpc, options.chainId, options.timeout);
  }

  /** The newest block with `confirmations` on top (the first one while the chain is shorter than that). */
  async head(): Promise<Head> {
    const tip = await this.tip();
    const { confirmations } = this.#options;
    return confirmations === 0 ? tip : this.#block(toQuantity(Math.max(0, tip.block - confirmations)));
  }

  /** The newest block. */
  async tip(): Promise<Head> {
    return this.#block("latest");
  }

  /** An account in a task; null if it never was a member. */
  async member(task: Hex, account: Address, at?: number): Promise<Membership | null> {
    const found = await this.#view("member", [task, account], at);
    return found?.known ? { index: Number(found.index), active: found.active } : null;
  }

  /** Who owns the task and how often its roster changed; null if there is no such task. */
  async roster(task: Hex, at?: number): Promise<Roster | null> {
    const found = await this.#view("roster", [task], at);
    if (!found?.version) return null;
    return { owner: found.owner.toLowerCase(), version: Number(found.version), count: Number(found.count) };
  }

  /** All members by index. An account that was admitted again is listed under each of its indices, active in the newest. */
  async members(task: Hex, at?: number): Promise<({ account: Address } & Membership)[]> {
    const where = at ?? (await this.tip()).block; // all pages of one block
    const all: ({ account: Address } & Membership)[] = [];
    for (;;) {
      const found = await this.#view("members", [task, all.length, MEMBERS_PER_CALL], where);
      const page: { account: string; active: boolean }[] = found ? [...found.list] : [];
      for (const { account, active } of page)
        all.push({ account: account.toLowerCase() as Address, index: all.length, active });
      if (page.length < MEMBERS_PER_CALL) return all;
    }
  }

  /** The place of the task's newest event; zeros if there is none. */
  async latest(task: Hex, at?: number): Promise<Cursor> {
    return cursorOf(await this.#view("latest", [task], at));
  }

  /** A notice's state on a page; null if the contract doesn't know it. */
  async notice(task: Hex, page: number, id: Hex, at?: number): Promise<NoticeState | null> {
    const found = await this.#view("state", [task, page, id], at);
    if (!found?.deadline) return null;
    const { deadline, outstanding, verified, withdrawn } = found;
    return { deadline: Number(deadline), outstanding, verified, withdrawn };
  }

  /**
   * The events that follow the event at `cursor`, up to block `toBlock`, oldest first, at most `limit`. The last one's
   * seq and block are the next cursor.
   *
   * @throws WaybillError UNAVAILABLE unless the node shows every event that the contract has counted up to there;
   * CONFLICT if the cursor is not on this chain (another task's, or a reorg went deeper than `confirmations`).
   */
  async eventsAfter(task: Hex, cursor: Cursor, toBlock: number, limit: number): Promise<TaskEvent[]> {
    await this.#check();
    if (toBlock < Math.max(cursor.block, this.#options.fromBlock ?? 0)) return [];
    const latest = cursorOf(await this.#view("latest", [task], toBlock));
    if (latest.seq < cursor.seq || (latest.seq === cursor.seq && latest.block !== cursor.block))
      throw misplaced(cursor);
    const line: TaskEvent[] = [];
    let end = cursor.block - 1;
    while (line.length < Math.min(limit, latest.seq - cursor.seq) && end < latest.block) {
      const next = await this.#window(task, end + 1, latest.block, limit);
      line.push(...next.events.filter((event) => event.seq > cursor.seq));
      end = next.end;
    }
    // What lies behind the last window isn't asked for yet; up to there the line must be whole.
    checkLine(line, cursor.seq + 1, end < latest.block ? cursor.seq + line.length : latest.seq);
    if (line[0] && line[0].prevBlock !== cursor.block) throw misplaced(cursor);
    return line.slice(0, limit);
  }

  /**
   * The events before `cursor`, oldest first, at most `limit`, fewer only where the task begins. The first one's seq
   * and its block, or better its prevBlock, are the next cursor; `latest` with its seq raised by one begins.
   *
   * @throws WaybillError UNAVAILABLE unless the node shows every one of them (or there is no such cursor in this task).
   */
  async eventsBefore(task: Hex, cursor: Cursor, limit: number): Promise<TaskEvent[]> {
    await this.#check();
    let line: TaskEvent[] = []; // ends with the cursor's own event, if that is in the cursor's block
    let oldest: Cursor = { seq: cursor.seq + 1, block: cursor.block };
    while (oldest.seq > 1 && oldest.seq > cursor.seq - limit) {
      const found = await this.#events(task, oldest.block - BLOCKS_BACK, oldest.block);
      const older = found.filter((event) => event.seq < oldest.seq);
      if (older.length === 0) throw lagging();
      line = [...older, ...line];
      const newest = line.at(-1)?.seq === cursor.seq ? cursor.seq : cursor.seq - 1;
      checkLine(line, line[0]!.seq, newest);
      oldest = { seq: line[0]!.seq, block: line[0]!.prevBlock };
    }
    return line.filter((event) => event.seq < cursor.seq).slice(-limit);
  }

  close(): void {
    this.#rpc.close();
  }

  /**
   * The events from block `from` on, as far as one answer of the node reaches: nodes cap ranges and sizes in their own ways,
   * and anybody may fill a block with large events, so what is refused is asked for by halves.
   */
  async #window(task: Hex, from: number, to: number, limit: number): Promise<{ events: TaskEvent[]; end: number }> {
    for (;;) {
      const end = Math.min(to, from + this.#span - 1);
      try {
        const events = await this.#events(task, from, end);
        const wanted = events.length > SURPLUS * limit ? (end - from + 1) * (limit / events.length) : 2 * this.#span;
        this.#span = Math.max(1, Math.floor(wanted));
        return { events, end };
      } catch (error) {
        if (!(isRefusal(error) || isTooLong(error)) || end === from) throw error;
        this.#span = Math.ceil((end - from) / 2);
      }
    }
  }

  async #events(task: Hex, from: number, to: number): Promise<TaskEvent[]> {
    const fromBlock = toQuantity(Math.max(from, this.#options.fromBlock ?? 0));
    const filter = { address: this.#options.contract, topics: [null, task], fromBlock, toBlock: toQuantity(to) };
    const logs = parseLogs(await this.#rpc.send("eth_getLogs", [filter]));
    const events = new Map<string, TaskEvent>(); // a node may repeat a log
    for (const log of logs) {
      const event = log.removed ? null : taskEventOf(log);
      if (event?.task === task) events.set(`${log.blockHash}:${log.logIndex}`, event);
    }
    return [...events.values()].sort((a, b) => a.seq - b.seq);
  }

  async #block(tag: string): Promise<Head> {
    await this.#check();
    const parsed = block.safeParse(await this.#rpc.send("eth_getBlockByNumber", [tag, false]));
    if (!parsed.success) throw lagging();
    return { block: Number(parsed.data.number), timestamp: Number(parsed.data.timestamp) };
  }

  /** A view's results by name; null from a block in which the contract wasn't there yet. */
  async #view(name: string, values: readonly unknown[], at?: number): Promise<Result | null> {
    await this.#check();
    return this.#call(name, values, at === undefined ? "latest" : toQuantity(at));
  }

  async #call(name: string, values: readonly unknown[], tag: string): Promise<Result | null> {
    const data = waybill.encodeFunctionData(name, values);
    const answer = await this.#rpc.send("eth_call", [{ to: this.#options.contract, data }, tag]);
    if (answer === "0x") return null;
    try {
      return waybill.decodeFunctionResult(name, String(answer));
    } catch {
      throw new WaybillError("BAD_SERVER", `The RPC node's answer to ${name} is malformed.`);
    }
  }

  /** Once, before anything is believed: the chain and the contract at the other end are those that were configured. */
  #check(): Promise<void> {
    this.#checked ??= this.#compare().catch((error: unknown) => {
      this.#checked = null;
      throw error;
    });
    return this.#checked;
  }

  async #compare(): Promise<void> {
    const { chainId, contract } = this.#options;
    const [chain, domain] = await Promise.all([
      this.#rpc.send("eth_chainId", []),
      this.#call("eip712Domain", [], "latest").catch((error: unknown) => {
        if (isNoWaybill(error)) return null;
        throw error;
      }),
    ]);
    if (Number(chain) !== chainId)
      throw new WaybillError("WRONG_CHAIN", `The RPC node serves chain ${Number(chain)}, not ${chainId}.`);
    if (domain?.name !== "Waybill" || domain.version !== "1")
      throw new WaybillError("WRONG_CHAIN", `On chain ${chainId} there is no Waybill contract at ${contract}.`);
  }
}

/** Another contract reverts or answers with something else. */
function isNoWaybill(error: unknown): boolean {
  if (isRefusal(error)) return error.details.rpcCode === REVERTED;
  return error instanceof WaybillError && error.code === "BAD_SERVER";
}

const cursorOf = (found: Result | null): Cursor => ({
  seq: Number(found?.seq ?? 0),
  block: Number(found?.blockNumber ?? 0),
});

/** A task's events must be one unbroken line from `first` to `last`, or the node hasn't shown all. */
function checkLine(events: readonly TaskEvent[], first: number, last: number): void {
  const whole = events.length === Math.max(0, last - first + 1);
  const inOrder = events.every(
    (event, i) => event.seq === first + i && (i === 0 || event.prevBlock === events[i - 1]?.block),
  );
  if (!whole || !inOrder) throw lagging();
}

function lagging(): WaybillError {
  return new WaybillError("UNAVAILABLE", "The RPC node lags behind or leaves out events. Try again, or use another.");
}

function misplaced(cursor: Cursor): WaybillError {
  const place = `event ${cursor.seq} in block ${cursor.block}`;
  return new WaybillError("CONFLICT", `The task's line of events has no ${place}. Read it again from its beginning.`);
}
