import { type BaseWallet, Contract, JsonRpcProvider, toQuantity, Wallet } from "ethers";
import { unzipSync } from "fflate";
import { SharedFileDataChannel, TaskContractor } from "../../../lib/index.ts";
import { waybillAbi } from "../../../lib/protocol/abi.ts";
import { type Deployment, deploymentSchema } from "../../../lib/protocol/deployment.ts";
import type { Address, Hex } from "../../../lib/protocol/hex.ts";
import { type Anvil, startAnvil } from "../../../local/anvil.ts";
import type { RequestLog } from "../../../local/store/server.ts";
import { newKey } from "../../support/kms.ts";
import { type RpcProxy, startRpcProxy } from "../../support/rpcproxy.ts";
import { TestAccount } from "./account.ts";
import { Cloud } from "./cloud.ts";
import { node24 } from "./node24.ts";
import { blocksOf, handbook, Operator } from "./operator.ts";
import { Role } from "./roles.ts";
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
  /** Who deployed it, by docs/operate.md. */
  readonly operator: Operator;
  /** Who pays for gas: the account of the key in KMS. */
  readonly relayer: string;
  readonly #chain: Chain;
  readonly #lambdas: readonly LambdaShape[];
  readonly #contractors: TaskContractor[] = [];

  private constructor(parts: {
    account: TestAccount;
    cloud: Cloud;
    chain: Chain;
    operator: Operator;
    relayer: string;
    requests: RequestLog[];
  }) {
    const { account, cloud, chain } = parts;
    this.account = account;
    this.cloud = cloud;
    this.requests = parts.requests;
    this.rpc = chain.rpc;
    this.#chain = chain;
    this.operator = parts.operator;
    this.relayer = parts.relayer;
    this.#lambdas = shapesIn(account.deployed(STAGE)).lambdas;
    // As the operator hands it out, but for where the bucket is.
    const [stack] = account.deployed(STAGE).of("pulumi:pulumi:Stack");
    const given = deploymentSchema.parse(JSON.parse(String(stack?.outputs.deployment)));
    this.deployment = { ...given, storeOrigin: cloud.bucket.endpoint };
  }

  static async open(): Promise<Site> {
    const [chain, account] = await Promise.all([Chain.start(), TestAccount.open()]);
    try {
      const [relayer, requests] = [newKey(), [] as RequestLog[]];
      await chain.fund(relayer.address);
      const operator = await deploy(account, chain);
      const cloud = await Cloud.start({
        shapes: shapesIn(account.deployed(STAGE)),
        ...{ account: account.account, home: account.home, aws: account.aws, gateway: account.gateway },
        relayer,
        operator: await operatorRole(account.account.id),
        node: await node24(),
        onStoreRequest: (entry) => void requests.push(entry),
      });
      return new Site({ account, cloud, chain, operator, relayer: relayer.address, requests });
    } catch (error) {
      await Promise.all([account.close(), chain.stop()]);
      throw error;
    }
  }

  /** A task of so many members, each with a client of its own. The first one owns it. */
  async cast(count: number): Promise<Cast> {
    const others = Array.from({ length: count - 1 }, () => Wallet.createRandom());
    const { owner } = this.operator;
    const wallets = [owner, ...others];
    const accounts = wallets.map(({ address }) => address);
    const { deployment } = this;
    const opened = await TaskContractor.open({ signer: owner, members: accounts, deployment });
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
    return this.#chain.verified(this.deployment.contract, task, notice);
  }

  /** How many events of a task stand on the chain. */
  seq(task: Hex): Promise<bigint> {
    return this.#chain.seq(this.deployment.contract, task);
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

/** What an operator does, as docs/operate.md says it, up to the deploy. */
async function deploy({ project }: TestAccount, chain: Chain): Promise<Operator> {
  const { anvil, rpc } = chain;
  const operator = await Operator.hire(project, {
    stage: STAGE,
    chainId: anvil.chainId,
    rpc: rpc.url,
    confirmations: CONFIRMATIONS,
    blockTime: BLOCK_TIME,
    settings: { WAYBILL_RETENTION: String(RETENTION), WAYBILL_ORIGINS: ORIGIN },
  });
  await chain.fund(operator.deployer.address);
  await operator.configures(await operator.deploysContract());
  await operator.does("npx sst secret set Rpc");
  await operator.does("npx sst deploy");
  return operator;
}

/** Somebody with the rights that the page asks for, and no others. */
async function operatorRole(account: string): Promise<Role> {
  const [policy, ...more] = blocksOf(await handbook(), "json");
  if (!policy || more.length > 0) throw new Error("the page must have one policy");
  const arn = `arn:aws:iam::${account}:user/operator`;
  const assumeRolePolicy = JSON.stringify({ Version: "2012-10-17", Statement: [] });
  return new Role({ name: "operator", arn, inlinePolicies: [{ policy }], assumeRolePolicy });
}

/** Anvil, and a node before it that can be made to fail. */
class Chain {
  readonly anvil: Anvil;
  readonly rpc: RpcProxy;
  readonly #node: JsonRpcProvider;

  private constructor(anvil: Anvil, rpc: RpcProxy, node: JsonRpcProvider) {
    this.anvil = anvil;
    this.rpc = rpc;
    this.#node = node;
  }

  static async start(): Promise<Chain> {
    const anvil = await startAnvil({ blockTime: BLOCK_TIME / 1000 });
    const node = new JsonRpcProvider(anvil.url, anvil.chainId, { staticNetwork: true, cacheTimeout: -1 });
    return new Chain(anvil, await startRpcProxy(anvil.url), node);
  }

  async fund(address: string): Promise<void> {
    await this.#node.send("anvil_setBalance", [address, toQuantity(10n ** 20n)]);
  }

  async verified(contract: Address, task: Hex, notice: Hex): Promise<bigint> {
    return (await this.#read(contract, "state", task, 0, notice)).verified as bigint;
  }

  async seq(contract: Address, task: Hex): Promise<bigint> {
    return (await this.#read(contract, "latest", task)).seq as bigint;
  }

  async now(): Promise<number> {
    return (await this.#node.getBlock("latest"))!.timestamp;
  }

  async stop(): Promise<void> {
    this.#node.destroy();
    await this.rpc.stop();
    await this.anvil.stop();
  }

  async #read(contract: Address, view: string, ...values: unknown[]): Promise<Record<string, unknown>> {
    return new Contract(contract, waybillAbi, this.#node).getFunction(view)(...values);
  }
}
