import { HDNodeWallet, JsonRpcProvider, Mnemonic, type Signer, toQuantity, type Wallet } from "ethers";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { feesNow } from "../lib/chain/fees.ts";
import { ChainReader } from "../lib/chain/reader.ts";
import { Rpc } from "../lib/chain/rpc.ts";
import type { WaybillError } from "../lib/index.ts";
import type { Deployment } from "../lib/protocol/deployment.ts";
import type { Message, Signed } from "../lib/protocol/statements.ts";
import { SelfRelay } from "../lib/selfrelay.ts";
import { addressOf, item, newKey, Task, World, waybill } from "./support/contract.ts";
import { coded, eventually, rejection } from "./support/members.ts";
import { type RpcProxy, startRpcProxy } from "./support/rpcproxy.ts";

// What can go wrong between a member that pays for itself and the chain; each ends with the statement there once, or with
// an error that says why not.

const GWEI = 10n ** 9n;
const ETHER = 10n ** 18n;

let world: World;
let task: Task;
let member: Wallet;
const relays: SelfRelay[] = [];
const closers: (() => void)[] = [];

beforeAll(async () => {
  world = await World.start();
  await rpc("evm_setAutomine", true); // out of the mode that mines by the clock as well
});
afterAll(() => world?.stop());
beforeEach(async () => {
  task = await Task.opened(world, 2);
  member = task.members[0]!;
  await fund(member.address);
});
afterEach(async () => {
  for (const relay of relays.splice(0)) relay.close();
  for (const close of closers.splice(0)) close();
  await rpc("anvil_dropAllTransactions");
  await rpc("evm_setAutomine", true);
  await rpc("anvil_setNextBlockBaseFeePerGas", toQuantity(GWEI));
  await rpc("evm_mine");
});

const rpc = (method: string, ...params: unknown[]): Promise<unknown> => world.provider.send(method, params);
const fund = (address: string, wei = ETHER): Promise<unknown> => rpc("anvil_setBalance", address, toQuantity(wei));
const paid = (address = member.address): Promise<number> => world.provider.getTransactionCount(address);

interface Over extends Partial<Deployment> {
  readonly signer?: Signer;
  readonly node?: string;
  readonly cap?: bigint;
}

function rpcOf(url: string): Rpc {
  const line = new Rpc(url);
  closers.push(() => line.close());
  return line;
}

/** A member's way onto the chain. */
function relayOf({ signer = member, node = world.rpc, cap = 500n * GWEI, ...over }: Over = {}): SelfRelay {
  const deployment: Deployment = {
    ...{ ...world.domain, api: "http://127.0.0.1:1", storeOrigin: "http://127.0.0.1:1" },
    ...{ confirmations: 0, blockTime: 100, maxBlockAge: 2_000, ...over },
  };
  const { chainId, contract, confirmations } = deployment;
  const reader = new ChainReader({ rpc: node, chainId, contract, confirmations });
  closers.push(() => reader.close());
  const account = addressOf(member);
  const relay = new SelfRelay({ rpc: rpcOf(node), reader, deployment, signer, account, maxFeePerGas: cap });
  relays.push(relay);
  return relay;
}

/** How often a message of the task is in the contract's logs. */
async function times({ statement }: Signed<Message>): Promise<number> {
  const topics = [waybill.getEvent("Posted")!.topicHash, task.id];
  const logs = await world.provider.getLogs({ address: world.domain.contract, topics, fromBlock: 0 });
  return logs.filter((log) => waybill.parseLog(log)!.args.salt === statement.salt).length;
}

const standing = (signed: Signed<Message>): Promise<true> =>
  eventually(async () => ((await times(signed)) > 0 ? true : null));

/** The prices of the member's transaction that waits for a block. */
async function waiting(nonce = 0): Promise<bigint | null> {
  const pool = (await rpc("txpool_content")) as { pending: Record<string, Record<string, { maxFeePerGas: string }>> };
  const mine = Object.entries(pool.pending).find(([address]) => address.toLowerCase() === addressOf(member));
  const found = mine?.[1][nonce];
  return found ? BigInt(found.maxFeePerGas) : null;
}

