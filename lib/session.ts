import type { Signer } from "ethers";
import { Api } from "./api.ts";
import { Follower } from "./chain/follower.ts";
import { Ledger, type Member, type News } from "./chain/ledger.ts";
import { ChainReader } from "./chain/reader.ts";
import { RelayCalls } from "./chain/relay.ts";
import { Rpc } from "./chain/rpc.ts";
import { Inbox } from "./inbox.ts";
import { NewsDesk } from "./news.ts";
import { type Outbound, outbound } from "./outbound.ts";
import type { Mark, Position } from "./position.ts";
import type { Deployment } from "./protocol/deployment.ts";
import { WaybillError } from "./protocol/errors.ts";
import { type Address, type Hex, toHex } from "./protocol/hex.ts";
import { MAX_DEADLINE_AHEAD } from "./protocol/limits.ts";
import { curable } from "./protocol/reasons.ts";
import { encodeItem, type Signed, signStatement } from "./protocol/statements.ts";
import type { Head } from "./protocol/wire.ts";
import { newestBlock } from "./purse.ts";
import { ApiRelay, type Judge, type Posted, type PostOrder, type Relay, type Said } from "./relay.ts";
import { SelfRelay } from "./selfrelay.ts";
import { apiSource, nodeSource } from "./sources.ts";
import type { Transport } from "./transfer/http.ts";
import { orAbort } from "./transfer/parts.ts";
import { needFiles } from "./transfer/runtime.ts";
import { transportOf } from "./transfer/transport.ts";
import { limit, pause } from "./waiting.ts";

export interface SessionOptions {
  readonly task: Hex;
  readonly signer: Signer;
  readonly deployment: Deployment;
  readonly fetch?: typeof fetch | undefined;
  /** A folder that keeps the reading position. */
  readonly stateDir?: string | undefined;
  /** Where to begin instead: after this event. */
  readonly from?: number | undefined;
  /** Milliseconds without a byte moving to or from the store. */
  readonly stallTimeout?: number | undefined;
  /** Hears why the task's events can't be read, at each try, and null when they can be again. */
  readonly onTrouble?: ((error: WaybillError | null) => void) | undefined;
  /** Pay for our own statements, at most so much wei per unit of gas; null: the functions relay them. */
  readonly maxFeePerGas: bigint | null;
}

/** A node of one's own. */
interface Node {
  readonly rpc: Rpc;
  readonly reader: ChainReader;
}

/** How its requests get to the store, and to everybody else. */
interface Ways {
  readonly transport: Transport;
  readonly outbound: Outbound;
}

/** A chain without a block for so long makes them for transactions only. */
const IDLE = { blocks: 2, leastMs: 2_000 };

/** Seconds ahead, an hour less than the contract allows: a deadline that is taken is raised, and a node may be behind. */
const FURTHEST: number = MAX_DEADLINE_AHEAD - 3_600;

/** Everything that the calls of one member in one task share. */
export class Session {
  readonly task: Hex;
  readonly signer: Signer;
  readonly deployment: Deployment;
  readonly account: Address;
  readonly api: Api;
  readonly ledger: Ledger;
  readonly follower: Follower;
  readonly transport: Transport;
  readonly inbox: Inbox = new Inbox();
  readonly news: NewsDesk;
  readonly relay: Relay;
  readonly #node: Node | null;
  readonly #outbound: Outbound;
  readonly #position: Position | null;
  readonly #from: number | null;
  /** The first look at the chain, while it is under way. */
  #first: Promise<unknown> | null = null;

  static async start(options: SessionOptions): Promise<Session> {
    const account = toHex((await options.signer.getAddress()).toLowerCase());
    const { stateDir, stallTimeout, task, deployment } = options;
    const transport = await transportOf(stallTimeout === undefined ? {} : { stallTimeout });
    const ways = { transport, outbound: await outbound() };
    if (stateDir === undefined) return new Session(options, account, ways, null);
    needFiles("there is no place for a stateDir");
    const { Position } = await import("./position.ts");
    const name = `${deployment.chainId}-${deployment.contract}-${task}-${account}`;
    return new Session(options, account, ways, await Position.open(stateDir, name));
  }

