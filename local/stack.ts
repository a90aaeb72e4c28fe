import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JsonRpcProvider, Wallet } from "ethers";
import { createApi } from "../functions/api.ts";
import { type Config, DEFAULT_CAPS, DEFAULT_RETENTION } from "../functions/config.ts";
import type { Sink } from "../functions/log.ts";
import { runPublisher } from "../functions/loop.ts";
import { Registry, type Sample } from "../functions/metrics.ts";
import type { StoreConfig } from "../functions/objects.ts";
import { Outbox } from "../functions/outbox.ts";
import { Publisher, type PublisherDeps } from "../functions/publisher.ts";
import { keyRelayer, type Relayer } from "../functions/relay.ts";
import { Store } from "../functions/store.ts";
import { runSweeper } from "../functions/sweep/loop.ts";
import { Sweeper } from "../functions/sweeper.ts";
import { DoorBell } from "../functions/wake.ts";
import type { FeePolicy } from "../lib/chain/fees.ts";
import { ChainReader } from "../lib/chain/reader.ts";
import type { Deployment } from "../lib/protocol/deployment.ts";
import type { Address } from "../lib/protocol/hex.ts";
import { MIN_PART_SIZE } from "../lib/protocol/limits.ts";
import { type Anvil, startAnvil } from "./anvil.ts";
import { deployContract } from "./contract.ts";
import { startServer } from "./server.ts";
import { type RequestLog, startStore } from "./store/store.ts";

/** A chain of one's own in place of the embedded one, with the contract on it. */
export interface GivenChain {
  readonly rpc: string;
  readonly chainId: number;
  readonly contract: Address;
  /** The contract's. */
  readonly fromBlock: number;
  /** Who pays there. */
  readonly relayer: Relayer;
  readonly fees: FeePolicy;
}

/** A bucket of one's own in place of the embedded store's. */
export type GivenBucket = StoreConfig & { readonly s3Endpoint: string };

export interface StackOptions {
  /** Blocks on top before anything counts as being on the chain. Default 0: this chain is alone and never reorganises. */
  readonly confirmations?: number;
  /** Seconds between blocks; a transaction gets one at once, too. Default 1. */
  readonly blockTime?: number;
  /** Ports on loopback; each is a free one unless it is named. */
  readonly ports?: { readonly api?: number; readonly store?: number; readonly chain?: number };
  /** Folders of the caller that shall be gone when the stack has ended, whatever ends it or its process. */
  readonly scratch?: readonly string[];
  /** Takes the functions' log, a line of JSON at a time; by default nothing is said. Never a secret. */
  readonly log?: Sink;
  /** Called after every request to the store, with nothing secret. */
  readonly onStoreRequest?: (entry: RequestLog) => void;
  /** Milliseconds between two looks for payloads and uploads whose time is over. Default: an hour. */
  readonly sweepEvery?: number;
  /** What the functions are told beyond the usual, for trying their limits. */
  readonly config?: Partial<Config>;
  /** Instead of an embedded chain; `blockTime` and `confirmations` are then that one's. */
  readonly chain?: GivenChain;
  /** Instead of the embedded store. */
  readonly bucket?: GivenBucket;
}

/** A whole Waybill on this machine. */
export interface Stack {
  /** What participants are given. */
  readonly deployment: Deployment;
  /** The chain's JSON-RPC URL; put it into `deployment.rpc` to read the chain without the functions. */
  readonly rpc: string;
  /** Resolves when it can't go on, because its chain has ended: by `stop`, or by itself. */
  readonly ended: Promise<void>;
  /** What the functions have counted since they began. */
  metrics(): Sample[];
  /** Ends everything and removes every trace. May be called again. */
  stop(): Promise<void>;
}

/** A publisher on a chain whose gas costs nothing real may pay what it likes. */
const MAX_FEE_PER_GAS: bigint = 1_000_000_000_000n;

/** Undoes what was begun, newest first; one failure keeps no other from being undone. */
class Undo {
  readonly #steps: (() => unknown)[] = [];
  #running: Promise<void> | undefined;

  push(step: () => unknown): void {
    this.#steps.unshift(step);
  }

  run(): Promise<void> {
    this.#running ??= this.#all();
    return this.#running;
  }

