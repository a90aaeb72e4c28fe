import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JsonRpcProvider, Wallet } from "ethers";
import { createApi } from "../../functions/api.ts";
import { type Config, DEFAULT_CAPS, DEFAULT_RETENTION } from "../../functions/config.ts";
import { runPublisher } from "../../functions/loop.ts";
import { Outbox } from "../../functions/outbox.ts";
import { Publisher } from "../../functions/publisher.ts";
import { keyRelayer } from "../../functions/relay.ts";
import { Store } from "../../functions/store.ts";
import { Sweeper } from "../../functions/sweeper.ts";
import { DoorBell } from "../../functions/wake.ts";
import { ChainReader } from "../../lib/chain/reader.ts";
import type { Deployment } from "../../lib/protocol/deployment.ts";
import { type Anvil, startAnvil } from "../../local/anvil.ts";
import { deployContract } from "../../local/contract.ts";
import { type Server, startServer } from "../../local/server.ts";
import { type Store as LocalStore, type RequestLog, startStore } from "../../local/store/store.ts";
import { type RpcProxy, startRpcProxy } from "../support/rpcproxy.ts";
import { secret } from "../support/secrets.ts";
import type { CallMade, Evidence, Exchange, Served, Truth } from "./oracle-evidence.ts";
import { type ApiFrontOptions, apiFront, type Front, storeFront } from "./oracle-fronts.ts";
import { readBucket, readChain, rpcCall } from "./oracle-gather.ts";

/** No reorg goes deeper. */
export const CONFIRMATIONS = 3;
const BLOCK_MS = 250;
/** Many parts in little time. */
const MIN_PART = 16;
/** How long a statement waits for another that it needs, before it is refused: a round mustn't wait for 15 minutes. */
const MAX_WAIT_MS = 10_000;
/** S3 and the functions give an upload that lies still a day. */
const SWEEP_AGE_MS = 24 * 3600_000;
const TTL_CAP = 15 * 60;

/** The chain, and what between it and everybody else. */
interface Chain {
  readonly anvil: Anvil;
  readonly contract: Deployment["contract"];
  readonly fromBlock: number;
  readonly proxy: RpcProxy;
}

interface Publishing {
  readonly bell: DoorBell;
  stop(): Promise<void>;
}

/** A whole Waybill whose every piece can be ended and started again, with fronts that note what passes. */
export class SoakWorld {
  readonly home: string;
  readonly chain: Chain;
  readonly api: Front;
  readonly s3: Front;
  readonly exchanges: Exchange[];
  readonly served: Served[];
  readonly requests: RequestLog[] = [];
  readonly lines: string[] = [];
  readonly reorgs: { at: number; lowest: number }[] = [];
  readonly payloads: Truth[] = [];
  readonly calls: CallMade[] = [];
  /** Milliseconds that the clocks of the API and of the store are ahead. */
  readonly ahead: { api: number; store: number } = { api: 0, store: 0 };
  readonly deployment: Deployment;
  readonly #secrets: string[] = [];
  readonly #credentials: { accessKeyId: string; secretAccessKey: string };
  readonly #publishers: Publishing[] = [];
  #store: LocalStore | null = null;
  #server: { server: Server; close: () => Promise<void> } | null = null;

  private constructor(
    home: string,
    chain: Chain,
    api: Awaited<ReturnType<typeof apiFront>>,
    s3: Awaited<ReturnType<typeof storeFront>>,
  ) {
    this.home = home;
    this.chain = chain;
    this.api = api.front;
    this.exchanges = api.exchanges;
    this.s3 = s3.front;
    this.served = s3.served;
    this.#credentials = {
      accessKeyId: `LOCAL${randomBytes(8).toString("hex").slice(0, 15).toUpperCase()}`,
      secretAccessKey: randomBytes(20).toString("hex"),
    };
    this.keepSecret(this.#credentials.secretAccessKey);
    this.keepSecret(chain.proxy.key);
    this.deployment = {
      ...{ api: this.api.origin, storeOrigin: this.s3.origin, chainId: chain.anvil.chainId, contract: chain.contract },
      ...{ confirmations: CONFIRMATIONS, blockTime: BLOCK_MS, maxBlockAge: 30_000, fromBlock: chain.fromBlock },
    };
  }

