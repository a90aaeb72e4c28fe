import { Transaction } from "ethers";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { PublisherDeps } from "../functions/publisher.ts";
import type { Hex } from "../lib/protocol/hex.ts";
import type { Signed } from "../lib/protocol/statements.ts";
import { Task, World } from "./support/contract.ts";
import { Desk } from "./support/publishing.ts";
import { type RpcProxy, startRpcProxy } from "./support/rpcproxy.ts";

const GWEI = 10n ** 9n;
const CAP = 1_000n * GWEI;

let world: World;
let desk: Desk;
let proxy: RpcProxy;
let task: Task;

beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world.stop());
beforeEach(async () => {
  desk = await Desk.open(world);
  proxy = await startRpcProxy(world.rpc);
  await rpc("evm_setAutomine", true);
  task = await Task.opened(world, 3);
  await rpc("evm_setAutomine", false);
});
afterEach(async () => {
  await rpc("anvil_dropAllTransactions");
  await rpc("evm_setAutomine", true);
  await desk.mine(1);
  await desk.close();
  await proxy.stop();
});

const rpc = (method: string, ...params: unknown[]): Promise<unknown> => world.provider.send(method, params);
const quantity = (value: bigint): string => `0x${value.toString(16)}`;
const publisher = (over: Partial<PublisherDeps> = {}) =>
  desk.publisher({ blockTime: 20, fees: { kind: "market", maxFeePerGas: CAP }, ...over });

/** Blocks in which nothing of ours is mined although `seconds` pass. */
async function pass(seconds: number, blocks = 3): Promise<void> {
  await rpc("anvil_dropAllTransactions");
  await rpc("evm_increaseTime", seconds);
  await desk.mine(blocks);
}

async function transactions(): Promise<Transaction[]> {
  return (await desk.transactions()).map(({ raw }) => Transaction.from(raw));
}

async function post(count = 1): Promise<{ all: Signed[]; ids: Hex[] }> {
  const all = await Promise.all(Array.from({ length: count }, () => task.message()));
  return { all, ids: await desk.post(...all) };
}

async function expectOnce(all: readonly Signed[], ids: readonly Hex[]): Promise<void> {
  for (const signed of all) expect(await desk.timesOnChain(signed)).toBe(1);
  for (const id of ids) expect(await desk.outbox.state(id)).toMatchObject({ state: "settled" });
  expect(await desk.keys("outbox/")).toEqual([]);
}

/** A transaction of the relayer's key that isn't ours. */
async function foreign(nonce: number, gasPrice: bigint = 100n * GWEI): Promise<void> {
  const { address: from } = desk.relayer;
  await rpc("anvil_impersonateAccount", from);
  const request = { from, to: from, nonce: quantity(BigInt(nonce)), gasPrice: quantity(gasPrice), gas: "0x5208" };
  await rpc("eth_sendTransaction", request);
}

const nextNonce = (): Promise<number> => world.provider.getTransactionCount(desk.relayer.address);

