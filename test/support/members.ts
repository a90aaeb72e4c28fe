import { randomBytes } from "node:crypto";
import { type BaseWallet, ContractFactory, JsonRpcProvider, type TransactionReceipt, toQuantity, Wallet } from "ethers";
import { expect } from "vitest";
import { Api } from "../../lib/api.ts";
import {
  type Address,
  type ContractorOptions,
  type NoticeEvent,
  type NoticeStatus,
  SharedFileDataChannel,
  TaskContractor,
  type TaskNews,
  type WaybillError,
} from "../../lib/index.ts";
import type { Hex } from "../../lib/protocol/hex.ts";
import { encodeItem, type Notice, noticeId, type Signed, signStatement } from "../../lib/protocol/statements.ts";
import { type Stack, type StackOptions, startStack } from "../../local/stack.ts";
import type { RequestLog } from "../../local/store/store.ts";
import { waybill } from "./contract.ts";

/** How a process of a member reads the chain. */
export const readings: readonly (readonly [name: string, options: { readonly ownNode: boolean }])[] = [
  ["over HTTPS alone", { ownNode: false }],
  ["with an RPC node of one's own", { ownNode: true }],
];

/** A running Waybill whose time the test owns. */
export class Scene {
  readonly stack: Stack;
  /** Every request that reached the store. */
  readonly requests: readonly RequestLog[];
  /** Called with each of them. */
  onRequest: (entry: RequestLog) => void = () => {};
  readonly #node: JsonRpcProvider;
  readonly #contractors: TaskContractor[] = [];
  #sending: Promise<unknown> = Promise.resolve();

  private constructor(stack: Stack, requests: readonly RequestLog[]) {
    this.stack = stack;
    this.requests = requests;
    this.#node = new JsonRpcProvider(stack.rpc, stack.deployment.chainId, { staticNetwork: true, cacheTimeout: -1 });
  }

  static async start(options: StackOptions = {}): Promise<Scene> {
    const requests: RequestLog[] = [];
    let scene: Scene | undefined;
    const onStoreRequest = (entry: RequestLog): void => {
      requests.push(entry);
      scene?.onRequest(entry);
    };
    scene = new Scene(await startStack({ ...options, onStoreRequest }), requests);
    return scene;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#contractors.map((contractor) => contractor.close()));
    this.#node.destroy();
    await this.stack.stop();
  }

  /** A new task with so many members, opened by the first one. */
  async cast(count: number, options: { ownNode?: boolean } = {}): Promise<Cast> {
    const wallets = Array.from({ length: count }, () => Wallet.createRandom());
    const { deployment } = this.stack;
    const members = wallets.map(({ address }) => address);
    const opened = await TaskContractor.open({ signer: wallets[0]!, members, deployment });
    await opened.close();
    return new Cast(this, opened.task, wallets, options.ownNode ?? false);
  }

  /** Ends with the scene. */
  adopt(contractor: TaskContractor): TaskContractor {
    this.#contractors.push(contractor);
    return contractor;
  }

  rpc(method: string, ...values: unknown[]): Promise<unknown> {
    return this.#node.send(method, values);
  }

  async block(): Promise<{ number: number; timestamp: number }> {
    const { number, timestamp } = (await this.#node.getBlock("latest"))!;
    return { number, timestamp };
  }

  /** The number of the block in which a transaction is. */
  async blockOf(transaction: string): Promise<number> {
    return (await this.#node.getTransactionReceipt(transaction))!.blockNumber;
  }

  /** Brings statements onto the chain past the functions, as anybody may. */
  async relay(...signed: readonly Signed[]): Promise<void> {
    const items = signed.map(({ statement, signature }) => encodeItem(statement, [signature]));
    const data = waybill.encodeFunctionData("relay", [items]);
    await this.#transact({ to: this.stack.deployment.contract, data });
  }

  /** Another contract, from the chain's last rich account. */
  async deploy(bytecode: string, constructorAbi: readonly string[], ...values: unknown[]): Promise<Address> {
    const { data } = await new ContractFactory(constructorAbi, bytecode).getDeployTransaction(...values);
    const receipt = await this.#transact({ data });
    return receipt.contractAddress!.toLowerCase() as Address;
  }

  /** From the chain's last rich account, one transaction after the other: two at once may get the same nonce. */
  #transact(request: { to?: string; data: string }): Promise<TransactionReceipt> {
    const turn = this.#sending.then(async () => {
      const [from] = ((await this.rpc("eth_accounts")) as string[]).slice(-1);
      const sent = await this.rpc("eth_sendTransaction", { from, ...request });
      return eventually(() => this.#node.getTransactionReceipt(String(sent)));
    });
    this.#sending = turn.catch(() => null);
    return turn;
  }

