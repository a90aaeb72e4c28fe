import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import {
  ContractFactory,
  concat,
  dataLength,
  dataSlice,
  getBytes,
  hexlify,
  Interface,
  JsonRpcProvider,
  type LogDescription,
  NonceManager,
  type Signer,
  toBeHex,
  Wallet,
} from "ethers";
import { waybillAbi } from "../../lib/protocol/abi.ts";
import { type Address, type Hex, toHex } from "../../lib/protocol/hex.ts";
import { type Reason, reasonNames } from "../../lib/protocol/reasons.ts";
import {
  bitmapOf,
  type Domain,
  encodeItem,
  type Item,
  type Message,
  type Notice,
  noticeId,
  type Open,
  type Receipt,
  type RosterChange,
  type Signed,
  type Statement,
  signStatement,
  taskId,
  type WalletReceipt,
} from "../../lib/protocol/statements.ts";
import { type Anvil, startAnvil } from "../../local/anvil.ts";

export const waybill: Interface = new Interface(waybillAbi);
export const DAY = 86_400;

const artifact = JSON.parse(
  readFileSync(new URL("../../contracts/artifacts/Waybill.json", import.meta.url), "utf8"),
) as { bytecode: { current: string; paris: string } };

/** What one relay did: its codes as a simulation at the same block time saw them, and its events. */
export interface Relayed {
  readonly results: readonly (readonly Reason[])[];
  readonly events: readonly LogDescription[];
  readonly block: number;
  readonly gas: number;
}

export interface WorldOptions {
  readonly target?: "current" | "paris";
  /** More arguments for anvil. */
  readonly args?: readonly string[];
}

/** A chain of its own with the contract on it. Blocks come with transactions only, so that a test owns the time. */
export class World {
  readonly provider: JsonRpcProvider;
  readonly domain: Domain;
  readonly #anvil: Anvil;
  readonly #relayer: Signer;

  private constructor(anvil: Anvil, provider: JsonRpcProvider, relayer: Signer, contract: Address) {
    this.#anvil = anvil;
    this.provider = provider;
    this.#relayer = relayer;
    this.domain = { chainId: anvil.chainId, contract };
  }

  static async start({ target = "current", args = [] }: WorldOptions = {}): Promise<World> {
    const anvil = await startAnvil({ blockTime: 365 * DAY, args });
    const provider = new JsonRpcProvider(anvil.url, anvil.chainId, {
      staticNetwork: true,
      cacheTimeout: -1,
      pollingInterval: 20,
    });
    const relayer = new NonceManager(new Wallet(anvil.accounts[0]!.privateKey, provider));
    const deployed = await new ContractFactory(waybill, artifact.bytecode[target], relayer).deploy();
    const world = new World(anvil, provider, relayer, toHex((await deployed.getAddress()).toLowerCase()));
    await world.mined(deployed.deploymentTransaction()!.hash);
    return world;
  }

  /** The chain's JSON-RPC URL. */
  get rpc(): string {
    return this.#anvil.url;
  }

  async stop(): Promise<void> {
    this.provider.destroy();
    await this.#anvil.stop();
  }

  async now(): Promise<number> {
    return (await this.provider.getBlock("latest"))!.timestamp;
  }

  /** Relays in a block with the timestamp `at`, by default the next second; fails unless simulation and events agree. */
  async relay(items: readonly Item[], at?: number): Promise<Relayed> {
    const time = at ?? (await this.now()) + 1;
    const results = await this.simulate(items, time);
    await this.provider.send("evm_setNextBlockTimestamp", [time]);
    const relayed = await this.send(items);
    const skipped = relayed.events.filter(({ name }) => name === "Skipped").map(({ args }) => named(args.reason));
    const refused = results.flat().filter((reason) => reason !== "OK");
    if (refused.join() !== skipped.join()) throw new Error(`simulated: ${refused.join()}, emitted: ${skipped.join()}`);
    return { ...relayed, results };
  }

  /** What a relay in a block of that time would answer. */
  async simulate(items: readonly Item[], time: number): Promise<Reason[][]> {
    const call = { to: this.domain.contract, data: relayData(items) };
    const answer = await this.provider.send("eth_call", [call, "latest", {}, { time: toBeHex(time) }]);
    const [codes] = waybill.decodeFunctionResult("relay", answer) as unknown as [bigint[][]];
    return codes.map((ofItem) => [...ofItem].map(named));
  }