describe("a transaction that pays too little", () => {
  it("is replaced after 20 s and two blocks by one with the same statements and 12.5 % more in both prices", async () => {
    const { all, ids } = await post(3);
    const worker = publisher();
    await worker.step();
    await rpc("anvil_setNextBlockBaseFeePerGas", quantity(50n * GWEI));
    await rpc("evm_increaseTime", 25);
    await rpc("evm_mine"); // one block is not enough
    await worker.step();
    expect(await transactions()).toHaveLength(1);
    await rpc("anvil_setNextBlockBaseFeePerGas", quantity(50n * GWEI));
    await rpc("evm_mine");
    await worker.step();
    const claims = await desk.transactions();
    expect(claims).toHaveLength(2);
    expect(claims[1]!.statements).toEqual(claims[0]!.statements);
    expect(desk.counted.samples()).toContainEqual(expect.objectContaining({ name: "Attempts", value: 1 }));
    const [first, second] = (await transactions()) as [Transaction, Transaction];
    expect(second.nonce).toBe(first.nonce);
    expect(second.data).toBe(first.data);
    expect(second.maxFeePerGas! * 8n).toBeGreaterThanOrEqual(first.maxFeePerGas! * 9n);
    expect(second.maxPriorityFeePerGas! * 8n).toBeGreaterThanOrEqual(first.maxPriorityFeePerGas! * 9n);
    await rpc("evm_mine");
    await desk.drain(worker);
    await expectOnce(all, ids);
  });

  it("is not replaced before 20 s, however many blocks come", async () => {
    await post();
    const worker = publisher();
    await worker.step();
    for (let i = 0; i < 4; i++) {
      await pass(1);
      await worker.step();
    }
    expect(await transactions()).toHaveLength(1);
  });

  it("is not replaced because a worker's clock is wrong", async () => {
    await post();
    await publisher().step();
    await pass(3);
    for (const skew of [-14, 14]) await publisher({ now: () => Date.now() + skew * 60_000 }).step();
    expect(await transactions()).toHaveLength(1);
  });

  it("is replaced by the workers' clocks on a chain that makes no block without it", async () => {
    const { all, ids } = await post();
    await publisher().step();
    await rpc("anvil_dropAllTransactions");
    await publisher({ now: () => Date.now() + 21 * 60_000 }).step();
    expect(await transactions()).toHaveLength(2);
    await rpc("evm_mine");
    await desk.drain();
    await expectOnce(all, ids);
  });

  it("is replaced once by two workers that see it at the same time", async () => {
    await post();
    await publisher().step();
    await pass(25);
    await Promise.all([publisher().step(), publisher().step()]);
    expect(await transactions()).toHaveLength(2);
  });

  it("is settled by whichever attempt was mined, not only the last", async () => {
    const { all, ids } = await post();
    const worker = publisher();
    await worker.step();
    const [first] = await desk.transactions();
    await pass(25);
    await worker.step();
    await rpc("anvil_dropAllTransactions");
    await rpc("eth_sendRawTransaction", first!.raw); // another node still had it
    await rpc("evm_mine");
    await desk.drain(worker);
    await expectOnce(all, ids);
    expect(await transactions()).toHaveLength(2);
    expect(await desk.outbox.state(ids[0]!)).toMatchObject({ transaction: first!.transaction });
  });

  it("waits while the market is above the cap", async () => {
    await post();
    const worker = publisher();
    await worker.step();
    for (let i = 0; i < 3; i++) {
      await rpc("anvil_setNextBlockBaseFeePerGas", quantity(2n * CAP));
      await rpc("evm_increaseTime", 25);
      await rpc("evm_mine");
      await worker.step();
    }
    expect(await transactions()).toHaveLength(1);
    expect(desk.log.filter((line) => line.includes("above the cap"))).toHaveLength(1); // and says so once
  });
});

describe("a hopeless nonce", () => {
  it("is freed by a no-op after five transactions, within the cap, and its statements go again", async () => {
    const { all, ids } = await post(2);
    const nonce = await nextNonce();
    const worker = publisher({ fees: { kind: "market", maxFeePerGas: 4n * GWEI } });
    while ((await transactions()).length < 6) {
      await pass(25);
      await rpc("anvil_setNextBlockBaseFeePerGas", quantity(2n * GWEI)); // near all that the first one may pay
      await desk.mine(1);
      await worker.step();
    }
    const tried = await transactions();
    expect(tried.map((transaction) => transaction.nonce)).toEqual(Array(6).fill(nonce));
    for (const [i, { maxFeePerGas }] of tried.entries())
      if (i > 0) expect(maxFeePerGas! * 8n).toBeGreaterThanOrEqual(tried[i - 1]!.maxFeePerGas! * 9n);
    const noop = tried[5]!;
    expect(noop).toMatchObject({ data: "0x", value: 0n, gasLimit: 21_000n });
    expect(noop.to?.toLowerCase()).toBe(desk.relayer.address);
    expect(noop.maxFeePerGas).toBeLessThanOrEqual(4n * GWEI);
    expect((await desk.transactions()).map(({ statements }) => statements.length)).toEqual([2, 2, 2, 2, 2, 0]);
    for (const signed of all) expect(await desk.timesOnChain(signed)).toBe(0);

    await rpc("evm_setAutomine", true);
    await rpc("evm_mine");
    expect(await world.provider.getTransactionReceipt(noop.hash!)).not.toBeNull();
    await desk.drain(worker);
    await expectOnce(all, ids);
    expect((await transactions()).at(-1)!.nonce).toBe(nonce + 1);
  });

  it("whose no-op isn't mined either is not given more than the cap", async () => {
    await post();
    const worker = publisher({ fees: { kind: "market", maxFeePerGas: 40n * GWEI } });
    for (let attempt = 0; attempt < 12; attempt++) {
      await pass(25);
      await worker.step();
    }
    const tried = await transactions();
    expect(tried.length).toBeGreaterThan(6);
    for (const { maxFeePerGas } of tried) expect(maxFeePerGas).toBeLessThanOrEqual(40n * GWEI);
    expect(desk.log.filter((line) => line.includes("given up"))).toHaveLength(1);
  });
});

