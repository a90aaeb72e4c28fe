import { setTimeout as delay } from "node:timers/promises";
import * as z from "zod/mini";
import type { FeePolicy } from "../lib/chain/fees.ts";
import { ChainReader } from "../lib/chain/reader.ts";
import { Rpc } from "../lib/chain/rpc.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import type { Address } from "../lib/protocol/hex.ts";
import { curable } from "../lib/protocol/reasons.ts";
import { type Claim, Claims } from "./claims.ts";
import { type Config, configFromEnv } from "./config.ts";
import { type Entry, Outbox, type OutboxStore, type Settlement } from "./outbox.ts";
import { itemOf, type Packet, packetsOf } from "./packing.ts";
import { provenBy } from "./proof.ts";
import { Relay, type Relayer } from "./relay.ts";
import { type Skip, select } from "./selection.ts";
import { relayerFromEnv } from "./signers.ts";
import { Store } from "./store.ts";
import type { DoorBell } from "./wake.ts";

export interface PublisherDeps {
  readonly store: OutboxStore;
  readonly chainId: number;
  readonly contract: Address;
  /** JSON-RPC URL. May carry a key: it is in no error and no log line. */
  readonly rpc: string;
  readonly confirmations: number;
  /** Milliseconds between blocks. */
  readonly blockTime: number;
  readonly relayer: Relayer;
  readonly fees: FeePolicy;
  /** How long a statement may wait for another that it needs, in milliseconds. Default 15 minutes. */
  readonly maxWait?: number;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  readonly log?: (line: string) => void;
}

/** `pending` statements are not settled; `moved`: something happened, so another step at once may do more. */
export interface Progress {
  readonly pending: number;
  readonly moved: boolean;
}

/** Long enough for an author's statements to arrive in any order, short enough to learn of a mistake. */
const MAX_WAIT_MS = 15 * 60_000;
/** Claims below the confirmed nonce that are looked at, so that a restarted worker still finds its transactions. */
const CLAIMS_BACK = 32;
/** Settled at the same time; each is two requests to the bucket. */
const SETTLE_AT_ONCE = 32;
/** Statements per simulation of those that may be on the chain already. */
const DUPLICATES_AT_ONCE = 100;

/** The chain, the claims and the outbox as one step finds them. */
interface Scene {
  readonly tip: number;
  /** What a transaction may use. */
  readonly gasCap: number;
  /** The newest block with `confirmations` on top. */
  readonly head: number;
  /** The nonce that the chain takes next. */
  readonly next: number;
  /** Transactions with a nonce below this are final. */
  readonly final: number;
  readonly claims: readonly Claim[];
  readonly waiting: readonly Entry[];
}

/**
 * Brings the outbox onto the chain. Its only memory is the bucket and the chain, so it may die anywhere, and another
 * one may work beside it: whoever writes the claim of a nonce decides what that nonce carries.
 */
export class Publisher {
  readonly #deps: PublisherDeps;
  readonly #outbox: Outbox;
  readonly #claims: Claims;
  readonly #rpc: Rpc;
  readonly #reader: ChainReader;
  readonly #relay: Relay;

  constructor(deps: PublisherDeps) {
    const { store, chainId, contract, confirmations, relayer } = deps;
    const domain = { chainId, contract };
    this.#deps = deps;
    this.#outbox = new Outbox(store, domain);
    this.#claims = new Claims(store, domain, relayer.address);
    this.#rpc = new Rpc(deps.rpc, chainId);
    this.#reader = new ChainReader({ rpc: deps.rpc, chainId, contract, confirmations });
    this.#relay = new Relay(this.#rpc, domain, relayer, deps.fees);
  }

