import type { Result } from "ethers/abi";
import { toQuantity } from "ethers/utils";
import * as z from "zod/mini";
import { WaybillError } from "../protocol/errors.ts";
import type { Address, Hex } from "../protocol/hex.ts";
import { id32 } from "../protocol/requests.ts";
import type { Head, TaskEvent } from "../protocol/wire.ts";
import { decodeAnswer, encodeCall } from "./codec.ts";
import { parseLogs, taskEventOf } from "./events.ts";
import { checkLine, lagging, misnumbered, misplaced } from "./line.ts";
import { Logs } from "./logs.ts";
import { Moment } from "./moment.ts";
import { isRefusal, Rpc } from "./rpc.ts";
import type { ChainView, Cursor, Depth, Membership, NoticeState, Roster, Stretch } from "./view.ts";

/** Indices per `members` call: two storage reads each keep it far below every node's gas cap for calls. */
const MEMBERS_PER_CALL = 1000;
/**
 * A node that is in the middle of its next block may answer from that one for a moment, as if it were the block that was named; one that
 * wouldn't tell its numbers counts otherwise, and is not asked again.
 */
const MOST_LOOKS = 3;
/** JSON-RPC's code for a call that the contract reverted. */
const REVERTED = 3;
/** Code that, run as a constructor, returns block.number in 32 bytes. */
const TELL_NUMBER = "0x4360005260206000f3";

export interface NodeOptions {
  readonly chainId: number;
  readonly contract: Address;
  /** Blocks on top before anything counts as being on the chain. */
  readonly confirmations: number;
  /** The contract's first block; reading begins here. Default 0. */
  readonly fromBlock?: number;
  /** Milliseconds that one call may take. Default 10,000. */
  readonly timeout?: number;
  /** Instead of the global one. */
  readonly fetch?: typeof fetch | undefined;
  /** Milliseconds for which a newest block that was seen is taken for it still. Default 0: it is asked for each time. */
  readonly shared?: number | undefined;
}

const block = z.object({ number: z.string(), timestamp: z.string(), hash: id32 });
type Block = Head & { readonly hash: Hex };

/** Reads the contract over one node. It polls nothing, and keeps only the newest block, as long as it is told to. */
export class Node implements ChainView {
  readonly #rpc: Rpc;
  readonly #options: NodeOptions;
  readonly #onTip: (tip: Head) => void;
  readonly #logs: Logs = new Logs((task, from, to) => this.#events(task, from, to));
  #checked: Promise<void> | null = null;
  #tip: { readonly seen: Promise<Head>; readonly since: Moment } | null = null;
  /** The newest block with confirmations, when the newest one was `tip`. */
  #head: { readonly tip: Head; readonly seen: Promise<Head> } | null = null;
  /** Whether the node has shown that block.number in a contract is the block's number. */
  #numbered = false;

  /**
   * @param onTip Sees each newest block before it is believed; what it throws, the call throws.
   * @throws WaybillError USAGE if `url` is no http(s) URL.
   */
  constructor(url: string, options: NodeOptions, onTip: (tip: Head) => void) {
    this.#options = options;
    this.#onTip = onTip;
    this.#rpc = new Rpc(url, { timeout: options.timeout, fetch: options.fetch });
  }

  async head(fresh?: boolean): Promise<Head> {
    return (await this.depth(fresh)).head;
  }

