import * as z from "zod/mini";
import type { FeePolicy } from "../lib/chain/fees.ts";
import { Moment } from "../lib/chain/moment.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import type { Address } from "../lib/protocol/hex.ts";
import { Claims } from "./claims.ts";
import { type Config, configFromEnv } from "./config.ts";
import { Log, type Sink, toStdout } from "./log.ts";
import { type Metrics, uncounted } from "./metrics.ts";
import type { EmfMetrics } from "./metrics-emf.ts";
import { Notes } from "./notes.ts";
import { Objects } from "./objects.ts";
import { Outbox, type OutboxStore } from "./outbox.ts";
import type { Relayer } from "./relay.ts";
import { relayerFromEnv } from "./signers.ts";
import { type Standing, Teller } from "./telling.ts";
import { type Desk, type Progress, Turn } from "./turn.ts";
import { Viewpoint } from "./viewpoint.ts";

export interface PublisherDeps {
  readonly store: OutboxStore;
  readonly chainId: number;
  readonly contract: Address;
  /** JSON-RPC URLs. Each step uses one of them, and the next one after it failed; transactions go to all. May carry keys: they are in no error and no log line. */
  readonly rpc: string | readonly string[];
  /** How requests get there where they don't go straight on. */
  readonly fetch?: typeof fetch | undefined;
  readonly confirmations: number;
  /** Milliseconds between blocks. */
  readonly blockTime: number;
  readonly relayer: Relayer;
  readonly fees: FeePolicy;
  /** How long a statement may wait for another that it needs, in milliseconds. Default 15 minutes. */
  readonly maxWait?: number;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  /** Takes the log's lines; without it nothing is said. */
  readonly log?: Sink;
  /** Where it counts; without it nothing is counted. */
  readonly metrics?: Metrics;
}

/** Long enough for an author's statements to arrive in any order, short enough to learn of a mistake. */
const MAX_WAIT_MS = 15 * 60_000;
/** A node whose newest block hasn't changed for so many block times, while we wait for something, may stand still. */
const STILL_BLOCKS = 5;
/** An idle publisher believes so long that its account and its nodes are as they were. */
const REST_MS = 3_600_000;

/**
 * Brings the outbox onto the chain. Its only memory is the bucket and the chain, so it may die anywhere, and another
 * one may work beside it: whoever writes a slot of a nonce decides what that nonce carries.
 */
export class Publisher {
  readonly #desk: Desk;
  readonly #viewpoints: readonly Viewpoint[];
  readonly #stillMs: number;
  #at = 0;
  #tip = { block: -1, since: 0 };
  /** How the last turn ended, if nothing was left to do and nothing of ours was on its way. */
  #idle: { readonly standing: Standing; readonly since: Moment } | null = null;

