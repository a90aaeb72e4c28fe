import { type BaseWallet, Contract, JsonRpcProvider, toQuantity, Wallet } from "ethers";
import { unzipSync } from "fflate";
import { SharedFileDataChannel, TaskContractor } from "../../../lib/index.ts";
import { waybillAbi } from "../../../lib/protocol/abi.ts";
import { type Deployment, deploymentSchema } from "../../../lib/protocol/deployment.ts";
import type { Hex } from "../../../lib/protocol/hex.ts";
import { type Anvil, startAnvil } from "../../../local/anvil.ts";
import { type DeployedContract, deployContract } from "../../../local/contract.ts";
import type { RequestLog } from "../../../local/store/server.ts";
import { newKey } from "../../support/kms.ts";
import { type RpcProxy, startRpcProxy } from "../../support/rpcproxy.ts";
import { TestAccount } from "./account.ts";
import { Cloud } from "./cloud.ts";
import { settings } from "./graph.ts";
import { node24 } from "./node24.ts";
import { type LambdaShape, shapesIn } from "./shapes.ts";

/** The page that the deployment lets in. */
export const ORIGIN = "https://console.example.org";
/** Milliseconds that a payload outlives its last deadline: as few as a test can wait for. */
export const RETENTION = 1_000;
const STAGE = "test";
const CONFIRMATIONS = 1;
const BLOCK_TIME = 1_000;

/** A deployment that works: a chain with the contract, an account to which `sst` deployed, and what it made, running. */
export class Site {
  readonly account: TestAccount;
  readonly cloud: Cloud;
  /** What participants are given. */
  readonly deployment: Deployment;
  /** Every request that reached the bucket. */
  readonly requests: readonly RequestLog[];
  /** The node that the deployment asks. Its key may turn up nowhere. */
  readonly rpc: RpcProxy;
  readonly #chain: Chain;
  readonly #owner: Wallet;
  readonly #lambdas: readonly LambdaShape[];
  readonly #contractors: TaskContractor[] = [];

  private constructor(parts: {
    account: TestAccount;
    cloud: Cloud;
    chain: Chain;
    owner: Wallet;
    requests: RequestLog[];
  }) {
    const { account, cloud, chain } = parts;
    this.account = account;
    this.cloud = cloud;
    this.requests = parts.requests;
    this.rpc = chain.rpc;
    this.#chain = chain;
    this.#owner = parts.owner;
    this.#lambdas = shapesIn(account.deployed(STAGE)).lambdas;
    // As the operator hands it out, but for where the bucket is.
    const [stack] = account.deployed(STAGE).of("pulumi:pulumi:Stack");
    const given = deploymentSchema.parse(JSON.parse(String(stack?.outputs.deployment)));
    this.deployment = { ...given, storeOrigin: cloud.bucket.endpoint };
  }

  static async open(): Promise<Site> {
    const [chain, account] = await Promise.all([Chain.start(), TestAccount.open()]);
    try {
      const [owner, relayer, requests] = [Wallet.createRandom(), newKey(), [] as RequestLog[]];
      await chain.fund(relayer.address);
      await deploy(account, chain, owner.address);
      const cloud = await Cloud.start({
        shapes: shapesIn(account.deployed(STAGE)),
        ...{ account: account.account, home: account.home, aws: account.aws, gateway: account.gateway },
        relayer,
        node: await node24(),
        onStoreRequest: (entry) => void requests.push(entry),
      });
      return new Site({ account, cloud, chain, owner: new Wallet(owner.privateKey), requests });
    } catch (error) {
      await Promise.all([account.close(), chain.stop()]);
      throw error;
    }
  }