describe("a transaction that isn't mined", () => {
  it("because the base fee rose above it is replaced by one that pays more, and the statement stands once", async () => {
    await rpc("evm_setAutomine", false);
    const said = await task.message();
    await relayOf().post(said);
    const first = await eventually(() => waiting());
    await rpc("anvil_setNextBlockBaseFeePerGas", toQuantity(first * 3n));
    const second = await eventually(async () => {
      const price = await waiting();
      return price !== null && price > first ? price : null;
    });
    expect(second).toBeGreaterThanOrEqual((first * 9n) / 8n);
    await rpc("evm_mine");
    await standing(said);
    expect([await times(said), await paid()]).toEqual([1, 1]);
  });

  it("because the node dropped it is given to it again", async () => {
    await rpc("evm_setAutomine", false);
    const said = await task.message();
    await relayOf().post(said);
    await rpc("anvil_dropAllTransactions");
    expect(await waiting()).toBeNull();
    await eventually(() => waiting());
    await rpc("evm_mine");
    await standing(said);
    expect([await times(said), await paid()]).toEqual([1, 1]);
  });

  it("because another program of the account took its nonce is followed by another one", async () => {
    await rpc("evm_setAutomine", false);
    const said = await task.message();
    await relayOf().post(said);
    const gasPrice = 100n * GWEI;
    await member.connect(world.provider).sendTransaction({ to: member.address, nonce: 0, gasPrice, gasLimit: 21_000 });
    await rpc("evm_mine");
    await eventually(() => waiting(1));
    await rpc("evm_mine");
    await standing(said);
    expect([await times(said), await paid()]).toEqual([1, 2]);
  });

  it("because a reorg undid its block is sent again", async () => {
    const said = await task.message();
    await rpc("evm_mine");
    await relayOf({ confirmations: 3 }).post(said);
    await standing(said);
    await rpc("anvil_reorg", 1, []);
    await standing(said);
    await rpc("anvil_mine", "0x4");
    expect(await times(said)).toBe(1);
  });

  it("keeps those that come meanwhile waiting, and they travel in the next one", async () => {
    await rpc("evm_setAutomine", false);
    const relay = relayOf();
    const first = await task.message();
    await relay.post(first);
    const others = await Promise.all(Array.from({ length: 5 }, () => task.message()));
    const posting = Promise.all(others.map((one) => relay.post(one)));
    await rpc("evm_mine");
    await posting;
    expect(await waiting(1)).not.toBeNull();
    await rpc("evm_mine");
    for (const said of [first, ...others]) expect(await times(said)).toBe(1);
    expect(await paid()).toBe(2);
  });
});

describe("a node", () => {
  let proxy: RpcProxy;
  beforeEach(async () => {
    proxy = await startRpcProxy(world.rpc);
    closers.push(() => void proxy.stop());
  });

  it.each(["before", "after"] as const)(
    "that cuts the connection %s it has the transaction: it stands once",
    async (when) => {
      let cuts = 2;
      proxy.cut = ({ method }) => (method === "eth_sendRawTransaction" && cuts-- > 0 ? when : null);
      const said = await task.message();
      await relayOf({ node: proxy.url }).post(said);
      await standing(said);
      expect([await times(said), await paid(), cuts <= 1]).toEqual([1, 1, true]);
    },
  );

  it("that is away is said to be, and its key isn't", async () => {
    proxy.cut = () => "before";
    const error = await rejection(relayOf({ node: proxy.url }).post(await task.message()));
    expect(error).toEqual(coded("UNAVAILABLE"));
    expect(String((error as Error).message)).not.toContain(proxy.key);
  });

  it("of another chain is not paid", async () => {
    proxy.answer = ({ method }, result) => (method === "eth_chainId" ? "0x1" : result);
    expect(await rejection(relayOf({ node: proxy.url }).post(await task.message()))).toEqual(coded("WRONG_CHAIN"));
    expect(await paid()).toBe(0);
  });
});

