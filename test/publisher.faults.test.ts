import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { OutboxStore } from "../functions/outbox.ts";
import type { Hex } from "../lib/protocol/hex.ts";
import type { Signed } from "../lib/protocol/statements.ts";
import { addressOf, item, Task, World, waybill } from "./support/contract.ts";
import { Desk, failing } from "./support/publishing.ts";
import { type RpcProxy, startRpcProxy } from "./support/rpcproxy.ts";

let world: World;
let desk: Desk;
let proxy: RpcProxy;

beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world.stop());
beforeEach(async () => {
  desk = await Desk.open(world);
  proxy = await startRpcProxy(world.rpc);
});
afterEach(async () => {
  await world.provider.send("evm_setAutomine", [true]);
  await desk.close();
  await proxy.stop();
});

/** Three statements of which the second needs the first, and the third needs the second. */
async function statements(): Promise<Signed[]> {
  const task = Task.draft(world, 2);
  const notice = await task.notice([1]);
  const receipt = await task.sign(task.members[1]!, task.receipt(notice.statement));
  return [await task.sign(task.owner, task.open), notice, receipt];
}

async function expectAllOnceAndSettled(all: readonly Signed[], ids: readonly Hex[]): Promise<void> {
  for (const signed of all) expect(await desk.timesOnChain(signed)).toBe(1);
  for (const id of ids) {
    const state = await desk.outbox.state(id);
    expect(state).toMatchObject({ state: "settled", transaction: expect.any(String), block: expect.any(Number) });
    const mined = await world.provider.getTransactionReceipt(String(state.state === "settled" && state.transaction));
    expect(state).toMatchObject({ block: mined?.blockNumber });
  }
  expect(await desk.keys("outbox/")).toEqual([]);
}

