import { keccak256, toQuantity } from "ethers";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Claims } from "../functions/claims.ts";
import { Outbox, type OutboxStore } from "../functions/outbox.ts";
import { relayData } from "../lib/chain/relay.ts";
import type { Hex } from "../lib/protocol/hex.ts";
import type { Message, Signed } from "../lib/protocol/statements.ts";
import { addressOf, item, Task, World } from "./support/contract.ts";
import { Desk } from "./support/publishing.ts";
import { type RpcProxy, startRpcProxy } from "./support/rpcproxy.ts";

/**
 * A wallet for which every signature is right while it is only asked (a call has no gas price), and none on the chain.
 * GASPRICE ISZERO PUSH4 magic MUL, shifted to the left of a word, returned.
 */
const TWO_FACED = "0x6013600c60003960136000f3" + "3a15631626ba7e0260e01b60005260206000f3";
const MINUTE = 60_000;

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
  await rpc("evm_setAutomine", true);
  await desk.mine(1);
  await desk.close();
  await proxy.stop();
});

const rpc = (method: string, ...params: unknown[]): Promise<unknown> => world.provider.send(method, params);
const paused = async (): Promise<void> => {
  await rpc("evm_setAutomine", true); // out of the mixed mode
  await rpc("evm_setAutomine", false);
};

/** The store, with something that happens right before a write under a prefix, once. */
function interrupted(prefix: string, happens: () => Promise<unknown>): OutboxStore {
  let done = false;
  const { store } = desk;
  return {
    getJson: (key) => store.getJson(key),
    list: (...values) => store.list(...values),
    delete: (key) => store.delete(key),
    putJson: async (...values) => {
      if (values[0].startsWith(prefix) && !done) {
        done = true;
        await happens();
      }
      return store.putJson(...values);
    },
  };
}

/** A member's message that is refused until somebody admits the member again. */
async function expelledMember(): Promise<{ task: Task; message: Signed<Message>; expel: Signed; admit: Signed }> {
  const task = await Task.opened(world, 3);
  const member = addressOf(task.members[2]!);
  const { statement } = await task.message({ sender: member });
  const message = await task.sign(task.members[2]!, statement);
  const expel = await task.change("expel", [member], 1);
  return { task, message, expel, admit: await task.change("admit", [member], 2) };
}

const times = (signed: Signed): Promise<number> => desk.timesOnChain(signed);