  static async start(fileOf: ApiFrontOptions["fileOf"]): Promise<SoakWorld> {
    const anvil = await startAnvil({ blockTime: BLOCK_MS / 1000 });
    const provider = new JsonRpcProvider(anvil.url, anvil.chainId, { staticNetwork: true, pollingInterval: 50 });
    const { contract, block: fromBlock } = await deployContract(new Wallet(anvil.accounts[0]!.privateKey, provider));
    provider.destroy();
    const chain = { anvil, contract, fromBlock, proxy: await startRpcProxy(anvil.url) };
    const block = async (): Promise<number> => Number(await rpcCall<string>(anvil.url, "eth_blockNumber"));
    const home = await mkdtemp(join(tmpdir(), "waybill-soak-"));
    const world = new SoakWorld(home, chain, await apiFront({ block, fileOf }), await storeFront("waybill"));
    await world.startStore();
    await world.startApi();
    world.startPublisher();
    return world;
  }

  async stop(): Promise<void> {
    for (const front of [this.api, this.s3]) front.stop();
    await Promise.all([this.stopApi(), ...this.#publishers.map((one) => one.stop())]);
    await this.stopStore();
    await this.chain.proxy.stop();
    await this.chain.anvil.stop();
    await rm(this.home, { recursive: true, force: true });
  }

  keepSecret(text: string): void {
    secret(text);
    this.#secrets.push(text);
  }

  rpc<T>(method: string, ...params: unknown[]): Promise<T> {
    return rpcCall<T>(this.chain.anvil.url, method, params);
  }

  async block(): Promise<number> {
    return Number(await this.rpc<string>("eth_blockNumber"));
  }

  // ---- pieces that come and go

  async startStore(): Promise<void> {
    this.#store = await startStore({
      ...{ dir: join(this.home, "store"), credentials: this.#credentials, minPartSize: MIN_PART },
      onRequest: (entry) => this.requests.push(entry),
      now: () => Date.now() + this.ahead.store,
    });
    this.s3.target = this.#store.endpoint;
  }

  async stopStore(): Promise<void> {
    this.s3.target = null;
    await this.#store?.stop();
    this.#store = null;
  }

  async startApi(): Promise<void> {
    const server = await startServer();
    const config = this.#config;
    const [store, chain] = [new Store(config), new ChainReader(config)];
    const bell = async (): Promise<void> => void (await Promise.all(this.#publishers.map((one) => one.bell.ring())));
    const outbox = new Outbox(store, config, { bell });
    const clock = (): number => Date.now() + this.ahead.api;
    server.mount(createApi({ config, store, chain, outbox, clock, log: this.#log }));
    const close = async (): Promise<void> => {
      await server.stop();
      chain.close();
      store.close();
    };
    this.#server = { server, close };
    this.api.target = server.origin;
  }

  async stopApi(): Promise<void> {
    this.api.target = null;
    await this.#server?.close();
    this.#server = null;
  }

  startPublisher(): void {
    const { rpc, ...config } = this.#config;
    const store = new Store(config);
    const publisher = new Publisher({
      ...{ ...config, rpc, store, log: this.#log, maxWait: MAX_WAIT_MS },
      relayer: keyRelayer(this.chain.anvil.accounts[1]!.privateKey),
      fees: { kind: "market", maxFeePerGas: 10n ** 12n },
    });
    const [ending, bell] = [new AbortController(), new DoorBell()];
    const loop = runPublisher(publisher, { signal: ending.signal, bell, log: this.#log, idle: 1_000 });
    const stop = async (): Promise<void> => {
      ending.abort();
      await loop;
      publisher.close();
      store.close();
    };
    this.#publishers.push({ bell, stop });
  }

  get publishers(): number {
    return this.#publishers.length;
  }

  async stopPublisher(): Promise<void> {
    await this.#publishers.shift()?.stop();
  }

  // ---- time

  /** The last blocks are undone, with all that was in them. */
  async reorganise(depth: number): Promise<void> {
    const head = await this.block();
    // It may have grown meanwhile, but not by more than that.
    this.reorgs.push({ at: Date.now(), lowest: head - depth + 1 });
    await this.rpc("anvil_reorg", depth, []);
    this.reorgs.push({ at: Date.now(), lowest: head - depth + 1 });
  }

  async pass(seconds: number): Promise<void> {
    await this.rpc("evm_increaseTime", `0x${seconds.toString(16)}`);
    await this.rpc("evm_mine");
  }

  /** Until nothing waits in the outbox, and all that was said lies so deep that it counts. */
  async settled(patience: number): Promise<boolean> {
    const store = new Store(this.#config);
    const end = performance.now() + patience;
    try {
      while ((await store.list("outbox/", { limit: 1 })).length > 0) {
        if (performance.now() > end) return false;
        await new Promise((resolve) => setTimeout(resolve, BLOCK_MS));
      }
    } finally {
      store.close();
    }
    const until = (await this.block()) + CONFIRMATIONS + 1;
    while ((await this.block()) < until) await new Promise((resolve) => setTimeout(resolve, BLOCK_MS));
    return true;
  }

  /** The sweeper, as it would run in two days. */
  async sweep(): Promise<void> {
    const config = this.#config;
    const [store, chain] = [new Store(config), new ChainReader(config)];
    const clock = (): number => Date.now() + 2 * SWEEP_AGE_MS;
    await new Sweeper({ store, chain, retention: 1000 * SWEEP_AGE_MS, clock, log: this.#log }).sweep();
    chain.close();
    store.close();
  }

  /** What the oracle reads of the chain. */
  async chainFacts(): Promise<Pick<Evidence, "domain" | "logs" | "times">> {
    const { chainId, contract } = this.deployment;
    return { domain: { chainId, contract }, ...(await readChain(this.chain.anvil.url, contract)) };
  }

  /** The world as it stands, for the oracle; all pieces must be running, and nothing at work. */
  async evidence(leftovers: readonly string[]): Promise<Evidence> {
    return {
      ...{ ...(await this.chainFacts()), reorgs: this.reorgs },
      ...{ bucket: await readBucket(join(this.home, "store"), "waybill"), bucketName: "waybill" },
      ...{ credentials: { ...this.#credentials, region: "us-east-1" }, requests: this.requests },
      ...{ exchanges: this.exchanges, served: this.served, payloads: this.payloads, calls: this.calls },
      ...{ lines: this.lines, secrets: this.#secrets, leftovers },
      ...{ sweepAge: SWEEP_AGE_MS, now: Date.now(), ttlCap: TTL_CAP },
    };
  }

  readonly #log = (line: string): void => void this.lines.push(line);

  get #config(): Config {
    const { chainId, contract, fromBlock } = this.deployment;
    return {
      ...{ apiOrigin: this.api.origin, chainId, contract, rpc: this.chain.proxy.url, fromBlock: fromBlock ?? 0 },
      ...{ confirmations: CONFIRMATIONS, blockTime: BLOCK_MS, owners: "*" as const, longPoll: true },
      ...{ bucket: "waybill", region: "us-east-1", s3Endpoint: this.s3.origin, s3Credentials: this.#credentials },
      ...{ retention: DEFAULT_RETENTION, minPartSize: MIN_PART, nonces: "store" as const },
      caps: { ...DEFAULT_CAPS, requests: 999, statements: 999, reads: 1_000_000, readBytes: 2 ** 40 },
    };
  }
}
