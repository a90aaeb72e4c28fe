import { JsonRpcProvider, Wallet } from "ethers";
import { Hono } from "hono";
import { type Config, configFromEnv } from "../../functions/config.ts";
import type { PostingDeps } from "../../functions/deps.ts";
import { createDownloads } from "../../functions/downloads.ts";
import { noncesOf } from "../../functions/nonces.ts";
import { Outbox, type OutboxStore } from "../../functions/outbox.ts";
import { Publisher } from "../../functions/publisher.ts";
import { keyRelayer, type Relayer } from "../../functions/relay.ts";
import { type Route, routes } from "../../functions/routes.ts";
import { Store } from "../../functions/store.ts";
import { createTasks } from "../../functions/tasks.ts";
import { createUploads } from "../../functions/uploads.ts";
import { ChainReader } from "../../lib/chain/reader.ts";
import type { Deployment } from "../../lib/protocol/deployment.ts";
import type { Hex } from "../../lib/protocol/hex.ts";
import { startAnvil } from "../../local/anvil.ts";
import { deployContract } from "../../local/contract.ts";
import { startServer } from "../../local/server.ts";
import { startStore } from "../../local/store/store.ts";
import { startLink } from "../transfer/servers.ts";
import { CloudPublisher } from "./bell.ts";
import { gasOf, type Sent } from "./gas.ts";
import { classOf, startRpcMeter, Tally } from "./meter.ts";

/** What is around the functions. */
export interface Surroundings {
  readonly blockTimeS: number;
  readonly confirmations: number;
  /** Milliseconds that S3's and a node's answers take on their way. */
  readonly lateMs: { readonly s3: number; readonly rpc: number };
}

/** Blocks as on the usual layer-2 chains, and ways as from a Lambda function: assumptions, which the table names. */
export const USUAL: Surroundings = { blockTimeS: 2, confirmations: 2, lateMs: { s3: 15, rpc: 60 } };
/** The chain ends with the benchmark. */
const MAX_FEE = 1_000_000_000_000n;

/** What a request was for: to look whether there is news, or to get something done. */
const POLLS = new Set(["readEvents", "readStatement"]);

/**
 * A Waybill as it runs on AWS, with everything counted: the functions' apps behind HTTP, polled and not waited at, nonces in the
 * bucket, the publisher woken by a queue and a clock, the bucket and the node some milliseconds away.
 */
export class CostBed {
  readonly tally: Tally = new Tally();
  /** Every transaction of the relayer. */
  readonly sent: Sent[] = [];
  /** Every request to a function, and its milliseconds there. */
  readonly served: { readonly service: string; readonly ms: number }[] = [];
  #deployment!: Deployment;
  #publisher!: CloudPublisher;
  #provider!: JsonRpcProvider;
  readonly #undo: (() => unknown)[] = [];

  readonly #around: Surroundings;

  private constructor(around: Surroundings) {
    this.#around = around;
  }

  static async start(around: Surroundings = USUAL): Promise<CostBed> {
    const bed = new CostBed(around);
    try {
      await bed.#start();
      return bed;
    } catch (error) {
      await bed.stop();
      throw error;
    }
  }

  get deployment(): Deployment {
    return this.#deployment;
  }

  async stop(): Promise<void> {
    for (const step of this.#undo.splice(0)) await step();
  }

  /** Until everything that was said is settled. */
  drain(): Promise<void> {
    return this.#publisher.drain();
  }

  /** A look of the publisher's clock. */
  tick(): Promise<void> {
    return this.#publisher.tick();
  }

  /** What each of these transactions used and carried. */
  gas(sent: readonly Sent[]): ReturnType<typeof gasOf> {
    return gasOf(this.#provider, sent);
  }

  async #start(): Promise<void> {
    const { tally } = this;
    const { blockTimeS, confirmations, lateMs } = this.#around;
    const anvil = await this.#keep(startAnvil({ blockTime: blockTimeS }));
    this.#provider = new JsonRpcProvider(anvil.url, anvil.chainId, { staticNetwork: true, cacheTimeout: -1 });
    this.#undo.unshift(() => this.#provider.destroy());
    const { contract, block } = await deployContract(new Wallet(anvil.accounts[0]!.privateKey, this.#provider));
    await this.#provider.send("evm_setAutomine", [false]); // a transaction waits for its block, and others come along
    await this.#provider.send("evm_setIntervalMining", [blockTimeS]);
    const s3 = await this.#keep(
      startStore({ onRequest: (entry) => tally.add(`s3:${classOf(entry)}:${entry.operation}`) }),
    );
    const s3Endpoint = lateMs.s3 > 0 ? await this.#wayTo(s3.endpoint, lateMs.s3) : s3.endpoint;
    const server = await this.#keep(startServer());
    const environment = {
      WAYBILL_API_ORIGIN: server.origin,
      WAYBILL_CHAIN_ID: String(anvil.chainId),
      WAYBILL_CONTRACT: contract,
      WAYBILL_RPC: anvil.url,
      WAYBILL_FROM_BLOCK: String(block),
      WAYBILL_CONFIRMATIONS: String(confirmations),
      WAYBILL_BLOCK_TIME: String(blockTimeS * 1_000),
      WAYBILL_OWNERS: contract, // nobody's: see below
      WAYBILL_BUCKET: s3.bucket,
      AWS_REGION: s3.region,
      WAYBILL_S3_ENDPOINT: s3Endpoint,
    };
    // As the functions read it in the cloud, but for whose tasks are served, and by which key the bucket lets us in.
    const config: Config = { ...configFromEnv(environment), owners: "*", s3Credentials: s3.credentials };
    await this.#startPublisher(config, anvil.url, anvil.accounts[1]!.privateKey);
    server.mount(await this.#apps(config, anvil.url));
    const { blockTime, chainId } = config;
    this.#deployment = {
      ...{
        api: server.origin,
        chainId,
        contract,
        storeOrigin: s3Endpoint,
        confirmations,
        blockTime,
        fromBlock: block,
      },
      maxBlockAge: 60_000,
    };
  }

  async #wayTo(origin: string, delay: number): Promise<string> {
    return (await this.#keep(startLink(origin, { rate: 0, delay, breakEvery: 0 }))).origin;
  }

  async #startPublisher(config: Config, node: string, key: string): Promise<void> {
    const { url: rpc } = await this.#keep(startRpcMeter(node, this.#around.lateMs.rpc, this.tally, "rpc:publisher"));
    const store = new Store(config);
    const publisher = new Publisher({
      ...config,
      rpc,
      store: counting(store, this.tally),
      relayer: this.#counting(keyRelayer(key)),
      fees: { kind: "market", maxFeePerGas: MAX_FEE },
      log: (line) => this.tally.add("log:publisher", line.length + 1),
    });
    this.#undo.unshift(
      () => store.close(),
      () => publisher.close(),
    );
    this.#publisher = new CloudPublisher(publisher, this.tally);
    this.#undo.unshift(() => this.#publisher.drain().catch(() => {}));
  }