describe("never both refused and on the chain:", () => {
  it("who claims a statement in the light of an old view comes too late for a refusal", async () => {
    const { message, expel, admit } = await expelledMember();
    const [id] = await desk.post(message);
    const slow = desk.publisher({
      store: interrupted("relay/", async () => {
        await world.relay([item(expel)]);
        await desk.publisher().step(); // refuses
        await world.relay([item(admit)]); // and now it would count
      }),
    });
    await slow.step();
    await desk.drain();
    await desk.publisher().step();
    expect(await desk.outbox.state(id!)).toEqual({ state: "refused", reason: "EXPELLED" });
    expect(await times(message)).toBe(0);
    expect(await desk.transactions()).toEqual([]);
  });

  it("who refuses a statement in the light of an old view comes too late for a claim", async () => {
    const { message, expel, admit } = await expelledMember();
    const [id] = await desk.post(message);
    await world.relay([item(expel)]);
    const slow = desk.publisher({
      store: interrupted("relay/", async () => {
        await world.relay([item(admit)]);
        await desk.publisher({ confirmations: 3 }).step(); // publishes, and settles nothing yet
      }),
    });
    await slow.step();
    await desk.drain();
    expect(await desk.outbox.state(id!)).toMatchObject({ state: "settled" });
    expect(await times(message)).toBe(1);
  });

  it("what is refused at the newest block alone waits, and counts after a reorg", async () => {
    const { message, expel } = await expelledMember();
    await desk.mine(3);
    const before = await rpc("evm_snapshot");
    const from = ((await rpc("eth_accounts")) as string[])[7];
    const data = relayData([item(expel)]);
    const sent = await rpc("eth_sendTransaction", { from, to: world.domain.contract, data, gas: "0xf4240" });
    await world.mined(sent);
    const [id] = await desk.post(message);
    const publisher = desk.publisher({ confirmations: 2 });
    await publisher.step();
    expect(await desk.outbox.state(id!)).toEqual({ state: "pending" });
    await rpc("evm_revert", before);
    await publisher.step();
    expect(await times(message)).toBe(1);
    await desk.mine(2);
    await desk.drain(publisher);
    expect(await desk.outbox.state(id!)).toMatchObject({ state: "settled" });
  });

  it("what its author relayed is not refused, however old, because the final block doesn't know its task yet", async () => {
    const task = Task.draft(world, 2);
    await desk.mine(3);
    const [open, message] = [await task.sign(task.owner, task.open), await task.message()];
    await world.relay([item(open), item(message)]);
    const ids = await desk.post(open, message);
    const publisher = desk.publisher({ confirmations: 2, now: () => Date.now() + 60 * MINUTE });
    await publisher.step();
    for (const id of ids) expect(await desk.outbox.state(id)).toEqual({ state: "pending" });
    await desk.mine(2);
    await desk.drain(publisher);
    for (const id of ids) expect(await desk.outbox.state(id)).toMatchObject({ state: "settled" });
  });

  it("what somebody else put on the chain is not refused, however old, while a reorg may undo it", async () => {
    const task = Task.draft(world, 2);
    await desk.mine(3);
    const [open, message] = [await task.sign(task.owner, task.open), await task.message()];
    await world.relay([item(open), item(message)]);
    const id = await new Outbox(desk.store, world.domain, { now: () => 1_000 }).post(message);
    const publisher = desk.publisher({ confirmations: 2 });
    await publisher.step(); // the final block knows no such task, and the newest one has the message
    expect(await desk.outbox.state(id)).toEqual({ state: "pending" });
    await desk.mine(2);
    await desk.drain(publisher);
    expect(await desk.outbox.state(id)).toMatchObject({ state: "settled" });
  });

  it("what a reorg moves into a later block, while we look, is settled when that one is final", async () => {
    const task = await Task.opened(world, 2);
    const message = await task.message();
    const [id] = await desk.post(message);
    const before = await rpc("evm_snapshot");
    await desk.publisher({ confirmations: 2 }).step();
    await desk.mine(2);
    const reorg = async (): Promise<void> => {
      const [claim] = await desk.transactions();
      await rpc("evm_revert", before);
      await desk.mine(1);
      await world.mined(await rpc("eth_sendRawTransaction", claim!.raw));
      await desk.mine(1); // as high as before
    };
    let reorgs = 0;
    const { store } = desk;
    const list: OutboxStore["list"] = async (...values) => {
      if (values[0].startsWith("outbox/") && reorgs++ === 0) await reorg(); // the turn has seen its final block by then
      return store.list(...values);
    };
    const slow: OutboxStore = {
      list,
      getJson: (key) => store.getJson(key),
      putJson: (...values) => store.putJson(...values),
      delete: (key) => store.delete(key),
    };
    const publisher = desk.publisher({ store: slow, confirmations: 2 });
    await publisher.step();
    expect([reorgs > 0, await times(message)]).toEqual([true, 1]);
    expect(await desk.outbox.state(id!)).toEqual({ state: "pending" });
    await desk.mine(2);
    await desk.drain(publisher);
    expect(await desk.outbox.state(id!)).toMatchObject({ state: "settled" });
  });

  it("a refusal that was written down is completed by the next worker, though it could count again", async () => {
    const { message, expel, admit } = await expelledMember();
    const [id] = await desk.post(message);
    await world.relay([item(expel)]);
    const dying = interrupted("settled/", async () => {
      throw new Error("killed");
    });
    await expect(desk.publisher({ store: dying }).step()).rejects.toThrow("killed");
    await world.relay([item(admit)]);
    await desk.drain();
    expect(await desk.outbox.state(id!)).toEqual({ state: "refused", reason: "EXPELLED" });
    expect(await times(message)).toBe(0);
  });

  it("a refusal is void when somebody claimed the statement at a higher nonce meanwhile, having seen another chain", async () => {
    const { message, expel, admit } = await expelledMember();
    const [id] = await desk.post(message);
    await world.relay([item(expel)]);
    const { store, relayer } = desk;
    const elsewhere = async (): Promise<void> => {
      await world.relay([item(admit)]);
      // Whoever sees a foreign transaction of our key at this nonce claims the next one.
      const nonce = (await world.provider.getTransactionCount(relayer.address)) + 1;
      const fees = { type: 2, maxFeePerGas: 10n ** 11n, maxPriorityFeePerGas: 10n ** 9n } as const;
      const deed = { to: world.domain.contract, data: relayData([item(message)]), gasLimit: 300_000, value: 0 };
      const raw = await relayer.sign({ ...fees, ...deed, chainId: world.domain.chainId, nonce });
      const { number: block, timestamp: time } = (await world.provider.getBlock("latest"))!;
      const claim = {
        transaction: keccak256(raw) as Hex,
        raw,
        gasLimit: 300_000,
        maxFee: 10n ** 11n,
        statements: [id!],
      };
      const claims = new Claims(store, world.domain, relayer.address);
      await claims.claim({ nonce, slot: 0, ...claim, claimed: Date.now(), block, time });
    };
    await desk.publisher({ store: interrupted("relay/", elsewhere) }).step();
    expect(await desk.outbox.state(id!)).toEqual({ state: "pending" });
    await desk.drain();
    expect(await desk.outbox.state(id!)).toMatchObject({ state: "settled" });
    expect(await times(message)).toBe(1);
  });

  it("nothing is refused for its age before a block came after it", async () => {
    const message = await Task.draft(world, 2).message();
    const arrival = ((await world.now()) + 5) * 1000;
    const id = await new Outbox(desk.store, world.domain, { now: () => arrival }).post(message);
    const publisher = desk.publisher({ now: () => arrival + 60 * MINUTE });
    await publisher.step();
    expect(await desk.outbox.state(id)).toEqual({ state: "pending" });
    await rpc("evm_increaseTime", 10);
    await desk.mine(1);
    await publisher.step();
    expect(await desk.outbox.state(id)).toEqual({ state: "refused", reason: "UNKNOWN_TASK" });
  });

  it("a receipt that was accepted before the deadline and is mined after it is refused as expired", async () => {
    const task = await Task.opened(world, 3);
    const notice = await task.noticed([1, 2], { deadline: (await world.now()) + 60 });
    const receipt = await task.sign(task.members[1]!, task.receipt(notice));
    const [id] = await desk.post(receipt);
    await paused();
    const publisher = desk.publisher({ confirmations: 1, blockTime: 20 });
    await publisher.step();
    expect(await desk.transactions()).toHaveLength(1);
    await rpc("evm_increaseTime", 120);
    await rpc("evm_mine");
    await publisher.step();
    expect(await desk.outbox.state(id!)).toEqual({ state: "pending" }); // it may still be mined earlier, in another block
    await desk.mine(1);
    await publisher.step();
    expect(await desk.outbox.state(id!)).toEqual({ state: "refused", reason: "EXPIRED" });
    expect(await times(receipt)).toBe(0);
  });
});

