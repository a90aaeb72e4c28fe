import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JsonRpcProvider, Wallet } from "ethers";
import { keyRelayer } from "../../functions/relay.ts";
import { Store } from "../../functions/store.ts";
import { type ContractorOptions, type Deployment, SharedFileDataChannel, TaskContractor } from "../../lib/index.ts";
import type { Hex } from "../../lib/protocol/hex.ts";
import { type Anvil, startAnvil } from "../../local/anvil.ts";
import { deployContract } from "../../local/contract.ts";
import { type Stack, startStack } from "../../local/stack.ts";
import { type Store as Bucket, startStore } from "../../local/store/store.ts";
import { waybill } from "./contract.ts";
import { type Exchange, type Fault, FaultProxy } from "./fault-proxy.ts";
import {
  apiStep,
  clientStoreStep,
  functionsStoreStep,
  type Link,
  nameView,
  rpcSteps,
  storeLink,
} from "./fault-steps.ts";
import { secret } from "./secrets.ts";

/** Small parts, so that a trip takes milliseconds, and yet more than a socket swallows at once. */
export const PART_SIZE: number = 64 * 1024;
const MAX_FEE_PER_GAS = 10n ** 12n;

waybill.forEachFunction(({ selector, name }) => {
  nameView(selector, name);
});

/** Where a fault is put, and what it is. */
export interface Planting {
  readonly link: Link;
  readonly step: string;
  readonly fault: Fault;
  /** At every such request until it is healed, and not at one alone. */
  readonly lasting: boolean;
}

/** A fault that waits for its request. */
interface Planted extends Planting {
  met: boolean;
  over: boolean;
}

type Parts = Pick<Rig, "stack" | "deployment" | "withNode" | "dir" | "store" | "chain">;

/** A whole Waybill, with a proxy on every way between its parties. */
export class Rig {
  readonly stack: Stack;
  /** What participants are given. */
  readonly deployment: Deployment;
  /** The same with a node of their own. */
  readonly withNode: Deployment;
  readonly dir: string;
  /** The bucket, past every fault. */
  readonly store: Store;
  /** The chain, past every fault. */
  readonly chain: JsonRpcProvider;
  /** Every request's name since the last `plant`, by its link. */
  readonly seen = new Map<string, number>();
  /** What an account is called in the names of steps. */
  readonly names = new Map<string, string>();
  #planted: Planted[] = [];
  readonly #undo: (() => unknown)[];

  private constructor(parts: Parts, undo: (() => unknown)[]) {
    this.stack = parts.stack;
    this.deployment = parts.deployment;
    this.withNode = parts.withNode;
    this.dir = parts.dir;
    this.store = parts.store;
    this.chain = parts.chain;
    this.#undo = undo;
  }

  static async start(): Promise<Rig> {
    const undo: (() => unknown)[] = [];
    const dir = await mkdtemp(join(tmpdir(), "waybill-faults-"));
    undo.unshift(() => rm(dir, { recursive: true, force: true }));
    const [bucket, anvil, toStore, toApi, toNode, toOwnNode] = await Promise.all([
      startStore({ minPartSize: 1024 }),
      startAnvil({ scratch: [dir] }),
      ...Array.from({ length: 4 }, () => FaultProxy.start()),
    ] as [Promise<Bucket>, Promise<Anvil>, ...Promise<FaultProxy>[]]);
    const proxies = { toStore: toStore!, toApi: toApi!, toNode: toNode!, toOwnNode: toOwnNode! };
    undo.unshift(
      () => bucket.stop(),
      () => anvil.stop(),
      ...Object.values(proxies).map((proxy) => () => proxy.stop()),
    );
    proxies.toStore.target = bucket.endpoint;
    proxies.toNode.target = anvil.url;
    proxies.toOwnNode.target = anvil.url;
    const stack = await stackBehind(proxies, bucket, anvil);
    proxies.toApi.target = stack.deployment.api;
    const deployment = { ...stack.deployment, api: proxies.toApi.origin };
    const store = new Store(configOf(bucket, bucket.endpoint));
    const chain = new JsonRpcProvider(anvil.url, anvil.chainId, { staticNetwork: true, cacheTimeout: -1 });
    undo.unshift(
      () => chain.destroy(),
      () => store.close(),
      () => stack.stop(),
    );
    const withNode = { ...deployment, rpc: proxies.toOwnNode.origin };
    const rig = new Rig({ stack, deployment, withNode, dir, store, chain }, undo);
    rig.#watch(proxies);
    return rig;
  }