describe("a foreign transaction of the relayer's key", () => {
  it("that used our nonce makes us send again under another one, once that is final", async () => {
    const { all, ids } = await post();
    const nonce = await nextNonce();
    const worker = publisher({ confirmations: 2 });
    await worker.step();
    await rpc("anvil_dropAllTransactions");
    await foreign(nonce);
    await rpc("evm_mine");
    for (let block = 0; block < 2; block++) {
      await worker.step();
      expect(await transactions()).toHaveLength(1); // it may be undone, and ours be mined
      await desk.mine(1);
    }
    await worker.step();
    expect((await transactions()).map((transaction) => transaction.nonce)).toEqual([nonce, nonce + 1]);
    await desk.mine(3);
    await desk.drain(worker);
    await expectOnce(all, ids);
  });

  it("that is undone leaves no gap below ours", async () => {
    const { all, ids } = await post();
    const nonce = await nextNonce();
    await foreign(nonce);
    await rpc("evm_mine");
    const worker = publisher({ confirmations: 4 });
    await worker.step();
    expect((await transactions()).map((transaction) => transaction.nonce)).toEqual([nonce + 1]);
    await rpc("anvil_dropAllTransactions");
    await rpc("anvil_reorg", 1, []);
    expect(await nextNonce()).toBe(nonce);
    await worker.step();
    expect((await transactions()).map((transaction) => [transaction.nonce, transaction.data === "0x"])).toEqual([
      [nonce, true],
      [nonce + 1, false],
    ]);
    await rpc("evm_mine");
    await desk.mine(4);
    await desk.drain(worker);
    await expectOnce(all, ids);
  });

  it("that waits at our nonce and pays more only delays us", async () => {
    const { all, ids } = await post();
    const nonce = await nextNonce();
    await foreign(nonce);
    const worker = publisher();
    await worker.step();
    expect(desk.log.join()).toMatch(/underpriced/);
    await rpc("evm_mine");
    await rpc("evm_setAutomine", true);
    await desk.drain(worker);
    await expectOnce(all, ids);
    expect(await nextNonce()).toBe(nonce + 2);
  });
});

describe("what a node says about a transaction proves nothing:", () => {
  it.each([
    "nonce too low",
    "already known",
    "replacement transaction underpriced",
    "INTERNAL_ERROR: known transaction",
  ])("%s", async (words) => {
    const { all, ids } = await post(2);
    proxy.refuse = ({ method }) => (method === "eth_sendRawTransaction" ? words : null);
    const worker = publisher({ rpc: proxy.url });
    await worker.step();
    expect(await desk.outbox.state(ids[0]!)).toEqual({ state: "pending" });
    await rpc("evm_mine");
    await desk.drain(worker);
    await expectOnce(all, ids);
    expect(await transactions()).toHaveLength(1);
  });
});

describe("where gas is free", () => {
  it("nothing is raised: the same type-0 transaction is broadcast again", async () => {
    const { all, ids } = await post();
    const worker = publisher({ fees: { kind: "free" } });
    await worker.step();
    for (let i = 0; i < 3; i++) {
      await pass(60);
      await worker.step();
    }
    const [only, ...more] = await transactions();
    expect(more).toEqual([]);
    expect(only).toMatchObject({ type: 0, gasPrice: 0n });
    await rpc("anvil_setNextBlockBaseFeePerGas", "0x0");
    await worker.step();
    await rpc("evm_mine");
    await desk.drain(worker);
    await expectOnce(all, ids);
    await rpc("anvil_setNextBlockBaseFeePerGas", quantity(GWEI));
  });
});