  /** What a call of one single-code item with that much gas would do, without doing it. */
  async attempt(items: readonly Item[], gasLimit: number): Promise<Reason | "reverted"> {
    const call = { to: this.domain.contract, data: relayData(items), gas: toBeHex(gasLimit) };
    const answer = await this.provider.send("eth_call", [call, "latest"]).catch(() => null);
    return answer === null ? "reverted" : named(waybill.decodeFunctionResult("relay", answer)[0][0][0]);
  }

  /** Relays without looking first; throws when the transaction reverts. */
  async send(items: readonly Item[], gasLimit?: number): Promise<Omit<Relayed, "results">> {
    const request = { to: this.domain.contract, data: relayData(items), gasLimit: gasLimit ?? 16_777_216 };
    const { hash } = await this.#relayer.sendTransaction(request);
    await this.mined(hash);
    const receipt = (await this.provider.getTransactionReceipt(hash))!;
    if (receipt.status !== 1) throw new Error("the transaction reverted");
    const events = receipt.logs.map((log) => waybill.parseLog(log)!);
    return { events, block: receipt.blockNumber, gas: Number(receipt.gasUsed) };
  }

  /**
   * Resolves when a transaction is in a block: anvil answers before it is. ethers' own wait looks again only when a block
   * comes, and here none does if it came while the wait began.
   */
  async mined(transaction: unknown): Promise<void> {
    while (!(await this.provider.send("eth_getTransactionReceipt", [transaction])))
      await new Promise((resolve) => setTimeout(resolve, 10));
  }

  /** Reads one of the contract's views. */
  async read(view: string, ...values: unknown[]): Promise<Record<string, unknown>> {
    const data = waybill.encodeFunctionData(view, values);
    const answer = await this.provider.call({ to: this.domain.contract, data });
    return waybill.decodeFunctionResult(view, answer).toObject();
  }

  async deploy(bytecode: string, constructorAbi: readonly string[] = [], ...values: unknown[]): Promise<Address> {
    const factory = new ContractFactory(constructorAbi, bytecode, this.#relayer);
    const deployed = await factory.deploy(...values);
    await this.mined(deployed.deploymentTransaction()!.hash);
    return toHex((await deployed.getAddress()).toLowerCase());
  }

  sign<S extends Statement>(signer: Signer, statement: S): Promise<Signed<S>> {
    return signStatement(signer, this.domain, statement);
  }
}

/** A task with members whose keys the test holds. Signs everything that a party of it could say. */
export class Task {
  readonly world: World;
  readonly owner: Wallet;
  readonly members: readonly Wallet[];
  readonly open: Open;
  readonly id: Hex;

  private constructor(world: World, owner: Wallet, members: readonly Wallet[]) {
    this.world = world;
    this.owner = owner;
    this.members = members;
    this.open = { kind: "open", owner: addressOf(owner), salt: random32(), members: members.map(addressOf) };
    this.id = taskId(this.open.owner, this.open.salt);
  }

  /** A task that is not on the chain yet. */
  static draft(world: World, members: number | readonly Wallet[]): Task {
    return new Task(world, newKey(), typeof members === "number" ? newKeys(members) : members);
  }

  static async opened(world: World, members: number | readonly Wallet[]): Promise<Task> {
    const task = Task.draft(world, members);
    expectDone(await world.relay([item(await task.sign(task.owner, task.open))]));
    return task;
  }

  sign<S extends Statement>(signer: Signer, statement: S): Promise<Signed<S>> {
    return this.world.sign(signer, statement);
  }

  /** The owner's roster change against the given version. */
  async change(kind: "admit" | "expel", accounts: readonly Address[], roster: number): Promise<Signed<RosterChange>> {
    return this.sign(this.owner, { kind, task: this.id, members: accounts, roster });
  }

  /** The first member's notice to the given indices of page 0, for the next hour. */
  async notice(indices: readonly number[], over: Partial<Notice> = {}): Promise<Signed<Notice>> {
    const statement: Notice = {
      kind: "notice",
      task: this.id,
      sender: addressOf(this.members[0]!),
      page: 0,
      recipients: bitmapOf(indices),
      transfer: random32(),
      manifest: random32(),
      deadline: (await this.world.now()) + 3600,
      ...over,
    };
    return this.sign(this.members[0]!, statement);
  }