describe("a purse", () => {
  it("that is empty is said to be before anything is begun and when something is posted, with what is missing", async () => {
    await fund(member.address, 1_000n);
    const relay = relayOf();
    const empty = coded("NOT_PUBLISHED", { reason: "INSUFFICIENT_FUNDS", balance: "1000", needed: expect.any(String) });
    expect(await rejection(relay.check())).toEqual(empty);
    const said = await task.message();
    expect(await rejection(relay.post(said))).toEqual(empty);
    await fund(member.address);
    await relay.check();
    await relay.post(said);
    await standing(said);
  });

  it("that holds what a statement costs now, but not twice that, is enough", async () => {
    const said = await task.message();
    const gas = await world.provider.estimateGas({
      to: world.domain.contract,
      data: waybill.encodeFunctionData("relay", [[item(said)]]),
    });
    const fees = await feesNow(rpcOf(world.rpc), { kind: "market", maxFeePerGas: 500n * GWEI });
    if (fees?.type !== 2) throw new Error("this chain has a market");
    const limit = (gas * 12n) / 10n + 30_000n;
    await fund(member.address, (limit * (fees.maxFeePerGas + fees.maxPriorityFeePerGas) * 55n) / 100n);
    await relayOf().post(said);
    await standing(said);
  });

  it("stays closed while gas costs more than maxFeePerGas, and the statement goes when it falls", async () => {
    const said = await task.message();
    await rpc("anvil_setNextBlockBaseFeePerGas", toQuantity(50n * GWEI));
    const { timestamp } = (await world.provider.getBlock("latest"))!;
    const relay = relayOf({ cap: 10n * GWEI });
    const late = { at: timestamp + 1 };
    expect(await rejection(relay.post(said, late))).toEqual(coded("NOT_PUBLISHED", { reason: "NOT_RELAYED" }));
    const posting = relay.post(said);
    expect(await paid()).toBe(0);
    await rpc("anvil_setNextBlockBaseFeePerGas", toQuantity(GWEI));
    await posting;
    await standing(said);
  });

  it("isn't opened for what stands already", async () => {
    const said = await task.message();
    await world.relay([item(said)]);
    await relayOf().post(said);
    expect(await paid()).toBe(0);
  });

  it("is not needed where gas is free", async () => {
    const free = await World.start({ target: "paris", args: ["--hardfork", "berlin", "--gas-price", "0"] });
    const old = world;
    world = free;
    try {
      task = await Task.opened(free, 1);
      member = task.members[0]!;
      const said = await task.message();
      await relayOf().post(said);
      await standing(said);
      expect([await times(said), await free.provider.getBalance(member.address)]).toEqual([1, 0n]);
    } finally {
      for (const relay of relays.splice(0)) relay.close();
      world = old;
      await free.stop();
    }
  });
});

