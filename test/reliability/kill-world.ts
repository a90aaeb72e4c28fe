import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JsonRpcProvider, Wallet } from "ethers";
import { type Config, DEFAULT_CAPS, DEFAULT_RETENTION } from "../../functions/config.ts";
import { Outbox } from "../../functions/outbox.ts";
import { Store } from "../../functions/store.ts";
import { TaskContractor } from "../../lib/index.ts";
import type { Deployment } from "../../lib/protocol/deployment.ts";
import { type Anvil, startAnvil } from "../../local/anvil.ts";
import { deployContract } from "../../local/contract.ts";
import { type Store as LocalStore, startStore } from "../../local/store/store.ts";
import { type RpcProxy, startRpcProxy } from "../support/rpcproxy.ts";
import { secret } from "../support/secrets.ts";
import type { KillChild, KillPool } from "./kill-child.ts";
import { type Asked, askedOf, calledOnly } from "./kill-points.ts";
import { type Coming, Front } from "./oracle-fronts.ts";

/** Members and publisher look for every block, and that is most of what a trip costs. */
const BLOCK_MS = 250;
/** Many parts in few bytes. */
export const PART = 16;

export interface KillTask {
  readonly task: string;
  readonly keys: readonly [sender: string, recipient: string];
  readonly accounts: readonly [sender: string, recipient: string];
}

/** What a rule says to a request: null lets it pass. */
type Rule = (place: "api" | "store" | "rpc", asked: Asked) => "dropped" | "carried out" | null;

/** A Waybill of processes: store and chain stay up, functions and publisher are killed and started again. */
export class KillWorld {
  readonly home: string;
  readonly pool: KillPool;
  readonly deployment: Deployment;
  readonly store: Store;
  readonly outbox: Outbox;
  /** What is done to the next requests. */
  rule: Rule = () => null;
  /** The part of each PUT that the store took and answered. */
  onPart: (number: number, heard: boolean) => void = () => {};
  readonly #anvil: Anvil;
  readonly #bucket: LocalStore;
  readonly #fronts: readonly [api: Front, s3: Front];
  readonly #proxy: RpcProxy;
  #config!: Config;
  #functions: KillChild | null = null;
  #publisher: KillChild | null = null;

