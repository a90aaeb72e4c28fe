import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JsonRpcProvider, Wallet } from "ethers";
import { createApi } from "../functions/api.ts";
import { type Config, DEFAULT_CAPS, DEFAULT_RETENTION } from "../functions/config.ts";
import type { Sink } from "../functions/log.ts";
import { runPublisher } from "../functions/loop.ts";
import { Registry, type Sample } from "../functions/metrics.ts";
import { Outbox } from "../functions/outbox.ts";
import { Publisher, type PublisherDeps } from "../functions/publisher.ts";
import { keyRelayer } from "../functions/relay.ts";
import { Store } from "../functions/store.ts";
import { runSweeper } from "../functions/sweep/loop.ts";
import { Sweeper } from "../functions/sweeper.ts";
import { DoorBell } from "../functions/wake.ts";
import { ChainReader } from "../lib/chain/reader.ts";
import type { Deployment } from "../lib/protocol/deployment.ts";
import { type Anvil, startAnvil } from "./anvil.ts";
import { deployContract } from "./contract.ts";
import { startServer } from "./server.ts";
import { type RequestLog, startStore } from "./store/store.ts";

export interface StackOptions {
  /** Blocks on top before anything counts as being on the chain. Default 0: this chain is alone and never reorganises. */
  readonly confirmations?: number;
  /** Seconds between blocks; a transaction gets one at once, too. Default 1. */
  readonly blockTime?: number;
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
}

/** A whole Waybill on this machine. */
export interface Stack {
  /** What participants are given. */
  readonly deployment: Deployment;
  /** The chain's JSON-RPC URL; put it into `deployment.rpc` to read the chain without the functions. */
  readonly rpc: string;
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
  const { confirmations = 0, blockTime = 1, scratch = [] } = options;
  const dir = await mkdtemp(join(tmpdir(), "waybill-store-"));
  undo.push(() => rm(dir, { recursive: true, force: true }));
  // The chain's guardian outlives us, so it removes the folders when we can't.
  const anvil = await startAnvil({ blockTime, scratch: [dir, ...scratch] });
  undo.push(() => anvil.stop());
  const { contract, block } = await deploy(anvil);
  const s3 = await startStore({ dir, ...(options.onStoreRequest && { onRequest: options.onStoreRequest }) });
  undo.push(() => s3.stop());
  const server = await startServer();
  undo.push(() => server.stop());

  const config: Config = {
    apiOrigin: server.origin,
    chainId: anvil.chainId,
    contract,
    rpc: anvil.url,
    confirmations,
    blockTime: blockTime * 1000,
    fromBlock: block,
    owners: "*",
    bucket: s3.bucket,
    region: s3.region,
    s3Endpoint: s3.endpoint,
    s3Credentials: s3.credentials,
    longPoll: true,
    retention: DEFAULT_RETENTION,
    minPartSize: 5 * 2 ** 20,
    caps: DEFAULT_CAPS,
    nonces: "memory",
    ...options.config,
  };
  const store = new Store(config);
  undo.push(() => store.close());
  const bell = new DoorBell();
  const chain = new ChainReader(config);
  undo.push(() => chain.close());
  const outbox = new Outbox(store, config, { bell: bell.ring });
  const counted = new Registry();
  const log = options.log && { log: options.log };
  server.mount(createApi({ config, store, chain, outbox, metricsOf: (service) => counted.of(service), ...log }));
  const told = { metrics: counted.of("publisher"), ...log };
  undo.push(startPublisher(config, store, anvil, bell, told));
  const sweeper = new Sweeper({ store, chain, retention: config.retention, metrics: counted.of("sweeper"), ...log });
  undo.push(startSweeper(sweeper, options.sweepEvery));
  const { chainId } = config;
  const deployment: Deployment = {
    api: server.origin,
    chainId,
    contract,
    storeOrigin: s3.endpoint,
    confirmations,
    blockTime: config.blockTime,
    maxBlockAge: Math.max(30_000, 10 * config.blockTime),
    fromBlock: block,
  };
  return { deployment, rpc: anvil.url, metrics: () => counted.samples(), stop: () => undo.run() };
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
function startPublisher(
  config: Config,
  store: Store,
  anvil: Anvil,
  bell: DoorBell,
  told: Pick<PublisherDeps, "log" | "metrics">,
): () => Promise<void> {
  const publisher = new Publisher({
    ...config,
    store,
    relayer: keyRelayer(keyOf(anvil, 1)),
    fees: { kind: "market", maxFeePerGas: MAX_FEE_PER_GAS },
    ...told,
  });
  const ending = new AbortController();
  const loop = runPublisher(publisher, { signal: ending.signal, bell, ...told });
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