  /** Reads one of the contract's views at the newest block. */
  async read(view: string, ...values: unknown[]): Promise<Record<string, unknown>> {
    const data = waybill.encodeFunctionData(view, values);
    const answer = await this.#node.call({ to: this.stack.deployment.contract, data });
    return waybill.decodeFunctionResult(view, answer).toObject();
  }

  /** Chain time jumps ahead, and a block says so. */
  async pass(seconds: number): Promise<void> {
    await this.rpc("evm_increaseTime", toQuantity(seconds));
    await this.rpc("evm_mine");
  }

  /** Blocks go on with one and the same timestamp while `act` runs. */
  async withTimeStanding<T>(act: () => Promise<T>): Promise<T> {
    await this.rpc("anvil_setBlockTimestampInterval", 0);
    try {
      return await act();
    } finally {
      await this.rpc("anvil_removeBlockTimestampInterval");
    }
  }

  /** No block is made while `act` runs; afterwards they come every second only, and not with each transaction. */
  async withoutBlocks<T>(act: () => Promise<T>): Promise<T> {
    await this.rpc("evm_setIntervalMining", 0);
    await this.rpc("evm_setAutomine", false);
    try {
      return await act();
    } finally {
      await this.rpc("evm_setIntervalMining", 1);
    }
  }

  /** From now on there is a block for each transaction, and no other. */
  async onDemand(): Promise<void> {
    await this.rpc("evm_setIntervalMining", 0);
    await this.rpc("evm_setAutomine", true);
  }

  /** Until so many transactions wait for a block. */
  async pending(least: number): Promise<void> {
    await eventually(async () => {
      const { pending } = (await this.rpc("txpool_status")) as { pending: string };
      return Number(pending) >= least || null;
    });
  }
}

/** A task whose members' keys the test holds. */
export class Cast {
  readonly scene: Scene;
  readonly task: Hex;
  readonly wallets: readonly BaseWallet[];
  /** With capitals, as wallets show them. */
  readonly accounts: readonly string[];
  readonly #ownNode: boolean;

  constructor(scene: Scene, task: Hex, wallets: readonly BaseWallet[], ownNode: boolean) {
    this.scene = scene;
    this.task = task;
    this.wallets = wallets;
    this.accounts = wallets.map(({ address }) => address);
    this.#ownNode = ownNode;
  }

  /** A new process of a member, which knows nothing yet. */
  process(index: number, more: Partial<ContractorOptions> & { ownNode?: boolean } = {}): Process {
    const { ownNode = this.#ownNode, ...options } = more;
    const { rpc, stack } = { rpc: this.scene.stack.rpc, stack: this.scene.stack };
    const deployment = ownNode ? { ...stack.deployment, rpc } : stack.deployment;
    const signer = this.wallets[index]!;
    const contractor = this.scene.adopt(new TaskContractor({ task: this.task, signer, deployment, ...options }));
    return { account: signer.address, contractor, channel: new SharedFileDataChannel(contractor) };
  }

  /** What a member says to the functions when no library of ours keeps it from doing so. */
  api(index: number): Api {
    const signer = this.wallets[index]!;
    const account = signer.address.toLowerCase() as Address;
    return new Api({ deployment: this.scene.stack.deployment, signer, account });
  }

  /** How many events of this task stand on the chain. */
  async seq(): Promise<number> {
    return Number((await this.scene.read("latest", this.task)).seq);
  }

  /** How many parts of payloads of this task went into the store. */
  get uploads(): number {
    return this.#count("UploadPart");
  }

  /** How many times a payload of this task was read. */
  get downloads(): number {
    return this.#count("GetObject");
  }

  #count(operation: string): number {
    const prefix = `payload/${this.task}/`;
    const seen = this.scene.requests.filter((one) => one.operation === operation && one.key?.startsWith(prefix));
    return seen.length;
  }