  /** What the publisher asks of KMS. */
  #counting({ address, sign }: Relayer): Relayer {
    return {
      address,
      sign: async (unsigned) => {
        this.tally.add("kms:sign");
        const raw = await sign(unsigned);
        this.sent.push({ raw: raw as Hex });
        return raw;
      },
    };
  }

  /** The apps as functions of their own. Whoever only looks for news meets a function of its own, too, so that it is counted apart. */
  async #apps(config: Config, node: string): Promise<Hono> {
    const deps = async (name: string): Promise<PostingDeps> => {
      const { url: rpc } = await this.#keep(startRpcMeter(node, this.#around.lateMs.rpc, this.tally, `rpc:${name}`));
      const store = new Store(config);
      const chain = new ChainReader({ ...config, rpc });
      this.#undo.unshift(
        () => store.close(),
        () => chain.close(),
      );
      const outbox = new Outbox(store, config, { bell: this.#publisher.ring });
      const log = (line: string): void => this.tally.add(`log:${name}`, line.length + 1);
      return { config, store, chain, outbox, nonces: noncesOf({ config, store }), log };
    };
    const work = await deps("work");
    const [uploads, downloads, tasks] = [createUploads(work), createDownloads(work), createTasks(work)];
    const polls = createTasks(await deps("polls"));
    const serving: Readonly<Record<string, Hono>> = { uploads, downloads, tasks, polls };
    const front = new Hono();
    front.all("*", async (c) => {
      const name = operationOf(c.req.method, new URL(c.req.url).pathname);
      const service = serviceOf(name);
      const began = performance.now();
      const answer = await serving[service]!.fetch(c.req.raw);
      const bytes = await answer.arrayBuffer();
      this.served.push({ service, ms: performance.now() - began });
      this.tally.add(`api:${service}:${name}`);
      this.tally.add(`out:${service}`, bytes.byteLength);
      return new Response(bytes, answer);
    });
    return front;
  }

  async #keep<T extends { stop(): unknown }>(starting: Promise<T>): Promise<T> {
    const started = await starting;
    this.#undo.unshift(() => started.stop());
    return started;
  }
}

/** The publisher's requests to the bucket, told apart from the others' there. */
function counting(store: Store, tally: Tally): OutboxStore {
  return {
    getJson: (key) => {
      tally.add("publisher:get");
      return store.getJson(key);
    },
    putJson: (key, value, condition) => {
      tally.add("publisher:put");
      return store.putJson(key, value, condition);
    },
    list: async (prefix, options) => {
      const found = await store.list(prefix, options);
      tally.add("publisher:put", Math.max(1, Math.ceil(found.length / 1_000)));
      return found;
    },
    delete: (keys) => store.delete(keys),
  };
}

const patterns = Object.entries(routes).map(([name, { method, path }]: [string, Route]) => {
  return { name, method, path: new RegExp(`^${path.replaceAll(/\{\w+\}/g, "[^/]+")}$`) };
});

function operationOf(method: string, path: string): string {
  const found = patterns.find((pattern) => pattern.method === method && pattern.path.test(path));
  if (!found) throw new Error(`${method} ${path} is no route.`);
  return found.name;
}

function serviceOf(name: string): "uploads" | "downloads" | "tasks" | "polls" {
  if (POLLS.has(name)) return "polls";
  if (["download", "reportProgress"].includes(name)) return "downloads";
  return ["begin", "signParts", "listParts", "finish", "abort"].includes(name) ? "uploads" : "tasks";
}