describe("a statement", () => {
  it("that can't stand is refused at once with the contract's reason, and not paid for", async () => {
    const relay = relayOf();
    const { timestamp } = (await world.provider.getBlock("latest"))!;
    const expired = await task.message({ deadline: timestamp - 1 });
    expect(await rejection(relay.post(expired))).toEqual(coded("REFUSED_STATEMENT", { reason: "EXPIRED" }));
    const stranger = { ...(await task.message()), signature: (await task.message()).signature };
    expect(await rejection(relay.post(stranger))).toEqual(coded("REFUSED_STATEMENT", { reason: "BAD_SIGNATURE" }));
    expect(await paid()).toBe(0);
  });

  it("of two in one moment that exclude each other loses with its reason", async () => {
    await fund(task.owner.address);
    member = task.owner;
    const relay = relayOf();
    const changes = await Promise.all([
      task.change("admit", [addressOf(newKey())], 1),
      task.change("admit", [addressOf(newKey())], 1),
    ]);
    const [first, second] = await Promise.allSettled(changes.map((change) => relay.post(change)));
    expect(first!.status).toBe("fulfilled");
    expect(second).toMatchObject({ reason: coded("REFUSED_STATEMENT", { reason: "STALE_ROSTER" }) });
  });

  it("that needs another one which isn't there yet waits a little for it", async () => {
    member = task.members[1]!;
    await fund(member.address);
    const notice = await task.notice([1]);
    const receipt = await task.sign(member, task.receipt(notice.statement));
    const posting = relayOf().post(receipt);
    await world.relay([item(notice)]);
    await posting;
    await eventually(async () => ((await task.state(notice.statement)).verified ? true : null));
  });

  it("is carried once by two processes of its author that begin at the same moment", async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => task.message()));
    const [one, two] = [relayOf(), relayOf()];
    await Promise.all(all.flatMap((said, i) => (i % 2 ? [one.post(said), two.post(said)] : [one.post(said)])));
    for (const said of all) await standing(said);
    for (const said of all) expect(await times(said)).toBe(1);
  });

  it("that the signer doesn't sign is told from one that the chain refuses", async () => {
    const signer = Object.create(member) as Wallet;
    signer.signTransaction = () => Promise.reject(new Error("no finger on the key"));
    const error = await rejection(relayOf({ signer }).post(await task.message()));
    expect(error).toEqual(coded("NOT_PUBLISHED", { reason: "NOT_SIGNED" }));
    expect((error as WaybillError).cause).toMatchObject({ message: "no finger on the key" });
  });

  it("ends with its contractor, whoever waits", async () => {
    await rpc("evm_setAutomine", false);
    const relay = relayOf({ cap: 1n });
    const posting = rejection(relay.post(await task.message()));
    relay.close();
    expect(await posting).toEqual(coded("ABORTED"));
    expect(await rejection(relay.post(await task.message()))).toEqual(coded("ABORTED"));
  });
});

describe("a browser's wallet", () => {
  let provider: JsonRpcProvider;
  let signer: Signer;
  let key: HDNodeWallet;
  let own: Task;
  beforeEach(async () => {
    // Anvil holds this key and signs only what it sends itself, as a wallet does.
    const root = HDNodeWallet.fromMnemonic(
      Mnemonic.fromPhrase("test test test test test test test test test test test junk"),
      "m/44'/60'/0'/0",
    );
    key = root.deriveChild(5);
    provider = new JsonRpcProvider(world.rpc, world.domain.chainId, {
      staticNetwork: true,
      cacheTimeout: -1,
      pollingInterval: 50,
    });
    closers.push(() => provider.destroy());
    signer = await provider.getSigner(key.address);
    own = await Task.opened(world, [key as unknown as Wallet]);
    task = own;
    member = key as unknown as Wallet;
  });

  it("sends the transaction itself", async () => {
    const before = await paid();
    const said = await own.message();
    await relayOf({ signer }).post(said);
    await standing(said);
    expect([await times(said), (await paid()) - before]).toEqual([1, 1]);
  });

  it("whose owner refuses is not asked again", async () => {
    let asked = 0;
    const refusing = Object.create(signer) as Signer;
    refusing.sendTransaction = () => {
      asked += 1;
      return Promise.reject(new Error("user rejected action"));
    };
    const error = await rejection(relayOf({ signer: refusing }).post(await own.message()));
    expect(error).toEqual(coded("NOT_PUBLISHED", { reason: "WALLET_REFUSED" }));
    expect(asked).toBe(1);
  });

  it("whose owner cancels what it sent is told that nothing came of it", async () => {
    await rpc("evm_setAutomine", false);
    const nonce = await paid();
    const posted = await relayOf({ signer }).post(await own.message());
    await key.connect(provider).sendTransaction({ to: key.address, nonce, gasPrice: 200n * GWEI, gasLimit: 21_000 });
    await rpc("evm_mine");
    const error = await posted.failure(new AbortController().signal);
    expect(error).toEqual(coded("NOT_PUBLISHED", { reason: "WALLET_REFUSED" }));
  });
});