  async depth(fresh?: boolean): Promise<Depth> {
    const tip = await this.tip(fresh);
    const { confirmations } = this.#options;
    if (confirmations === 0) return { block: tip.block, head: Promise.resolve(tip) };
    const block = Math.max(0, tip.block - confirmations);
    if (this.#head?.tip !== tip) {
      const seen = this.#block(toQuantity(block)).then(headOf);
      this.#head = { tip, seen };
      seen.catch(() => {
        if (this.#head?.seen === seen) this.#head = null;
      });
    }
    return { block, head: this.#head!.seen };
  }

  tip(fresh: boolean = false): Promise<Head> {
    if (!fresh && this.#tip?.since.isWithin(this.#options.shared ?? 0)) return this.#tip.seen;
    const since = new Moment();
    const seen = this.#newest();
    this.#tip = { seen, since };
    seen.catch(() => {
      if (this.#tip?.seen === seen) this.#tip = null;
    });
    return seen;
  }

  async #newest(): Promise<Head> {
    const tip = headOf(await this.#block("latest"));
    this.#onTip(tip);
    return tip;
  }

  async member(task: Hex, account: Address, at?: number): Promise<Membership | null> {
    const found = await this.#view("member", [task, account], at);
    return found?.known ? { index: Number(found.index), active: found.active } : null;
  }

  async roster(task: Hex, at?: number): Promise<Roster | null> {
    const found = await this.#view("roster", [task], at);
    if (!found?.version) return null;
    return { owner: found.owner.toLowerCase(), version: Number(found.version), count: Number(found.count) };
  }

  async members(task: Hex, at?: number): Promise<({ account: Address } & Membership)[]> {
    if (at === undefined) {
      const few = await this.#membersFrom(task, 0);
      if (few.length < MEMBERS_PER_CALL) return few;
    }
    const where = at ?? (await this.tip()).block; // all pages of one block
    const all: ({ account: Address } & Membership)[] = [];
    for (;;) {
      const page = await this.#membersFrom(task, all.length, where);
      all.push(...page);
      if (page.length < MEMBERS_PER_CALL) return all;
    }
  }

  async #membersFrom(task: Hex, from: number, at?: number): Promise<({ account: Address } & Membership)[]> {
    const found = await this.#view("members", [task, from, MEMBERS_PER_CALL], at);
    const page: { account: string; active: boolean }[] = found ? [...found.list] : [];
    return page.map(({ account, active }, i) => ({
      account: account.toLowerCase() as Address,
      index: from + i,
      active,
    }));
  }

  async latest(task: Hex, at?: number): Promise<Cursor> {
    for (let looks = 1; ; looks++) {
      const found = await this.#view("latest", [task], at);
      const latest = { seq: Number(found?.seq ?? 0), block: Number(found?.blockNumber ?? 0) };
      if (at === undefined || latest.block <= at) return latest;
      if (!this.#numbered) throw misnumbered(this.#options.chainId);
      if (looks === MOST_LOOKS) throw lagging();
    }
  }

  async newest(task: Hex, at: number): Promise<Cursor> {
    const latest = await this.latest(task, at);
    if (latest.seq === 0) return latest;
    return { ...latest, hash: (await this.#block(toQuantity(latest.block))).hash };
  }

  async notice(task: Hex, page: number, id: Hex, at?: number): Promise<NoticeState | null> {
    const found = await this.#view("state", [task, page, id], at);
    if (!found?.deadline) return null;
    const { deadline, outstanding, verified, withdrawn } = found;
    return { deadline: Number(deadline), outstanding, verified, withdrawn };
  }

  async stretch(task: Hex, cursor: Cursor, toBlock: number, limit: number): Promise<Stretch> {
    await this.#check();
    const from = Math.max(cursor.block, this.#options.fromBlock ?? 0);
    if (toBlock < from) return { events: [], whole: true };
    const [latest, standing] = await Promise.all([
      this.latest(task, toBlock),
      cursor.hash === undefined ? undefined : this.#block(toQuantity(cursor.block)),
    ]);
    if (latest.seq < cursor.seq || (latest.seq === cursor.seq && latest.block !== cursor.block))
      throw misplaced(cursor);
    if (standing && standing.hash !== cursor.hash) throw misplaced(cursor);
    if (!this.#numbered && latest.seq > 0) await this.#proveNumbering(task, latest, toBlock);
    const { events, end } = await this.#logs.after(task, { seq: cursor.seq, block: from }, latest, limit);
    // What lies behind the last window isn't asked for yet; up to there the line must be whole.
    const last = end < latest.block ? cursor.seq + events.length : latest.seq;
    checkLine(events, cursor.seq + 1, last);
    if (events[0] && events[0].prevBlock !== cursor.block) throw misplaced(cursor);
    return { events, whole: last === latest.seq };
  }

  async eventsAfter(task: Hex, cursor: Cursor, toBlock: number, limit: number): Promise<TaskEvent[]> {
    return (await this.stretch(task, cursor, toBlock, limit)).events.slice(0, limit);
  }

  async eventsBefore(task: Hex, cursor: Cursor, limit: number): Promise<TaskEvent[]> {
    await this.#check();
    return (await this.#logs.before(task, cursor, limit)).slice(-limit);
  }

  close(): void {
    this.#rpc.close();
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

  async #block(tag: string): Promise<Block> {
    const parsed = block.safeParse(await this.#believed(this.#rpc.send("eth_getBlockByNumber", [tag, false])));
    if (!parsed.success) throw lagging();
    const { number, timestamp, hash } = parsed.data;
    return { block: Number(number), timestamp: Number(timestamp), hash };
  }

  /** A view's results by name; null from a block in which the contract wasn't there yet. */
  async #view(name: string, values: readonly unknown[], at?: number): Promise<Result | null> {
    return this.#believed(this.#call(name, values, at === undefined ? "latest" : toQuantity(at)));
  }

  async #call(name: string, values: readonly unknown[], tag: string): Promise<Result | null> {
    const data = encodeCall(name, values);
    const answer = await this.#rpc.send("eth_call", [{ to: this.#options.contract, data }, tag]);
    if (answer === "0x") return null;
    try {
      return decodeAnswer(name, String(answer));
    } catch {
      throw new WaybillError("BAD_SERVER", `The RPC node's answer to ${name} is malformed.`);
    }
  }

  /** An answer that was asked for together with the check, in one batch, and isn't believed before that. */
  async #believed<T>(answer: Promise<T>): Promise<T> {
    answer.catch(() => undefined); // the check may say why
    await this.#check();
    return answer;
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
    const [chain, number, domain] = await Promise.all([
      this.#rpc.send("eth_chainId", []),
      this.#rpc.send("eth_blockNumber", []),
      this.#call("eip712Domain", [], "latest").catch((error: unknown) => {
        if (isNoWaybill(error)) return null;
        throw error;
      }),
    ]);
    if (Number(chain) !== chainId)
      throw new WaybillError("WRONG_CHAIN", `The RPC node serves chain ${Number(chain)}, not ${chainId}.`);
    if (domain?.name !== "Waybill" || domain.version !== "1")
      throw new WaybillError("WRONG_CHAIN", `On chain ${chainId} there is no Waybill contract at ${contract}.`);
    const told = await this.#numberIn(String(number));
    // Some nodes run calls in the block that is to come.
    if (told !== null && told !== Number(number) && told !== Number(number) + 1) throw misnumbered(chainId);
    this.#numbered = told !== null;
  }

  /** What a contract in that block sees as block.number; null if the node doesn't run such calls. */
  async #numberIn(tag: string): Promise<number | null> {
    try {
      const answer = String(await this.#rpc.send("eth_call", [{ data: TELL_NUMBER }, tag]));
      return /^0x[0-9a-f]{64}$/i.test(answer) ? Number(answer) : null;
    } catch (error) {
      if (isRefusal(error)) return null;
      throw error;
    }
  }

  /** Where the node would not tell: is the task's newest event in the block that the contract says? */
  async #proveNumbering(task: Hex, latest: Cursor, toBlock: number): Promise<void> {
    const newestIn = async (from: number, to: number): Promise<TaskEvent | undefined> =>
      (await this.#events(task, from, to)).find(({ seq }) => seq === latest.seq);
    const there = await newestIn(latest.block, latest.block);
    const found =
      there ??
      (await newestIn(0, toBlock).catch((error: unknown) => {
        if (isRefusal(error)) return undefined;
        throw error;
      }));
    if (!found) throw lagging();
    if (found.block !== latest.block) throw misnumbered(this.#options.chainId);
    this.#numbered = true;
  }
}

function headOf({ block, timestamp }: Head): Head {
  return { block, timestamp };
}

/** Another contract reverts or answers with something else. */
function isNoWaybill(error: unknown): boolean {
  if (isRefusal(error)) return error.details.rpcCode === REVERTED;
  return error instanceof WaybillError && error.code === "BAD_SERVER";
}