  private constructor(home: string, pieces: Pieces) {
    const { anvil, bucket, api, s3, proxy, deployed } = pieces;
    this.home = home;
    this.pool = pieces.pool;
    this.#anvil = anvil;
    this.#bucket = bucket;
    this.#fronts = [api, s3];
    this.#proxy = proxy;
    this.deployment = {
      ...{ api: api.origin, storeOrigin: s3.origin, chainId: anvil.chainId, contract: deployed.contract },
      ...{ confirmations: 0, blockTime: BLOCK_MS, maxBlockAge: 60_000, fromBlock: deployed.block },
    };
    secret(bucket.credentials.secretAccessKey);
    this.#config = this.#configOf(anvil.url);
    this.store = new Store({ ...this.#config, s3Endpoint: bucket.endpoint });
    this.outbox = new Outbox(this.store, this.deployment);
    for (const [place, front] of [["api", api] as const, ["store", s3] as const]) {
      front.rule = (coming) => {
        const then = this.rule(place, askedOf(coming));
        return then && { kind: "reset", when: then === "dropped" ? "before" : "after" };
      };
    }
    proxy.cut = ({ method }) => {
      const then = this.rule("rpc", calledOnly(method));
      return then && (then === "dropped" ? "before" : "after");
    };
  }

  /** @param pool Whose processes it takes, and doesn't end. */
  static async start(pool: KillPool): Promise<KillWorld> {
    const anvil = await startAnvil({ blockTime: BLOCK_MS / 1000 });
    const provider = new JsonRpcProvider(anvil.url, anvil.chainId, { staticNetwork: true, pollingInterval: 50 });
    const deployed = await deployContract(new Wallet(anvil.accounts[0]!.privateKey, provider));
    provider.destroy();
    let world: KillWorld | undefined;
    const bucket = await startStore({ minPartSize: PART });
    const api = await Front.start(async () => () => {});
    const s3 = await Front.start(async (coming) => world!.#watchParts(coming));
    s3.target = bucket.endpoint;
    const home = await mkdtemp(join(tmpdir(), "waybill-kill-"));
    world = new KillWorld(home, { anvil, bucket, api, s3, proxy: await startRpcProxy(anvil.url), deployed, pool });
    await Promise.all([world.startFunctions(), world.startPublisher()]);
    return world;
  }

  async stop(): Promise<void> {
    await Promise.all([this.#functions, this.#publisher].map((child) => child && this.pool.end(child)));
    for (const front of this.#fronts) front.stop();
    await this.#proxy.stop();
    this.store.close();
    await this.#bucket.stop();
    await this.#anvil.stop();
    await rm(this.home, { recursive: true, force: true });
  }

  async startFunctions(): Promise<void> {
    this.#functions = this.pool.take("functions");
    await this.#functions.order({ config: this.#config });
    const said = await this.#functions.says(({ up, code }) => up !== undefined || code !== undefined);
    if (said?.up === undefined) throw new Error(`The functions don't start: ${said?.code}`);
    this.#fronts[0].target = said.up;
  }

  async startPublisher(): Promise<void> {
    this.#publisher = this.pool.take("publisher");
    const config = { ...this.#config, rpc: this.#proxy.url };
    await this.#publisher.order({ config, key: this.#anvil.accounts[1]!.privateKey });
  }

  /** Ends them at once; `restart` starts them again. */
  kill(victim: "functions" | "publisher"): void {
    (victim === "functions" ? this.#functions : this.#publisher)!.kill();
    if (victim === "functions") this.#fronts[0].target = null;
  }

  async restart(victim: "functions" | "publisher"): Promise<void> {
    await this.pool.end((victim === "functions" ? this.#functions : this.#publisher)!);
    await (victim === "functions" ? this.startFunctions() : this.startPublisher());
  }

  /** A task of two. */
  async open(): Promise<KillTask> {
    const wallets = [Wallet.createRandom(), Wallet.createRandom()] as const;
    const accounts = [wallets[0].address, wallets[1].address] as const;
    const opened = await TaskContractor.open({ signer: wallets[0], members: accounts, deployment: this.deployment });
    await opened.close();
    return { task: opened.task, accounts, keys: [wallets[0].privateKey, wallets[1].privateKey] };
  }

  rpc<T>(method: string, ...params: unknown[]): Promise<T> {
    const provider = new JsonRpcProvider(this.#anvil.url, this.#anvil.chainId, { staticNetwork: true });
    return (provider.send(method, params) as Promise<T>).finally(() => provider.destroy());
  }

  /** Payloads whose uploads are open. */
  async openUploads(): Promise<string[]> {
    const root = join(this.#bucket.dir, "buckets", this.#bucket.bucket, "uploads");
    const found = (await readdir(root)).map(async (id) => {
      const text = await readFile(join(root, id, "upload.json"), "utf8").catch(() => null);
      return text === null ? [] : [(JSON.parse(text) as { key: string }).key];
    });
    return (await Promise.all(found)).flat();
  }

  #watchParts(coming: Coming): (going: { status: number }, sent: number, whole: boolean) => void {
    const { method, presigned, query } = askedOf(coming);
    if (method !== "PUT" || !presigned || !query.has("partNumber")) return () => {};
    return ({ status }, _sent, whole) => void (status === 200 && this.onPart(Number(query.get("partNumber")), whole));
  }

  #configOf(rpc: string): Config {
    const { chainId, contract, fromBlock } = this.deployment;
    const { bucket, region, credentials: s3Credentials } = this.#bucket;
    return {
      ...{ apiOrigin: this.#fronts[0].origin, chainId, contract, rpc, fromBlock: fromBlock ?? 0 },
      ...{ confirmations: 0, blockTime: BLOCK_MS, owners: "*" as const, longPoll: true },
      ...{ bucket, region, s3Endpoint: this.#fronts[1].origin, s3Credentials },
      ...{ retention: DEFAULT_RETENTION, minPartSize: PART, nonces: "store" as const },
      caps: { ...DEFAULT_CAPS, requests: 999, statements: 999, reads: 1_000_000, readBytes: 2 ** 40 },
    };
  }
}

interface Pieces {
  readonly pool: KillPool;
  readonly anvil: Anvil;
  readonly bucket: LocalStore;
  readonly api: Front;
  readonly s3: Front;
  readonly proxy: RpcProxy;
  readonly deployed: { readonly contract: Deployment["contract"]; readonly block: number };
}