  /** A task of so many members, each with a client of its own. The first one owns it. */
  async cast(count: number): Promise<Cast> {
    const others = Array.from({ length: count - 1 }, () => Wallet.createRandom());
    const wallets = [this.#owner, ...others];
    const accounts = wallets.map(({ address }) => address);
    const { deployment } = this;
    const opened = await TaskContractor.open({ signer: this.#owner, members: accounts, deployment });
    await opened.close();
    const contractors = wallets.map((signer) => new TaskContractor({ task: opened.task, signer, deployment }));
    this.#contractors.push(...contractors);
    return {
      wallets,
      accounts,
      contractors,
      channels: contractors.map((contractor) => new SharedFileDataChannel(contractor)),
    };
  }

  /** The files of a function, as they were uploaded. */
  zip(name: string): [string, Uint8Array][] {
    const lambda = this.#lambdas.find(({ resource }) => resource.toLowerCase() === `${name}function`);
    const zip = lambda && this.account.home.objects.get(`${lambda.s3Bucket}/${lambda.s3Key}`);
    if (!zip) throw new Error(`no zip was uploaded for ${name}`);
    return Object.entries(unzipSync(zip));
  }

  /** The members of the first page who verified a notice, as the contract has them. */
  verified(task: Hex, notice: Hex): Promise<bigint> {
    return this.#chain.verified(task, notice);
  }

  /** How many events of a task stand on the chain. */
  seq(task: Hex): Promise<bigint> {
    return this.#chain.seq(task);
  }

  /** Seconds of chain time. */
  now(): Promise<number> {
    return this.#chain.now();
  }

  async close(): Promise<void> {
    await Promise.all(this.#contractors.map((contractor) => contractor.close()));
    await this.cloud.stop();
    await Promise.all([this.account.close(), this.#chain.stop()]);
  }
}

export interface Cast {
  readonly wallets: readonly BaseWallet[];
  /** With capitals, as wallets show them. */
  readonly accounts: readonly string[];
  readonly contractors: readonly TaskContractor[];
  readonly channels: readonly SharedFileDataChannel[];
}

/** What an operator does, as docs/operate.md says it. */
async function deploy({ project }: TestAccount, { anvil, contract, rpc }: Chain, owner: string): Promise<void> {
  await project.configure(STAGE, {
    ...settings,
    WAYBILL_CHAIN_ID: String(anvil.chainId),
    WAYBILL_CONTRACT: contract.contract,
    WAYBILL_FROM_BLOCK: String(contract.block),
    WAYBILL_CONFIRMATIONS: String(CONFIRMATIONS),
    WAYBILL_BLOCK_TIME: String(BLOCK_TIME),
    WAYBILL_RETENTION: String(RETENTION),
    WAYBILL_OWNERS: owner,
    WAYBILL_ORIGINS: ORIGIN,
    WAYBILL_MAX_FEE_PER_GAS: String(10n ** 11n),
  });
  for (const command of [["secret", "set", "Rpc", rpc.url], ["deploy"]]) {
    const { code, output } = await project.sst(...command, "--stage", STAGE);
    if (code !== 0) throw new Error(`sst ${command[0]} ended with ${code}:\n${output}`);
  }
}

/** Anvil with the contract, and a node before it that can be made to fail. */
class Chain {
  readonly anvil: Anvil;
  readonly contract: DeployedContract;
  readonly rpc: RpcProxy;
  readonly #node: JsonRpcProvider;

  private constructor(anvil: Anvil, contract: DeployedContract, rpc: RpcProxy, node: JsonRpcProvider) {
    this.anvil = anvil;
    this.contract = contract;
    this.rpc = rpc;
    this.#node = node;
  }

  static async start(): Promise<Chain> {
    const anvil = await startAnvil({ blockTime: BLOCK_TIME / 1000 });
    const node = new JsonRpcProvider(anvil.url, anvil.chainId, { staticNetwork: true, cacheTimeout: -1 });
    const contract = await deployContract(new Wallet(anvil.accounts[0]!.privateKey, node));
    return new Chain(anvil, contract, await startRpcProxy(anvil.url), node);
  }

  async fund(address: string): Promise<void> {
    await this.#node.send("anvil_setBalance", [address, toQuantity(10n ** 20n)]);
  }

  async verified(task: Hex, notice: Hex): Promise<bigint> {
    return (await this.#read("state", task, 0, notice)).verified as bigint;
  }

  async seq(task: Hex): Promise<bigint> {
    return (await this.#read("latest", task)).seq as bigint;
  }

  async now(): Promise<number> {
    return (await this.#node.getBlock("latest"))!.timestamp;
  }

  async stop(): Promise<void> {
    this.#node.destroy();
    await this.rpc.stop();
    await this.anvil.stop();
  }

  async #read(view: string, ...values: unknown[]): Promise<Record<string, unknown>> {
    return new Contract(this.contract.contract, waybillAbi, this.#node).getFunction(view)(...values);
  }
}