describe("behind what is on its way", () => {
  it("a notice waits for its task, and a receipt for its notice, and neither is refused, however old", async () => {
    const task = Task.draft(world, 3);
    const notice = await task.notice([1, 2]);
    const receipt = await task.sign(task.members[1]!, task.receipt(notice.statement));
    await paused();
    const publisher = desk.publisher({ blockTime: 20 });
    const longAgo = new Outbox(desk.store, world.domain, { now: () => 1_000 });
    const open = await task.sign(task.owner, task.open);
    const ids = [await longAgo.post(open)];
    await publisher.step();
    for (const signed of [notice, receipt]) ids.push(await longAgo.post(signed));
    await publisher.step();
    expect(await desk.transactions()).toHaveLength(1);
    for (const id of ids) expect(await desk.outbox.state(id)).toEqual({ state: "pending" });
    await rpc("evm_setAutomine", true);
    await desk.mine(1);
    await desk.drain(publisher);
    for (const signed of [open, notice, receipt]) expect(await times(signed)).toBe(1);
    expect(await desk.events("Skipped")).toEqual([]);
  });

  it("nothing overtakes or outruns a Withdraw or a roster change, and other tasks go on", async () => {
    const [task, other] = [await Task.opened(world, 4), await Task.opened(world, 2)];
    const notice = await task.noticed([1, 2]);
    await paused();
    const publisher = desk.publisher({ blockTime: 20 });
    const [withdrawn] = await desk.post(await task.sign(task.members[0]!, { kind: "withdraw", of: notice } as const));
    await publisher.step();
    const [late] = await desk.post(await task.sign(task.members[1]!, task.receipt(notice)));
    const message = await other.message();
    const [free] = await desk.post(message);
    await publisher.step();
    expect((await desk.transactions()).map(({ statements }) => statements)).toEqual([[withdrawn], [free]]);
    await rpc("evm_setAutomine", true);
    await desk.mine(1);
    await desk.drain(publisher);
    expect(await desk.outbox.state(late!)).toEqual({ state: "refused", reason: "NOT_OUTSTANDING" });
    expect(await desk.events("Skipped")).toEqual([]); // it cost nothing
    expect(await times(message)).toBe(1);
  });

  it("a roster change that is mined holds up nobody, though it isn't final", async () => {
    const task = await Task.opened(world, 3);
    const publisher = desk.publisher({ confirmations: 3 });
    await desk.mine(4);
    const expel = await task.change("expel", [addressOf(task.members[2]!)], 1);
    await desk.post(expel);
    await publisher.step();
    expect(await times(expel)).toBe(1);
    const message = await task.message();
    await desk.post(message);
    await publisher.step();
    expect(await times(message)).toBe(1);
  });

  it("an author's second answer waits for the first, and another author's doesn't", async () => {
    const task = await Task.opened(world, 3);
    const notice = await task.noticed([1, 2]);
    await paused();
    const publisher = desk.publisher({ blockTime: 20 });
    const [first] = await desk.post(await task.sign(task.members[1]!, task.receipt(notice, { outcome: "CORRUPT" })));
    await publisher.step();
    const [second, others] = await desk.post(
      await task.sign(task.members[1]!, task.receipt(notice)),
      await task.sign(task.members[2]!, task.receipt(notice)),
    );
    await publisher.step();
    expect((await desk.transactions()).map(({ statements }) => statements)).toEqual([[first], [others]]);
    await rpc("evm_setAutomine", true);
    await desk.mine(1);
    await desk.drain(publisher);
    expect(await desk.outbox.state(second!)).toEqual({ state: "refused", reason: "NOT_OUTSTANDING" });
    expect(await desk.events("Skipped")).toEqual([]);
  });
});

