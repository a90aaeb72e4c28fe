import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JsonRpcProvider, Wallet } from "ethers";
import { createApi } from "../functions/api.ts";
import { type Config, DEFAULT_CAPS, DEFAULT_RETENTION } from "../functions/config.ts";
import { runPublisher } from "../functions/loop.ts";
import { Outbox } from "../functions/outbox.ts";
import { Publisher } from "../functions/publisher.ts";
import { keyRelayer } from "../functions/relay.ts";
import { Store } from "../functions/store.ts";
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
  /** The functions' own say; by default nothing is said. Never a secret. */
  readonly log?: (line: string) => void;
  /** Called after every request to the store, with nothing secret. */
  readonly onStoreRequest?: (entry: RequestLog) => void;
  /** What the functions are told beyond the usual, for trying their limits. */
  readonly config?: Partial<Config>;
}

/** A whole Waybill on this machine. */
export interface Stack {
  /** What participants are given. */
  readonly deployment: Deployment;
  /** The chain's JSON-RPC URL; put it into `deployment.rpc` to read the chain without the functions. */
  readonly rpc: string;
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
  server.mount(createApi({ config, store, chain, outbox: new Outbox(store, config, { bell: bell.ring }) }));
  undo.push(startPublisher(config, store, anvil, bell, options.log));
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
  return { deployment, rpc: anvil.url, stop: () => undo.run() };
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
  log: StackOptions["log"],
): () => Promise<void> {
  const publisher = new Publisher({
    ...config,
    store,
    relayer: keyRelayer(keyOf(anvil, 1)),
    fees: { kind: "market", maxFeePerGas: MAX_FEE_PER_GAS },
    ...(log && { log }),
  });
  const ending = new AbortController();
  const loop = runPublisher(publisher, { signal: ending.signal, bell, ...(log && { log }) });
  return async () => {
    ending.abort();
    await loop;
    publisher.close();
  };
}

function keyOf(anvil: Anvil, index: number): string {
  const account = anvil.accounts[index];
  if (!account) throw new Error(`The chain has no rich account ${index}.`);
  return account.privateKey;
}