describe("where there is a gas price and no EIP-1559", () => {
  it("type-0 transactions pay the node's price, and 12.5 % more when they aren't mined, within the cap", async () => {
    const { all, ids } = await post();
    const worker = publisher({ fees: { kind: "legacy", maxGasPrice: CAP } });
    await worker.step();
    await pass(25);
    await worker.step();
    const [first, second] = (await transactions()) as [Transaction, Transaction];
    expect(first).toMatchObject({ type: 0, gasPrice: expect.any(BigInt) });
    expect(second.type).toBe(0);
    expect(second.gasPrice! * 8n).toBeGreaterThanOrEqual(first.gasPrice! * 9n);
    await rpc("evm_mine");
    await desk.drain(worker);
    await expectOnce(all, ids);
  });

  it("they wait while that price is above the cap", async () => {
    await post();
    await publisher({ fees: { kind: "legacy", maxGasPrice: 1n } }).step();
    expect(await transactions()).toEqual([]);
    expect(desk.log.join()).toContain("above the cap");
  });
});

describe("an empty account", () => {
  it("claims nothing, says so once, and goes on when it is filled", async () => {
    const { all, ids } = await post();
    const balance = await rpc("eth_getBalance", desk.relayer.address, "latest");
    await rpc("anvil_setBalance", desk.relayer.address, "0x0");
    const worker = publisher();
    for (let i = 0; i < 3; i++) {
      await worker.step();
      await pass(25);
    }
    expect(await transactions()).toEqual([]);
    expect(desk.log.filter((line) => line.includes("insufficient funds"))).toEqual([
      expect.stringMatching(`"level":"ERROR".*"account":"${desk.relayer.address}","alarm":"NO_FUNDS"`),
    ]);
    await rpc("anvil_setBalance", desk.relayer.address, balance);
    await rpc("evm_setAutomine", true);
    await desk.drain(worker);
    await expectOnce(all, ids);
  });

  it("raises nothing that it can't pay", async () => {
    await post();
    const balance = await rpc("eth_getBalance", desk.relayer.address, "latest");
    const worker = publisher();
    await worker.step();
    await rpc("anvil_setBalance", desk.relayer.address, "0x0");
    await pass(25);
    await worker.step();
    expect(await transactions()).toHaveLength(1);
    await rpc("anvil_setBalance", desk.relayer.address, balance);
    await worker.step();
    expect(await transactions()).toHaveLength(2);
  });
});

describe("several transactions", () => {
  it("share a block when one can't carry all", async () => {
    const payload: Hex = `0x${"ab".repeat(4096)}`;
    const all = await Promise.all(Array.from({ length: 70 }, () => task.message({ payload })));
    const ids = await Promise.all(all.map((signed) => desk.outbox.post(signed)));
    const worker = publisher();
    await worker.step();
    const nonces = (await transactions()).map(({ nonce }) => nonce);
    expect(nonces.length).toBeGreaterThan(2);
    expect(nonces).toEqual(nonces.map((_, i) => nonces[0]! + i));
    await rpc("evm_mine");
    const settled = await Promise.all(nonces.map((_, i) => transactions().then((found) => found[i]!.hash!)));
    const blocks = await Promise.all(
      settled.map(async (hash) => (await world.provider.getTransactionReceipt(hash))?.blockNumber),
    );
    expect(new Set(blocks).size).toBe(1);
    await desk.drain(worker);
    await expectOnce(all, ids);
  });

  it("are not more than eight at a time, and lost ones are sent again in their order", async () => {
    const payload: Hex = `0x${"ab".repeat(4096)}`;
    const all = await Promise.all(Array.from({ length: 270 }, () => task.message({ payload })));
    await Promise.all(all.map((signed) => desk.outbox.post(signed)));
    const worker = publisher();
    await worker.step();
    expect(await transactions()).toHaveLength(8);
    await rpc("anvil_dropAllTransactions");
    await worker.step();
    expect(await transactions()).toHaveLength(8);
    expect(await rpc("txpool_status")).toMatchObject({ pending: "0x8" });
  });
});