describe("a publisher that dies leaves everything to the next one:", () => {
  const atStore: [string, (operation: string, key: string) => "before" | "after" | null][] = [
    ["before it claims", (op, key) => (op === "putJson" && key.startsWith("relay/") ? "before" : null)],
    ["right after its claim", (op, key) => (op === "putJson" && key.startsWith("relay/") ? "after" : null)],
    ["before it writes a settlement", (op, key) => (op === "putJson" && key.startsWith("settled/") ? "before" : null)],
    ["between settling and deleting", (op, key) => (op === "delete" && key.startsWith("outbox/") ? "before" : null)],
    ["right after deleting", (op, key) => (op === "delete" && key.startsWith("outbox/") ? "after" : null)],
    ["before it sees the outbox", (op, key) => (op === "list" && key.startsWith("outbox/") ? "before" : null)],
  ];
  it.each(atStore)("%s", async (_when, when) => {
    const all = await statements();
    const ids = await desk.post(...all);
    const store: OutboxStore = failing(desk.store, when);
    await expect(desk.publisher({ store }).step()).rejects.toThrow("injected");
    await desk.drain();
    await expectAllOnceAndSettled(all, ids);
  });

  it.each([
    ["before its transaction is broadcast", "eth_sendRawTransaction", "before"],
    ["after its transaction is broadcast", "eth_sendRawTransaction", "after"],
    ["after its transaction is mined", "eth_getTransactionReceipt", "before"],
    ["while it simulates", "eth_call", "before"],
    ["while it asks for fees", "eth_feeHistory", "before"],
  ] as const)("%s", async (_when, method, moment) => {
    const all = await statements();
    const ids = await desk.post(...all);
    proxy.cut = (call) => (call.method === method ? moment : null);
    await expect(desk.publisher({ rpc: proxy.url }).step()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await desk.drain();
    await expectAllOnceAndSettled(all, ids);
  });

  it("whichever of its calls to bucket and chain is the last", async () => {
    const all = await statements();
    const ids = await desk.post(...all);
    for (let last = 0, ended = false; !ended && last < 60; last++) {
      let calls = 0;
      const store = failing(desk.store, () => (calls++ >= last ? "before" : null));
      proxy.cut = () => (calls++ >= last ? "before" : null);
      ended = await desk
        .publisher({ store, rpc: proxy.url })
        .step()
        .then(({ pending }) => pending === 0)
        .catch(() => false);
    }
    await desk.drain();
    await expectAllOnceAndSettled(all, ids);
    expect(await desk.events("Skipped")).toEqual([]);
  });
});

describe("two publishers", () => {
  it("publish everything once, whoever claims", async () => {
    const all = await statements();
    const ids = await desk.post(...all);
    const [one, two] = [desk.publisher(), desk.publisher()];
    for (let steps = 0; steps < 5; steps++) await Promise.all([one.step(), two.step()]);
    await expectAllOnceAndSettled(all, ids);
    expect(await desk.events("Skipped")).toEqual([]);
  });

  it("send the same transaction when one's claim came first", async () => {
    const all = await statements();
    const ids = await desk.post(...all);
    const late = await (await opened()).message();
    const rival = desk.publisher({ confirmations: 2 }); // it leaves the settling to the other
    let raced = false;
    const store = failing(desk.store, () => null);
    const slow: OutboxStore = {
      ...store,
      putJson: async (...values) => {
        if (values[0].startsWith("relay/") && !raced) {
          raced = true;
          ids.push(...(await desk.post(late))); // so the rival's transaction is another one
          await rival.step();
        }
        return store.putJson(...values);
      },
    };
    await desk.publisher({ store: slow }).step();
    await desk.drain();
    expect(raced).toBe(true);
    await expectAllOnceAndSettled([...all, late], ids);
    expect(await desk.keys("relay/")).toHaveLength(1);
  });
});

describe("a transaction that isn't mined", () => {
  it("is broadcast again after the node forgot it, and nothing else takes its nonce or goes before it", async () => {
    const all = await statements();
    const late = await (await opened()).message();
    await world.provider.send("evm_setAutomine", [false]);
    const ids = await desk.post(...all);
    const publisher = desk.publisher({ blockTime: 30 });
    expect(await publisher.step()).toEqual({ pending: 3, moved: false });
    await world.provider.send("anvil_dropAllTransactions", []);
    expect((await world.provider.send("txpool_status", [])).pending).toBe("0x0");
    ids.push(...(await desk.post(late))); // while the first transaction hangs
    expect(await publisher.step()).toEqual({ pending: 4, moved: false });
    expect((await world.provider.send("txpool_status", [])).pending).toBe("0x2");
    expect(await desk.keys("relay/")).toHaveLength(2);
    await desk.mine(1);
    await world.provider.send("evm_setAutomine", [true]);
    await desk.drain(publisher);
    await expectAllOnceAndSettled([...all, late], ids);
    expect(await desk.keys("relay/")).toHaveLength(2);
  });

  it("gives way when another transaction of the same key took its nonce", async () => {
    const all = await statements();
    const ids = await desk.post(...all);
    proxy.cut = (call) => (call.method === "eth_sendRawTransaction" ? "before" : null);
    await expect(desk.publisher({ rpc: proxy.url }).step()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await world.provider.send("anvil_impersonateAccount", [desk.relayer.address]);
    const { address } = desk.relayer;
    const foreign = await world.provider.send("eth_sendTransaction", [{ from: address, to: address }]);
    await world.mined(foreign);
    await desk.drain();
    await expectAllOnceAndSettled(all, ids);
    expect(await desk.keys("relay/")).toHaveLength(2);
  });

  it("waits for an empty account to be filled", async () => {
    const all = await statements();
    const ids = await desk.post(...all);
    const balance = await world.provider.send("eth_getBalance", [desk.relayer.address, "latest"]);
    await world.provider.send("anvil_setBalance", [desk.relayer.address, "0x0"]);
    const publisher = desk.publisher({ blockTime: 20 });
    await publisher.step();
    await publisher.step();
    expect(desk.log.join()).toMatch(/insufficient funds/i);
    await world.provider.send("anvil_setBalance", [desk.relayer.address, balance]);
    await desk.drain(publisher);
    await expectAllOnceAndSettled(all, ids);
  });
});

describe("with two confirmations", () => {
  it("nothing is settled before the second block on top", async () => {
    const all = await statements();
    const ids = await desk.post(...all);
    const publisher = desk.publisher({ confirmations: 2 });
    await publisher.step();
    for (const signed of all) expect(await desk.timesOnChain(signed)).toBe(1);
    for (let block = 0; block < 2; block++) {
      await publisher.step();
      for (const id of ids) expect(await desk.outbox.state(id)).toEqual({ state: "pending" });
      await desk.mine(1);
    }
    expect((await publisher.step()).pending).toBe(0);
    await expectAllOnceAndSettled(all, ids);
    expect(await desk.keys("relay/")).toHaveLength(1);
  });

  it("a receipt in a block that doesn't count yet proves nothing", async () => {
    const all = await statements();
    const ids = await desk.post(...all);
    await desk.publisher({ confirmations: 2 }).step();
    await desk.mine(2);
    proxy.answer = ({ method }, result) =>
      method === "eth_getTransactionReceipt" ? { ...(result as object), blockNumber: "0xffffff" } : result;
    await desk.publisher({ confirmations: 2, rpc: proxy.url }).step();
    for (const id of ids) expect(await desk.outbox.state(id)).toMatchObject({ transaction: null });
  });

  it("a reorg sends everything again", async () => {
    const all = await statements();
    const ids = await desk.post(...all);
    const publisher = desk.publisher({ confirmations: 2 });
    const before = await world.provider.send("evm_snapshot", []);
    await publisher.step();
    await desk.mine(1);
    await publisher.step();
    await world.provider.send("evm_revert", [before]);
    for (const signed of all) expect(await desk.timesOnChain(signed)).toBe(0);
    await desk.mine(3);
    await publisher.step();
    for (const id of ids) expect(await desk.outbox.state(id)).toEqual({ state: "pending" });
    await desk.mine(2);
    await desk.drain(publisher);
    await expectAllOnceAndSettled(all, ids);
  });

  it("what its author relayed is settled only when that is final, and sent by us when it was undone", async () => {
    const task = await opened();
    await desk.mine(2);
    const message = await task.message();
    const before = await world.provider.send("evm_snapshot", []);
    await relayByAuthor(message);
    const [id] = await desk.post(message);
    const publisher = desk.publisher({ confirmations: 2 });
    await desk.mine(1);
    expect(await publisher.step()).toEqual({ pending: 1, moved: false }); // a duplicate at the newest block: wait
    expect(await desk.keys("relay/")).toEqual([]);
    await world.provider.send("evm_revert", [before]);
    await publisher.step();
    expect(await desk.timesOnChain(message)).toBe(1);
    await desk.mine(2);
    await desk.drain(publisher);
    await expectAllOnceAndSettled([message], [id!]);
  });

  it("an author's own relaying is settled once it is deep enough", async () => {
    const task = await opened();
    const message = await task.message();
    await world.relay([item(message)]);
    const [id] = await desk.post(message);
    const publisher = desk.publisher({ confirmations: 2 });
    await publisher.step();
    await desk.mine(2);
    await desk.drain(publisher);
    expect(await desk.outbox.state(id!)).toMatchObject({ state: "settled", transaction: null });
  });

  it("of two receipts in one item only the one that counted is settled", async () => {
    const task = await Task.opened(world, 3);
    const notice = await task.noticed([1, 2]);
    const [, one, two] = task.members;
    const receipts = await Promise.all([one!, two!].map((author) => task.sign(author, task.receipt(notice))));
    const expel = await task.change("expel", [addressOf(two!)], 1);
    await world.provider.send("evm_setAutomine", [false]);
    const publisher = desk.publisher({ confirmations: 2, blockTime: 20 });
    const [first, second] = await desk.post(...receipts);
    await publisher.step();
    await world.provider.send("anvil_dropAllTransactions", []); // so that the owner's comes first
    await world.provider.send("evm_setAutomine", [true]);
    await world.relay([item(expel)]);
    await publisher.step();
    await desk.mine(2);
    await desk.drain(publisher);
    expect(await desk.outbox.state(first!)).toMatchObject({ state: "settled", transaction: expect.any(String) });
    expect(await desk.outbox.state(second!)).toEqual({ state: "refused", reason: "EXPELLED" });
  });

  it("a statement that was overtaken in the block is refused once that is final", async () => {
    const task = await opened();
    const message = await task.message();
    const expel = await task.change("expel", [addressOf(task.members[0]!)], 1);
    await world.provider.send("evm_setAutomine", [false]);
    const publisher = desk.publisher({ confirmations: 2, blockTime: 20 });
    const [id] = await desk.post(message);
    await publisher.step();
    await world.provider.send("anvil_dropAllTransactions", []); // so that the owner's comes first
    await world.provider.send("evm_setAutomine", [true]);
    await world.relay([item(expel)]);
    await publisher.step();
    expect(await desk.events("Skipped")).not.toEqual([]);
    await publisher.step(); // as long as its transaction may be undone, nobody judges it
    expect(await desk.outbox.state(id!)).toEqual({ state: "pending" });
    await desk.mine(2);
    await desk.drain(publisher);
    expect(await desk.outbox.state(id!)).toEqual({ state: "refused", reason: "EXPELLED" });
    expect(await desk.timesOnChain(message)).toBe(0);
  });
});

const opened = (): Promise<Task> => Task.opened(world, 2);

/** From another account than the tests' own, whose nonces would not survive a reorg. */
async function relayByAuthor(signed: Signed): Promise<void> {
  const [, , , , , , , from] = (await world.provider.send("eth_accounts", [])) as string[];
  const data = waybill.encodeFunctionData("relay", [[item(signed)]]);
  const sent = await world.provider.send("eth_sendTransaction", [{ from, to: world.domain.contract, data }]);
  await world.mined(sent);
}