  async stop(): Promise<void> {
    for (const step of this.#undo) await step();
  }

  /** From now on; of several at one step, one request each. */
  plant(faults: readonly Planting[]): void {
    this.seen.clear();
    this.#planted = faults.map((one) => ({ ...one, met: false, over: false }));
  }

  /** How many of them have been met. */
  get met(): number {
    return this.#planted.filter(({ met }) => met).length;
  }

  /** What lasts ends, and with `all` also what was not met. */
  heal(all: boolean = false): void {
    for (const planted of this.#planted) planted.over ||= all || planted.lasting;
  }

  #watch(proxies: Record<"toStore" | "toApi" | "toNode" | "toOwnNode", FaultProxy>): void {
    const who = (account: string): string => this.names.get(account) ?? "somebody";
    proxies.toStore.rule = async (exchange) => {
      const link = storeLink(exchange);
      return this.#pick(link, [link === "client-store" ? clientStoreStep(exchange) : functionsStoreStep(exchange)]);
    };
    proxies.toApi.rule = async (exchange) => this.#pick("client-api", [await apiStep(exchange, who)]);
    proxies.toNode.rule = async (exchange: Exchange) => this.#pick("functions-rpc", await rpcSteps(exchange));
    proxies.toOwnNode.rule = async (exchange) => this.#pick("client-rpc", await rpcSteps(exchange));
  }

  #pick(link: Link, steps: readonly string[]): Fault | null {
    for (const step of steps) this.seen.set(`${link} ${step}`, (this.seen.get(`${link} ${step}`) ?? 0) + 1);
    const planted = this.#planted.find((one) => !one.over && one.link === link && steps.includes(one.step));
    if (!planted) return null;
    planted.met = true;
    planted.over = !planted.lasting;
    return planted.fault;
  }
}

function configOf({ bucket, region, credentials: s3Credentials }: Bucket, s3Endpoint: string) {
  secret(s3Credentials.secretAccessKey);
  return { bucket, region, s3Endpoint, s3Credentials };
}

async function stackBehind(
  { toStore, toApi, toNode }: Record<"toStore" | "toApi" | "toNode", FaultProxy>,
  bucket: Bucket,
  anvil: Anvil,
): Promise<Stack> {
  const provider = new JsonRpcProvider(anvil.url, anvil.chainId, { staticNetwork: true });
  try {
    const { contract, block } = await deployContract(new Wallet(anvil.accounts[0]!.privateKey, provider));
    return await startStack({
      chain: {
        ...{ rpc: toNode.origin, chainId: anvil.chainId, contract, fromBlock: block },
        relayer: keyRelayer(anvil.accounts[1]!.privateKey),
        fees: { kind: "market", maxFeePerGas: MAX_FEE_PER_GAS },
      },
      bucket: configOf(bucket, toStore.origin),
      config: { apiOrigin: toApi.origin, minPartSize: 1024 },
    });
  } finally {
    provider.destroy();
  }
}

/** A task of a sender and its recipient, for some trips. */
export class Pair {
  readonly rig: Rig;
  readonly task: Hex;
  readonly wallets: readonly [Wallet, Wallet];
  readonly #open: TaskContractor[] = [];

  private constructor(rig: Rig, task: Hex, wallets: readonly [Wallet, Wallet]) {
    this.rig = rig;
    this.task = task;
    this.wallets = wallets;
  }

  static async open(rig: Rig): Promise<Pair> {
    const wallets = [new Wallet(fresh()), new Wallet(fresh())] as const;
    const members = wallets.map(({ address }) => address);
    const opened = await TaskContractor.open({ signer: wallets[0], members, deployment: rig.deployment });
    await opened.close();
    rig.names.clear();
    rig.names.set(members[0]!.toLowerCase(), "sender").set(members[1]!.toLowerCase(), "recipient");
    return new Pair(rig, opened.task, wallets);
  }

  /** A new process of one of them. */
  process(index: 0 | 1, more: Partial<ContractorOptions> & { ownNode?: boolean } = {}): SharedFileDataChannel {
    const { ownNode = false, ...options } = more;
    const deployment = ownNode ? this.rig.withNode : this.rig.deployment;
    const contractor = new TaskContractor({ task: this.task, signer: this.wallets[index], deployment, ...options });
    this.#open.push(contractor);
    return new SharedFileDataChannel(contractor);
  }

  async close(): Promise<void> {
    await Promise.all(this.#open.splice(0).map((contractor) => contractor.close()));
  }
}

function fresh(): string {
  return `0x${randomBytes(32).toString("hex")}`;
}

/** A folder's files with their bytes. */
export async function filesIn(dir: string): Promise<Map<string, Buffer>> {
  const names = await readdir(dir);
  return new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(dir, name))] as const)));
}