  private constructor(options: SessionOptions, account: Address, ways: Ways, position: Position | null) {
    const { task, signer, deployment, onTrouble, fetch = ways.outbound.fetch } = options;
    this.transport = ways.transport;
    this.#outbound = ways.outbound;
    this.#position = position;
    this.#from = options.from ?? null;
    this.news = new NewsDesk(() => position?.save(this.news.position(this.ledger.position.seq), this.#mark));
    this.task = task;
    this.signer = signer;
    this.deployment = deployment;
    this.account = account;
    this.api = new Api({ deployment, signer, account, fetch });
    const { rpc, blockTime, maxBlockAge } = deployment;
    this.#node = rpc ? nodeOf(rpc, deployment, ways.outbound.fetch) : null;
    this.relay = this.#relayFor(options);
    this.ledger = new Ledger({ domain: deployment, task, trusted: rpc !== undefined });
    const source = this.#node ? nodeSource(this.#node.reader, deployment, task) : apiSource(this.api, task);
    const onNews = (news: News): void => {
      if (news.type === "roster" || this.ledger.concerns(news.message, account)) this.news.add(news);
    };
    const onRewind = (seq: number): void => this.news.rewind(seq);
    this.follower = new Follower({ ledger: this.ledger, source, blockTime, maxBlockAge, onNews, onRewind, onTrouble });
  }

  #relayFor({ signer, deployment, maxFeePerGas }: SessionOptions): Relay {
    if (maxFeePerGas !== null && this.#node)
      return new SelfRelay({ ...this.#node, deployment, signer, account: this.account, maxFeePerGas });
    return new ApiRelay(this.api, this.#node && judgeOf(this.#node, deployment, this.account));
  }

  /** Learns in the background where the task stands. A call that comes meanwhile shares the outcome; later ones try anew. */
  begin(): void {
    this.#first = this.sync().finally(() => {
      this.#first = null;
    });
    this.#first.catch(() => {});
  }

  /** Catches up with the chain. Nothing is posted before the first time, so what our words cause is news. */
  async sync(signal?: AbortSignal): Promise<Head> {
    if (this.#first) await (signal ? orAbort(this.#first, signal) : this.#first);
    const { head, seq } = await this.follower.sync(signal);
    if (!this.news.hasBegun) this.news.begin(this.#from ?? this.#position?.seq(this.#stands) ?? seq);
    await this.#position?.flush();
    return head;
  }

  readonly #mark = (seq: number): Mark | undefined => {
    const hash = this.ledger.blockHash(seq);
    return hash === null ? undefined : { seq, hash };
  };

  readonly #stands = ({ seq, hash }: Mark): boolean => this.ledger.blockHash(seq) === hash;

  /** A deadline so many seconds from now, in chain time, and no further ahead of it than the contract allows. */
  async deadlineIn(seconds: number, signal?: AbortSignal): Promise<number> {
    const head = this.follower.head ?? (await this.sync(signal));
    return Math.min((await this.#now(head, signal)) + seconds, head.timestamp + FURTHEST);
  }

  /**
   * Where blocks come for transactions only, the newest one may be hours old, and the next one will be of now: so one that
   * is too old by our own clock is given the time for another, and if none comes, our clock has to do. That makes a deadline;
   * whether it is over, blocks alone tell.
   */
  async #now(head: Head, signal: AbortSignal | undefined): Promise<number> {
    const { blockTime, maxBlockAge } = this.deployment;
    const wall = (): number => Math.floor(Date.now() / 1000);
    if ((wall() - head.timestamp) * 1000 <= maxBlockAge) return head.timestamp;
    await pause(Math.max(IDLE.leastMs, IDLE.blocks * blockTime), signal);
    const next = await this.sync(signal);
    return next.block > head.block ? next.timestamp : wall();
  }

  /** Our own place in the task. @throws WaybillError NOT_MEMBER, EXPELLED */
  me(): Member {
    const me = this.ledger.member(this.account);
    if (!me)
      throw new WaybillError("NOT_MEMBER", `${this.account} is no member of this task. Ask its owner to admit it.`);
    if (!me.active)
      throw new WaybillError(
        "EXPELLED",
        `${this.account} was expelled from this task. Ask its owner to admit it again.`,
      );
    return me;
  }

  /** Whether our VERIFIED stands on the chain. */
  isVerified(notice: Hex): boolean {
    return this.ledger.notice(notice)?.recipients.get(this.account)?.state === "verified";
  }

  /** Signs a statement and puts it on its way. */
  async say(statement: Said, order?: PostOrder): Promise<Posted> {
    return this.relay.post(await signStatement(this.signer, this.deployment, statement), order);
  }

  /**
   * Waits until a statement of ours stands, as `probe` tells.
   * @param options.at The statement's deadline, if it has one; otherwise the wait ends after `options.ms` with TIMEOUT.
   * @throws WaybillError REFUSED_STATEMENT with `details.reason` as soon as it is refused.
   */
  async stands<T>(
    posted: Posted,
    probe: () => T | undefined,
    options: { signal?: AbortSignal | undefined; at?: number; ms?: number },
  ): Promise<T> {
    const late = (): WaybillError =>
      new WaybillError("TIMEOUT", "The statement was taken, but does not stand on the chain yet. Look again later.");
    const end = limit(options.ms ?? Number.POSITIVE_INFINITY, options.signal, late);
    const done = new AbortController();
    const signal = AbortSignal.any([end.signal, done.signal]);
    const failure = posted.failure(signal).then((error) => {
      throw error;
    });
    failure.catch(() => {}); // the race below hears it, unless it is over
    try {
      return await Promise.race([this.follower.until(probe, { signal, at: options.at }), failure]);
    } finally {
      done.abort();
      end.clear();
    }
  }

  async close(): Promise<void> {
    this.relay.close();
    this.follower.close();
    this.#node?.rpc.close();
    this.transport.close();
    this.#outbound.close();
    this.inbox.close();
    await this.#position?.flush();
  }
}

function nodeOf(rpc: string | readonly string[], deployment: Deployment, send: typeof fetch): Node {
  return { rpc: new Rpc(rpc, { fetch: send }), reader: new ChainReader({ ...deployment, rpc, fetch: send }) };
}

/** Asks the contract, by a simulation at the depth that counts. */
function judgeOf({ rpc }: Node, deployment: Deployment, account: Address): Judge {
  const calls = new RelayCalls(rpc, deployment, account);
  return async ({ statement, signature }: Signed<Said>) => {
    const block = Math.max(0, (await newestBlock(rpc)).block - deployment.confirmations);
    const results = await calls.simulate([encodeItem(statement, [signature])], block, await calls.gasCap(block));
    const reason = results?.[0]?.[0] ?? "OK";
    return reason === "OK" || reason === "DUPLICATE" || curable.has(reason) ? null : reason;
  };
}