describe("a statement that counts in every simulation and never on the chain", () => {
  it("is soon alone, is tried four times, and is refused with the chain's reason when it is too old", async () => {
    const wallet = await world.deploy(TWO_FACED);
    const task = await Task.opened(world, 2);
    await world.relay([item(await task.change("admit", [wallet], 1))]);
    const statement = (await task.message({ sender: wallet })).statement;
    const poison: Signed = { statement, author: wallet, signature: `0x${"5a".repeat(65)}` };
    const good = await Promise.all(Array.from({ length: 5 }, () => task.message()));
    const [id, ...ids] = await desk.post(poison, ...good);
    let now = Date.now();
    const publisher = desk.publisher({ now: () => now });
    for (let steps = 0; steps < 8; steps++) await publisher.step();
    for (const signed of good) expect(await times(signed)).toBe(1);
    const carrying = (await desk.transactions()).filter(({ statements }) => statements.includes(id!));
    expect(carrying).toHaveLength(4);
    expect(carrying.slice(1).every(({ statements }) => statements.length === 1)).toBe(true);
    expect(await desk.outbox.state(id!)).toEqual({ state: "pending" });

    const late = await task.message(); // others go on
    const [lateId] = await desk.post(late);
    await publisher.step();
    expect(await desk.outbox.state(lateId!)).toMatchObject({ state: "settled" });
    const gauges = () => Object.fromEntries(desk.counted.samples().map(({ name, value }) => [name, value]));
    now += 7 * MINUTE;
    await publisher.step();
    expect(gauges()).toMatchObject({ OutboxDepth: 1, OutboxOldestAge: expect.closeTo(7 * 60, -2.5) });
    now += 9 * MINUTE;
    await publisher.step();
    expect(gauges()).toMatchObject({ OutboxDepth: 0, OutboxOldestAge: 0 });
    expect(await desk.outbox.state(id!)).toEqual({ state: "refused", reason: "BAD_SIGNATURE" });
    expect(await times(poison)).toBe(0);
    for (const other of ids) expect(await desk.outbox.state(other)).toMatchObject({ state: "settled" });

    // However often a transaction was looked at, its gas is told once; and so is how each statement ended.
    const found = (await desk.transactions()).map(({ transaction }) =>
      world.provider.getTransactionReceipt(transaction),
    );
    const paid = (await Promise.all(found)).reduce((sum, receipt) => sum + Number(receipt!.gasUsed), 0);
    const told = Object.fromEntries(desk.counted.samples().map(({ name, value }) => [name, value]));
    expect(told).toMatchObject({ GasUsed: paid, StatementsSettled: 6, StatementsRefused: 1, OutboxDepth: 0 });
  });

  it("doesn't hold up the others when the account can't pay for all the gas that it might use", async () => {
    const wallet = await world.deploy(TWO_FACED);
    const task = await Task.opened(world, 2);
    await world.relay([item(await task.change("admit", [wallet], 1))]);
    const statement = (await task.message({ sender: wallet })).statement;
    await desk.post({ statement, author: wallet, signature: `0x${"5a".repeat(65)}` });
    const publisher = desk.publisher();
    await publisher.step();
    const { baseFeePerGas } = (await world.provider.getBlock("latest"))!;
    const before = await rpc("eth_getBalance", desk.relayer.address, "latest");
    const forAFew = 3_000_000n * (2n * baseFeePerGas! + 10n ** 9n);
    await rpc("anvil_setBalance", desk.relayer.address, toQuantity(forAFew));
    try {
      const good = await task.message();
      await desk.post(good);
      for (let steps = 0; steps < 3; steps++) await publisher.step();
      expect(await times(good)).toBe(1);
    } finally {
      await rpc("anvil_setBalance", desk.relayer.address, before);
    }
  });

  it("is tried again after ten minutes, in case it was not to blame", async () => {
    const wallet = await world.deploy(TWO_FACED);
    const task = await Task.opened(world, 2);
    await world.relay([item(await task.change("admit", [wallet], 1))]);
    const statement = (await task.message({ sender: wallet })).statement;
    await desk.post({ statement, author: wallet, signature: `0x${"5a".repeat(65)}` });
    const publisher = desk.publisher({ maxWait: 10 ** 9 });
    for (let steps = 0; steps < 6; steps++) await publisher.step();
    expect(await desk.transactions()).toHaveLength(4);
    await rpc("evm_increaseTime", 601);
    await desk.mine(1);
    for (let steps = 0; steps < 3; steps++) await publisher.step();
    expect(await desk.transactions()).toHaveLength(5);
  });
});