  /** Publishes a notice that no sender's library would: a copy of a standing one with another deadline. */
  async copyNotice(sender: number, notice: string, more: { later: number; to?: number }): Promise<Hex> {
    const api = this.api(sender);
    const { transfer } = await this.process(sender).contractor.status(notice);
    const { notices } = await api.begin(this.task, { transfer, size: null });
    const original = notices!.find((one) => noticeId(one.notice) === notice)!;
    const copy: Notice = { ...original.notice, deadline: original.notice.deadline + more.later };
    const { signature } = await signStatement(this.wallets[sender]!, this.scene.stack.deployment, copy);
    await api.finish(this.task, transfer, { notices: [{ ...original, notice: copy, signature }] });
    return noticeId(copy);
  }
}

/** One process of one member. */
export interface Process {
  readonly account: string;
  readonly contractor: TaskContractor;
  readonly channel: SharedFileDataChannel;
}

/** Lets a test see, hold or end each request before it goes out, and change each answer before it comes in. */
export function watching(
  before: (path: string, method: string) => unknown,
  after?: (path: string, text: string) => string,
): typeof fetch {
  return async (input, init) => {
    const { pathname } = new URL(String(input));
    await before(pathname, init?.method ?? "GET");
    const response = await fetch(input, init);
    if (!after) return response;
    return new Response(after(pathname, await response.text()), { status: response.status, headers: response.headers });
  };
}

/** The next `count` pieces of a member's news, however long they take, and what else comes within a second after them. */
export async function newsOf(contractor: TaskContractor, count: number): Promise<TaskNews[]> {
  const news: TaskNews[] = [];
  if (count > 0) for await (const one of contractor.events()) if (news.push(one) === count) break;
  for await (const one of contractor.events({ timeout: 1_000 })) news.push(one);
  return news;
}

/** What people call a piece of news. */
export const nameOf = (news: TaskNews): string => (news.type === "message" ? news.kind : news.change);

/** A place in time that one side of a test reaches, and the other waits for. */
export function signpost(): { reach: () => void; reached: Promise<void> } {
  let reach!: () => void;
  const reached = new Promise<void>((resolve) => {
    reach = resolve;
  });
  return { reach, reached };
}

/** The callback of a sending call, and the notice that it tells of. */
export function noticed(): { onNotice: (event: NoticeEvent) => void; notice: Promise<NoticeEvent> } {
  let onNotice!: (event: NoticeEvent) => void;
  const notice = new Promise<NoticeEvent>((resolve) => {
    onNotice = resolve;
  });
  return { onNotice, notice };
}

/** Until a notice stands on the chain, with everything that stands about it. */
export function standing(
  process: Pick<Process, "contractor"> & Partial<Process>,
  notice: string,
): Promise<NoticeStatus> {
  return eventually(() => process.contractor.status(notice).catch(unlessUnknown));
}

function unlessUnknown(error: WaybillError): null {
  if (error.code === "UNKNOWN_NOTICE") return null;
  throw error;
}

/** Asks again until there is an answer. */
export async function eventually<T>(ask: () => Promise<T | null> | T | null): Promise<T> {
  for (;;) {
    const found = await ask();
    if (found !== null) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A tag and a payload of its own. */
export function parcel(size = 300): { tag: string; dataStream: Buffer } {
  return { tag: `parcel/${randomBytes(4).toString("hex")}`, dataStream: randomBytes(size) };
}

/** An error of ours with that code and, among others, these details. */
export const coded = (code: string, details: object = {}): unknown =>
  expect.objectContaining({ name: "WaybillError", code, details: expect.objectContaining(details) });

/** What a promise rejects with; fails when it resolves. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  const [result] = await Promise.allSettled([promise]);
  if (result.status === "rejected") return result.reason;
  throw new Error(`it resolved with ${String(result.value)}`);
}

/** Whether a promise is still open. */
export async function isOpen(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const settle = (): void => {
    settled = true;
  };
  promise.then(settle, settle);
  await new Promise((resolve) => setImmediate(resolve));
  return !settled;
}