  /** As `notice`, and on the chain. */
  async noticed(indices: readonly number[], over: Partial<Notice> = {}): Promise<Notice> {
    const signed = await this.notice(indices, over);
    expectDone(await this.world.relay([item(signed)]));
    return signed.statement;
  }

  async message(over: Partial<Message> = {}): Promise<Signed<Message>> {
    const statement: Message = {
      kind: "message",
      task: this.id,
      sender: addressOf(this.members[0]!),
      page: 0,
      recipients: 2n ** 256n - 1n,
      name: `0x${"00".repeat(32)}` as Hex,
      payload: "0x1234" as Hex,
      salt: random32(),
      deadline: (await this.world.now()) + 3600,
      ...over,
    };
    return this.sign(this.members[0]!, statement);
  }

  receipt(notice: Notice, over: Partial<Receipt> = {}): Receipt {
    return { kind: "receipt", task: this.id, notice: noticeId(notice), outcome: "VERIFIED", ...over };
  }

  /** One item with the receipts of several members. */
  async receipts(notice: Notice, authors: readonly Signer[], over: Partial<Receipt> = {}): Promise<Item> {
    const statement = this.receipt(notice, over);
    const signed = await Promise.all(authors.map((author) => this.sign(author, statement)));
    return encodeItem(
      statement,
      signed.map(({ signature }) => signature),
    );
  }

  walletReceipt(notice: Notice, account: Address): WalletReceipt {
    return { kind: "walletReceipt", task: this.id, notice: noticeId(notice), outcome: "VERIFIED", account };
  }

  state(notice: Notice, page: number = notice.page): Promise<Record<string, unknown>> {
    return this.world.read("state", this.id, page, noticeId(notice));
  }

  async seq(): Promise<number> {
    return Number((await this.world.read("latest", this.id)).seq);
  }
}

export const newKey = (): Wallet => new Wallet(hexlify(randomBytes(32)));
export const newKeys = (count: number): Wallet[] => Array.from({ length: count }, newKey);
export const random32 = (): Hex => toHex(hexlify(randomBytes(32)));
export const randomAddresses = (count: number): Address[] =>
  Array.from({ length: count }, () => toHex(hexlify(randomBytes(20))));
export const addressOf = (wallet: Wallet): Address => toHex(wallet.address.toLowerCase());
export const item = ({ statement, signature }: Signed): Item => encodeItem(statement, [signature]);
export const named = (code: bigint): Reason => {
  const name = reasonNames[Number(code)];
  if (!name) throw new Error(`the contract answered ${code}`);
  return name;
};

/** The item with its data or signature changed in one byte, which leaves it well-formed. */
export const forged = (signed: Item): Item => {
  const last = Number.parseInt(signed.signatures.slice(64, 66), 16) ^ 1;
  return {
    ...signed,
    signatures:
      `${signed.signatures.slice(0, 64)}${last.toString(16).padStart(2, "0")}${signed.signatures.slice(66)}` as Hex,
  };
};

/** A Receipts event's groups, read by the words of contracts/IWaybill.sol and not by our reader. */
export function groupsIn(event: LogDescription): { notice: string; outcome: number; signatures: string[] }[] {
  const { receipts } = event.args;
  const groups = [];
  for (let at = 0; at < dataLength(receipts); ) {
    const [outcome, count] = getBytes(dataSlice(receipts, at + 32, at + 34)) as unknown as [number, number];
    const signatures = Array.from({ length: count }, (_, i) => dataSlice(receipts, at + 34 + 65 * i, at + 99 + 65 * i));
    groups.push({ notice: dataSlice(receipts, at, at + 32), outcome, signatures });
    at += 34 + 65 * count;
  }
  return groups;
}

export const join = (...parts: string[]): Hex => concat(parts) as Hex;

function relayData(items: readonly Item[]): string {
  return waybill.encodeFunctionData("relay", [items]);
}

function expectDone({ results }: Relayed): void {
  const refused = results.flat().filter((reason) => reason !== "OK");
  if (refused.length > 0) throw new Error(`the test's own set-up was skipped: ${refused.join()}`);
}