  /** @throws WaybillError USAGE if an RPC URL is no http(s) URL, or there is none. */
  constructor(deps: PublisherDeps) {
    const { store, chainId, contract, confirmations, relayer, blockTime, now = Date.now } = deps;
    const domain = { chainId, contract };
    const urls = typeof deps.rpc === "string" ? [deps.rpc] : deps.rpc;
    if (urls.length === 0) throw new WaybillError("USAGE", "There must be at least one RPC URL.");
    const options = { confirmations, relayer: relayer.address, fetch: deps.fetch };
    this.#viewpoints = urls.map((url) => new Viewpoint(url, domain, options));
    this.#stillMs = STILL_BLOCKS * blockTime;
    const log = new Log("publisher", deps.log);
    this.#desk = {
      ...{ domain, relayer, blockTime, fees: deps.fees },
      ...{ maxWait: deps.maxWait ?? MAX_WAIT_MS, now },
      outbox: new Outbox(store, domain),
      claims: new Claims(store, domain, relayer.address),
      notes: new Notes(log),
      teller: new Teller(log, deps.metrics ?? uncounted, now),
    };
  }

  /**
   * One turn: settle what is final, then bring transactions on their way and wait until something is mined, at most two block times.
   * Not to be called again before it has ended.
   *
   * @throws WaybillError UNAVAILABLE when bucket or chain don't answer; nothing is lost, the next step goes on, with the next node.
   */
  async step(signal?: AbortSignal): Promise<Progress> {
    try {
      const idle = this.#idle?.since.isWithin(REST_MS) ? this.#idle.standing : null;
      if (idle && (await this.#desk.outbox.isEmpty())) return this.#rest(idle);
      this.#idle = null;
      return await this.#turn(signal);
    } catch (error) {
      this.#desk.teller.failed();
      this.#at += 1;
      throw error;
    }
  }

  close(): void {
    for (const viewpoint of this.#viewpoints) viewpoint.close();
  }

  async #turn(signal?: AbortSignal): Promise<Progress> {
    const [here, ...others] = this.#order() as [Viewpoint, ...Viewpoint[]];
    const turn = await Turn.begin(this.#desk, here, others);
    const progress = await turn.run(signal);
    const { standing } = turn;
    this.#desk.teller.turned(standing);
    if (progress.pending === 0 && !turn.unmined) this.#idle = { standing, since: new Moment() };
    if (progress.pending > 0 && this.#standsStill(standing.tip)) this.#at += 1;
    return progress;
  }

  /** The schedule rings every minute, for nothing most of the time: that must not cost calls of an RPC node. */
  #rest(standing: Standing): Progress {
    this.#desk.teller.turned(standing);
    return { pending: 0, moved: false };
  }

  #order(): Viewpoint[] {
    const at = this.#at % this.#viewpoints.length;
    return [...this.#viewpoints.slice(at), ...this.#viewpoints.slice(0, at)];
  }

  /** A node that answers and never gets further would hold us up for ever. */
  #standsStill(block: number): boolean {
    const now = performance.now();
    if (block !== this.#tip.block) this.#tip = { block, since: now };
    if (now - this.#tip.since < this.#stillMs) return false;
    this.#tip = { block: -1, since: now };
    return true;
  }
}

const environment = z.object({
  /** Wei. "0": the chain's gas is free. */
  WAYBILL_MAX_FEE_PER_GAS: z.string().check(z.regex(/^[0-9]{1,30}$/)),
  /** "legacy" for a chain with gas prices and without EIP-1559. */
  WAYBILL_FEES: z.optional(z.enum(["market", "legacy"])),
});

/** @throws WaybillError USAGE that names the variable, and never its value; and as `relayerFromEnv`. */
async function publisherFromEnv(
  env: Readonly<Record<string, string | undefined>>,
  metrics: Metrics,
): Promise<{ publisher: Publisher; config: Config }> {
  const config = configFromEnv(env);
  const publisher = new Publisher({
    ...config,
    fees: feesFromEnv(env),
    store: new Objects(config),
    relayer: await relayerFromEnv(env, config.region),
    log: toStdout,
    metrics,
  });
  return { publisher, config };
}

/** What a publisher may pay. @throws WaybillError USAGE that names the variable, and never its value. */
export function feesFromEnv(env: Readonly<Record<string, string | undefined>>): FeePolicy {
  const set = environment.safeParse(env);
  if (!set.success) {
    const names = set.error.issues.map((issue) => String(issue.path[0])).join(", ");
    throw new WaybillError("USAGE", `Set ${names} to what docs/design.md says.`);
  }
  const cap = BigInt(set.data.WAYBILL_MAX_FEE_PER_GAS);
  if (cap === 0n) return { kind: "free" };
  return set.data.WAYBILL_FEES === "legacy"
    ? { kind: "legacy", maxGasPrice: cap }
    : { kind: "market", maxFeePerGas: cap };
}

let deployed: Awaited<ReturnType<typeof publisherFromEnv>> | null = null;
let counted: EmfMetrics | null = null;

/** A step takes two block times of waiting and a few seconds of calls; without that much left, none is begun. */
const STEP_MS = 15_000;

/**
 * The door bell (SQS) and the schedule. It always acknowledges: the outbox says what is left to do, not the queue.
 */
export async function handler(_event: unknown, context: { getRemainingTimeInMillis(): number }): Promise<void> {
  const { EmfMetrics } = await import("./metrics-emf.ts"); // of no use elsewhere
  counted ??= new EmfMetrics("publisher");
  try {
    deployed ??= await publisherFromEnv(process.env, counted);
    const { publisher, config } = deployed;
    for (let again = true; again; ) {
      const { pending, moved } = await publisher.step();
      again = moved && pending > 0 && context.getRemainingTimeInMillis() > STEP_MS + 2 * config.blockTime;
    }
  } catch (error) {
    if (deployed === null) counted.count("PublisherFailures"); // else its publisher has
    new Log("publisher", toStdout).failure("a turn failed", error);
  } finally {
    counted.flush();
  }
}