  async #all(): Promise<void> {
    const failures: unknown[] = [];
    for (const step of this.#steps) {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

/** What `waybill/local` gives, and documents. */
export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const undo = new Undo();
  try {
    return await start(options, undo);
  } catch (error) {
    await undo.run();
    throw error;
  }
}

async function start(options: StackOptions, undo: Undo): Promise<Stack> {
  const { confirmations = 0, blockTime = 1, ports = {} } = options;
  const chain = await chainOf(options, undo);
  const bucket = options.bucket ?? (await embeddedBucket(options, chain.dir, undo));
  const server = await startServer({ port: ports.api ?? 0 });
  undo.push(() => server.stop());

  const { chainId, contract, fromBlock } = chain;
  const config: Config = {
    ...{ apiOrigin: server.origin, chainId, contract, rpc: chain.rpc, fromBlock, ...bucket },
    confirmations,
    blockTime: blockTime * 1000,
    owners: "*",
    longPoll: true,
    retention: DEFAULT_RETENTION,
    minPartSize: MIN_PART_SIZE,
    caps: DEFAULT_CAPS,
    nonces: "memory",
    ...options.config,
  };
  const store = new Store(config);
  undo.push(() => store.close());
  const bell = new DoorBell();
  const reader = new ChainReader(config);
  undo.push(() => reader.close());
  const outbox = new Outbox(store, config, { bell: bell.ring });
  const counted = new Registry();
  const log = options.log && { log: options.log };
  server.mount(
    createApi({ config, store, chain: reader, outbox, metricsOf: (service) => counted.of(service), ...log }),
  );
  const told = { metrics: counted.of("publisher"), ...log };
  undo.push(startPublisher({ ...config, store, relayer: chain.relayer, fees: chain.fees, ...told }, bell));
  const { retention } = config;
  const sweeper = new Sweeper({ store, chain: reader, retention, metrics: counted.of("sweeper"), ...log });
  undo.push(startSweeper(sweeper, options.sweepEvery));
  const deployment: Deployment = {
    api: server.origin,
    chainId,
    contract,
    storeOrigin: new URL(bucket.s3Endpoint).origin,
    confirmations,
    blockTime: config.blockTime,
    maxBlockAge: Math.max(30_000, 10 * config.blockTime),
    fromBlock,
  };
  const { rpc, ended } = chain;
  return { deployment, rpc, ended, metrics: () => counted.samples(), stop: () => undo.run() };
}

interface RunningChain extends GivenChain {
  readonly ended: Promise<void>;
  /** A folder that is gone when the chain is. */
  readonly dir: string;
}

async function chainOf({ blockTime = 1, scratch = [], ports, chain }: StackOptions, undo: Undo): Promise<RunningChain> {
  const dir = await mkdtemp(join(tmpdir(), "waybill-store-"));
  undo.push(() => rm(dir, { recursive: true, force: true }));
  if (chain) return { ...chain, dir, ended: new Promise(() => {}) };
  // The chain's guardian outlives us, so it removes the folders when we can't.
  const anvil = await startAnvil({ blockTime, port: ports?.chain ?? 0, scratch: [dir, ...scratch] });
  undo.push(() => anvil.stop());
  const { contract, block } = await deploy(anvil);
  return {
    ...{ rpc: anvil.url, chainId: anvil.chainId, contract, fromBlock: block, dir },
    relayer: keyRelayer(keyOf(anvil, 1)),
    fees: { kind: "market", maxFeePerGas: MAX_FEE_PER_GAS },
    ended: anvil.ended.then(() => undefined),
  };
}

async function embeddedBucket(options: StackOptions, dir: string, undo: Undo): Promise<GivenBucket> {
  const { ports, onStoreRequest } = options;
  const s3 = await startStore({ dir, port: ports?.store ?? 0, ...(onStoreRequest && { onRequest: onStoreRequest }) });
  undo.push(() => s3.stop());
  const { bucket, region, endpoint: s3Endpoint, credentials: s3Credentials } = s3;
  return { bucket, region, s3Endpoint, s3Credentials };
}

async function deploy(anvil: Anvil): ReturnType<typeof deployContract> {
  const provider = new JsonRpcProvider(anvil.url, anvil.chainId, { staticNetwork: true });
  try {
    return await deployContract(new Wallet(keyOf(anvil, 0), provider));
  } finally {
    provider.destroy();
  }
}

/** Starts the publisher's loop; the result ends it. */
function startPublisher(deps: PublisherDeps, bell: DoorBell): () => Promise<void> {
  const publisher = new Publisher(deps);
  const ending = new AbortController();
  const loop = runPublisher(publisher, { signal: ending.signal, bell, ...(deps.log && { log: deps.log }) });
  return async () => {
    ending.abort();
    await loop;
    publisher.close();
  };
}

/** Starts the sweeper's loop; the result ends it. */
function startSweeper(sweeper: Sweeper, every: number | undefined): () => Promise<void> {
  const ending = new AbortController();
  const loop = runSweeper(sweeper, { signal: ending.signal, ...(every !== undefined && { every }) });
  return async () => {
    ending.abort();
    await loop;
  };
}

function keyOf(anvil: Anvil, index: number): string {
  const account = anvil.accounts[index];
  if (!account) throw new Error(`The chain has no rich account ${index}.`);
  return account.privateKey;
}