describe("several nodes", () => {
  it("when one is gone the next step uses the next one, and goes on there", async () => {
    const task = await Task.opened(world, 2);
    const message = await task.message();
    await desk.post(message);
    const publisher = desk.publisher({ rpc: ["http://127.0.0.1:1/", world.rpc] });
    await expect(publisher.step()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(await publisher.step()).toMatchObject({ pending: 0 });
    expect(await times(message)).toBe(1);
  });

  it("transactions go to all of them, and one that refuses all does no harm", async () => {
    const task = await Task.opened(world, 2);
    const second = await startRpcProxy(world.rpc);
    proxy.cut = ({ method }) => (method === "eth_sendRawTransaction" ? "before" : null);
    const message = await task.message();
    await desk.post(message);
    await desk.drain(desk.publisher({ rpc: [second.url, proxy.url] }));
    expect(proxy.calls).toContain("eth_sendRawTransaction");
    expect(proxy.calls).not.toContain("eth_call");
    expect(await times(message)).toBe(1);
    await second.stop();
  });

  it("a node that stands still doesn't hold us up", async () => {
    const task = await Task.opened(world, 2);
    const [old] = await desk.post(await task.message());
    const frozen = (await rpc("eth_getBlockByNumber", "latest", false)) as object;
    proxy.answer = ({ method, params }, result) => {
      if (method === "eth_getBlockByNumber" && params[0] === "latest") return frozen;
      return method === "eth_getTransactionReceipt" ? null : result;
    };
    const publisher = desk.publisher({ rpc: [proxy.url, world.rpc], confirmations: 1, blockTime: 20 });
    for (let steps = 0; steps < 60 && (await desk.outbox.state(old!)).state === "pending"; steps++) {
      await publisher.step();
      await desk.mine(1);
    }
    expect(await desk.outbox.state(old!)).toMatchObject({ state: "settled" });
  });

  it("refuses to begin without any", () => {
    expect(() => desk.publisher({ rpc: [] })).toThrow(/at least one/);
  });
});

it("a chain that prices gas in its own way is asked for its estimate", async () => {
  const task = await Task.opened(world, 2);
  const message = await task.message();
  await desk.post(message);
  // All calls with less than the most are out of gas there.
  proxy.refuse = ({ method, params }) => {
    const gas = Number((params[0] as { gas?: string } | undefined)?.gas ?? 0);
    return method === "eth_call" && gas > 0 && gas < 16_000_000 ? "out of gas" : null;
  };
  await desk.drain(desk.publisher({ rpc: proxy.url }));
  expect(proxy.calls).toContain("eth_estimateGas");
  expect(await times(message)).toBe(1);
});

it("a gas limit is enough for whatever is packed, and not twice as much", async () => {
  const task = await Task.opened(world, 12);
  const indices = Array.from({ length: 11 }, (_, i) => i + 1);
  const notices = [];
  for (let i = 0; i < 4; i++) notices.push(await task.noticed(indices));
  const all: Signed[] = [];
  for (const [nth, notice] of notices.entries())
    for (const i of indices)
      all.push(
        await task.sign(task.members[i]!, task.receipt(notice, { outcome: nth % 2 === 0 ? "VERIFIED" : "CORRUPT" })),
      );
  await desk.post(...all);
  await desk.drain();
  const [only] = await desk.transactions();
  const transaction = await world.provider.getTransaction(only!.transaction);
  const receipt = await world.provider.getTransactionReceipt(only!.transaction);
  expect(receipt!.status).toBe(1);
  expect(transaction!.gasLimit).toBeLessThan(receipt!.gasUsed * 2n);
});

it("what is too large to be judged in one call is judged in several, or anybody could fill the outbox for ever", async () => {
  const task = await Task.opened(world, 2);
  const deadline = (await world.now()) + 60;
  const payload = `0x${"ff".repeat(4096)}` as const;
  const all = await Promise.all(Array.from({ length: 100 }, () => task.message({ deadline, payload })));
  const ids = await Promise.all(all.map((signed) => desk.outbox.post(signed)));
  await rpc("evm_increaseTime", 61);
  await desk.mine(1);
  await desk.publisher().step();
  const states = await Promise.all(ids.map((id) => desk.outbox.state(id)));
  expect(states).toEqual(ids.map(() => ({ state: "refused", reason: "EXPIRED" })));
  expect(await desk.keys("outbox/")).toEqual([]);
});