  /**
   * One turn: settle what is final, then bring at most one transaction on its way and wait for it, at most two block times.
   * Not to be called again before it has ended.
   *
   * @throws WaybillError UNAVAILABLE when bucket or chain don't answer; nothing is lost, the next step goes on.
   */
  async step(signal?: AbortSignal): Promise<Progress> {
    const before = await this.#look();
    const waiting = await this.#moveOut(before);
    const scene = { ...before, waiting };
    const claim = unminedIn(scene) ?? (await this.#claimNext(scene));
    const mined = claim !== null && (await this.#send(claim, signal));
    if (!mined) {
      const pending = (await this.#outbox.pending()).length;
      return { pending, moved: pending < before.waiting.length };
    }
    return { pending: (await this.#moveOut(await this.#look())).length, moved: true };
  }

  close(): void {
    this.#rpc.close();
    this.#reader.close();
  }

  async #look(): Promise<Scene> {
    const tip = (await this.#reader.tip()).block;
    const head = Math.max(0, tip - this.#deps.confirmations);
    const [next, final, gasCap] = await Promise.all([
      this.#relay.nonce(tip),
      this.#relay.nonce(head),
      this.#relay.gasCap(tip),
    ]);
    // After the nonces: the claim of every nonce that counts as mined is then among them.
    const [claims, waiting] = await Promise.all([
      this.#claims.since(Math.max(0, final - CLAIMS_BACK)),
      this.#outbox.pending(),
    ]);
    return { tip, gasCap, head, next, final, claims, waiting };
  }

  /** Settles the statements whose events are final; answers those that still wait. */
  async #moveOut({ head, final, claims, waiting }: Scene): Promise<Entry[]> {
    const byId = new Map(waiting.map((entry) => [entry.id, entry]));
    const mined = await Promise.all(
      claims
        .filter((claim) => claim.nonce < final && claim.statements.some((id) => byId.has(id)))
        .map(async (claim) => ({ claim, found: await this.#relay.mined(claim.transaction) })),
    );
    const settled = new Map<Entry, Settlement>();
    for (const { claim, found } of mined) {
      if (!found || found.block > head) continue;
      const mine = claim.statements.flatMap((id) => byId.get(id) ?? []);
      for (const entry of provenBy(found.logs, mine))
        settled.set(entry, { state: "settled", transaction: claim.transaction, block: found.block });
    }
    await this.#settle(settled);
    return waiting.filter((entry) => !settled.has(entry));
  }

  async #claimNext(scene: Scene): Promise<Claim | null> {
    const inFlight = new Set(
      scene.claims.filter((claim) => claim.nonce >= scene.final).flatMap((claim) => claim.statements),
    );
    const entries = scene.waiting.filter((entry) => !inFlight.has(entry.id));
    const { tip, gasCap } = scene;
    const { packets, skips } = await select(entries, gasCap, (items) => this.#relay.simulate(items, tip, gasCap));
    await this.#judge(skips, scene);
    return packets.length > 0 ? this.#write(packets, scene) : null;
  }

  /** Settles what can't take effect any more, or has done so through somebody else. */
  async #judge(skips: readonly Skip[], scene: Scene): Promise<void> {
    const { maxWait = MAX_WAIT_MS, now = Date.now } = this.#deps;
    const settled = new Map<Entry, Settlement>();
    const duplicates = skips.filter(({ reason }) => reason === "DUPLICATE").map(({ entry }) => entry);
    for (const entry of await this.#stillDuplicate(duplicates, scene))
      settled.set(entry, { state: "settled", transaction: null, block: scene.head });
    for (const { entry, reason, standing } of skips) {
      if (reason === "DUPLICATE" || !standing) continue; // by now, or once the others are mined, it may be different
      if (curable.has(reason) && now() - entry.arrival <= maxWait) continue;
      settled.set(entry, { state: "refused", reason });
    }
    await this.#settle(settled);
  }

  /** "Duplicate" at the newest block may still be undone, so only the block at `confirmations` counts. */
  async #stillDuplicate(entries: readonly Entry[], { head, gasCap }: Scene): Promise<Entry[]> {
    const found: Entry[] = [];
    for (let i = 0; i < entries.length; i += DUPLICATES_AT_ONCE) {
      const packets = packetsOf(entries.slice(i, i + DUPLICATES_AT_ONCE));
      const results = await this.#relay.simulate(packets.map(itemOf), head, gasCap);
      for (const [nth, packet] of packets.entries())
        found.push(...packet.entries.filter((_, at) => results?.[nth]?.[at] === "DUPLICATE"));
    }
    return found;
  }

  async #write(packets: readonly Packet[], { next: nonce, gasCap }: Scene): Promise<Claim | null> {
    const [fitted, fees] = await Promise.all([this.#fit(packets, gasCap), this.#relay.fees()]);
    if (!fees) this.#log("fees are above the cap: waiting until they fall");
    if (!fitted) this.#log("the node can't estimate the next statement's gas: waiting");
    if (!fees || !fitted) return null;
    const signed = await this.#relay.sign(fitted.packets.map(itemOf), nonce, fitted.gasLimit, fees);
    const statements = fitted.packets.flatMap(({ entries }) => entries.map(({ id }) => id));
    const { now = Date.now } = this.#deps;
    return this.#claims.claim({ nonce, attempt: 0, ...signed, statements, claimed: now() });
  }

  /** As many of the packets, from the first, as one transaction can carry by the node's own estimate. */
  async #fit(
    packets: readonly Packet[],
    gasCap: number,
  ): Promise<{ packets: readonly Packet[]; gasLimit: number } | null> {
    let rest = packets;
    for (let some = rest; some.length > 0; ) {
      const gasLimit = await this.#relay.gasLimit(some.map(itemOf), gasCap);
      if (gasLimit !== null) return { packets: some, gasLimit };
      // One that can't go alone holds up its own task, because others may build on it, but nobody else's.
      if (some.length === 1) rest = rest.filter((packet) => packet.task !== some[0]?.task);
      some = some.length === 1 ? rest : some.slice(0, Math.ceil(some.length / 2));
    }
    return null;
  }

  /** Broadcasts, and waits until it is mined, for two block times at most. */
  async #send(claim: Claim, signal?: AbortSignal): Promise<boolean> {
    const { blockTime } = this.#deps;
    const { complaint } = await this.#relay.broadcast(claim.raw);
    if (complaint && !/already|known|nonce/i.test(complaint))
      this.#log(`the node complains about transaction ${claim.transaction}: ${complaint}`);
    const pause = Math.min(500, Math.max(20, blockTime / 20));
    const end = performance.now() + 2 * blockTime;
    for (;;) {
      if (await this.#relay.mined(claim.transaction)) return true;
      if (performance.now() >= end || signal?.aborted) return false;
      await delay(pause);
    }
  }

  async #settle(settled: ReadonlyMap<Entry, Settlement>): Promise<void> {
    const all = [...settled];
    for (let i = 0; i < all.length; i += SETTLE_AT_ONCE)
      await Promise.all(
        all.slice(i, i + SETTLE_AT_ONCE).map(([entry, settlement]) => this.#outbox.settle(entry, settlement)),
      );
  }

  #log(line: string): void {
    this.#deps.log?.(`publisher: ${line}`);
  }
}

/** The transaction that the chain waits for: the highest attempt of its next nonce. */
function unminedIn({ claims, next }: Scene): Claim | null {
  return claims.filter((claim) => claim.nonce === next).at(-1) ?? null;
}

/** While anything is pending, it may have become final. */
const PENDING_MS = 1_000;
/** As often as the schedule of a deployment, for what another process put into the outbox. */
const IDLE_MS = 60_000;
const MAX_BACKOFF_MS = 10_000;

/** Steps whenever the bell rings, every second while anything is pending, and on through every error. */
export async function runPublisher(
  publisher: Pick<Publisher, "step">,
  { signal, bell, log }: { signal: AbortSignal; bell: DoorBell; log?: (line: string) => void },
): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    try {
      const { pending, moved } = await publisher.step(signal);
      failures = 0;
      if (pending === 0 || !moved) await bell.wait(pending > 0 ? PENDING_MS : IDLE_MS, signal);
    } catch (error) {
      failures += 1;
      log?.(`publisher: ${describe(error)}`);
      const most = Math.min(MAX_BACKOFF_MS, 250 * 2 ** Math.min(failures, 10));
      await delay(most * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => undefined);
    }
  }
}

/** Our own errors carry no secret; of others only the name is told. */
function describe(error: unknown): string {
  if (error instanceof WaybillError) return `${error.code}: ${error.message}`;
  return error instanceof Error ? error.name : typeof error;
}

const environment = z.object({
  /** Wei. "0": the chain's gas is free. */
  WAYBILL_MAX_FEE_PER_GAS: z.string().check(z.regex(/^[0-9]{1,30}$/)),
});

/** @throws WaybillError USAGE that names the variable, and never its value; and as `relayerFromEnv`. */
async function publisherFromEnv(
  env: Readonly<Record<string, string | undefined>>,
): Promise<{ publisher: Publisher; config: Config }> {
  const config = configFromEnv(env);
  const set = environment.safeParse(env);
  if (!set.success) {
    const names = set.error.issues.map((issue) => String(issue.path[0])).join(", ");
    throw new WaybillError("USAGE", `Set ${names} to what docs/design.md says.`);
  }
  const maxFeePerGas = BigInt(set.data.WAYBILL_MAX_FEE_PER_GAS);
  const publisher = new Publisher({
    ...config,
    store: new Store(config),
    relayer: await relayerFromEnv(env, config.region),
    fees: maxFeePerGas > 0n ? { kind: "market", maxFeePerGas } : { kind: "free" },
    log: toStderr,
  });
  return { publisher, config };
}

const toStderr = (line: string): void => void process.stderr.write(`${line}\n`);
let deployed: Awaited<ReturnType<typeof publisherFromEnv>> | null = null;

/** A step takes two block times of waiting and a few seconds of calls; without that much left, none is begun. */
const STEP_MS = 15_000;

/**
 * The door bell (SQS) and the schedule. It always acknowledges: the outbox says what is left to do, not the queue.
 */
export async function handler(_event: unknown, context: { getRemainingTimeInMillis(): number }): Promise<void> {
  try {
    deployed ??= await publisherFromEnv(process.env);
    const { publisher, config } = deployed;
    for (let again = true; again; ) {
      const { pending, moved } = await publisher.step();
      again = moved && pending > 0 && context.getRemainingTimeInMillis() > STEP_MS + 2 * config.blockTime;
    }
  } catch (error) {
    toStderr(`publisher: ${describe(error)}`);
  }
}
