import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { runPublisher } from "../functions/loop.ts";
import { DoorBell } from "../functions/wake.ts";
import { noticeId, type Signed } from "../lib/protocol/statements.ts";
import { addressOf, groupsIn, item, newKey, random32, Task, World } from "./support/contract.ts";
import { Desk } from "./support/publishing.ts";

let world: World;
let desk: Desk;

beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world.stop());
beforeEach(async () => {
  desk = await Desk.open(world);
});
afterEach(() => desk.close());

describe("the publisher", () => {
  it("brings a statement of every kind onto the chain, each exactly once", async () => {
    const task = Task.draft(world, 4);
    const open = await task.sign(task.owner, task.open);
    const notice = await task.notice([1, 2]);
    const receipt = await task.sign(task.members[1]!, task.receipt(notice.statement));
    const withdraw = await task.sign(task.members[0]!, { kind: "withdraw", of: notice.statement } as const);
    const expel = await task.change("expel", [addressOf(task.members[3]!)], 1);
    const admit = await task.change("admit", [addressOf(newKey())], 2);
    const message = await task.message();
    const all: Signed[] = [open, notice, receipt, withdraw, expel, admit, message];
    const ids = await desk.post(...all);

    await desk.drain();

    for (const signed of all) expect(await desk.timesOnChain(signed)).toBe(1);
    const states = await Promise.all(ids.map((id) => desk.outbox.state(id)));
    const [first] = states;
    expect(first).toMatchObject({ state: "settled", transaction: expect.stringMatching(/^0x[0-9a-f]{64}$/) });
    expect(states).toEqual(states.map(() => first)); // one transaction for all
    expect(await desk.keys("outbox/")).toEqual([]);
    expect(await desk.events("Skipped")).toEqual([]);
  });

  it("groups ten receipts of a notice into one event and settles ten statements", async () => {
    const task = await Task.opened(world, 11);
    const indices = Array.from({ length: 10 }, (_, i) => i + 1);
    const notice = await task.noticed(indices);
    const receipts = await Promise.all(indices.map((i) => task.sign(task.members[i]!, task.receipt(notice))));
    const ids = await desk.post(...receipts);

    await desk.drain();

    const events = (await desk.events("Receipts")).filter((event) => event.args.task === task.id);
    const [group, ...others] = events.flatMap(groupsIn);
    expect([events.length, others.length, group!.notice, group!.outcome]).toEqual([1, 0, noticeId(notice), 1]);
    expect(group!.signatures.toSorted()).toEqual(receipts.map(({ signature }) => signature).toSorted());
    const states = await Promise.all(ids.map((id) => desk.outbox.state(id)));
    expect(states[0]).toMatchObject({ state: "settled", transaction: expect.any(String) });
    expect(states).toEqual(states.map(() => states[0]));
  });

  it("settles each receipt of a run that the contract tells of in one event, whatever it answers", async () => {
    const task = await Task.opened(world, 4);
    const one = await task.noticed([1, 2, 3]);
    const two = await task.noticed([1, 2, 3]);
    const words = [task.receipt(one), task.receipt(two), task.receipt(two, { outcome: "CORRUPT" })];
    const authors = [[1, 2], [1, 3], [2]];
    const receipts = words.flatMap((receipt, i) => authors[i]!.map((who) => task.sign(task.members[who]!, receipt)));
    const ids = await desk.post(...(await Promise.all(receipts)));

    await desk.drain();

    const events = (await desk.events("Receipts")).filter((event) => event.args.task === task.id);
    expect(events).toHaveLength(1);
    expect(groupsIn(events[0]!).map(({ outcome, signatures }) => [outcome, signatures.length])).toEqual([
      ...[
        [1, 2],
        [1, 2],
        [2, 1],
      ],
    ]);
    const states = await Promise.all(ids.map((id) => desk.outbox.state(id)));
    expect(states).toMatchObject(ids.map(() => ({ state: "settled", transaction: expect.any(String) })));
    expect(await task.state(two)).toMatchObject({ outstanding: 0n, verified: 0b1010n });
  });

  it("publishes a statement once that was posted three times", async () => {
    const task = await Task.opened(world, 2);
    const message = await task.message();
    const ids = await desk.post(message, message, message);
    expect(new Set(ids).size).toBe(1);
    await desk.drain();
    await desk.post(message);
    await desk.drain();
    expect(await desk.timesOnChain(message)).toBe(1);
    expect(await desk.keys("outbox/")).toEqual([]);
  });

  it("settles without a transaction of its own what its author relayed", async () => {
    const task = await Task.opened(world, 2);
    const message = await task.message();
    await world.relay([item(message)]);
    const [id] = await desk.post(message);
    await desk.drain();
    expect(await desk.outbox.state(id!)).toMatchObject({ state: "settled", transaction: null });
    expect(await desk.timesOnChain(message)).toBe(1);
    expect(await desk.keys("relay/")).toEqual([]);
  });

  it("refuses at once what can never take effect, and says why", async () => {
    const task = await Task.opened(world, 4);
    const [sender, gone] = [task.members[0]!, task.members[3]!];
    await world.relay([item(await task.change("expel", [addressOf(gone)], 1))]);
    const notice = await task.noticed([1, 2]);
    const withdrawn = await task.noticed([1]);
    await world.relay([item(await task.sign(sender, { kind: "withdraw", of: withdrawn }))]);
    const good = await task.message();

    const cases: [Signed, string][] = [
      [await task.message({ deadline: (await world.now()) - 1 }), "EXPIRED"],
      [await task.sign(gone, (await task.message({ sender: addressOf(gone) })).statement), "EXPELLED"],
      [await task.change("admit", [addressOf(newKey())], 1), "STALE_ROSTER"],
      [await task.sign(sender, task.receipt(notice)), "NOT_OUTSTANDING"],
      [await task.sign(task.members[1]!, task.receipt(withdrawn)), "NOT_OUTSTANDING"],
      [{ ...good, signature: (await task.message()).signature }, "BAD_SIGNATURE"],
    ];
    const ids = await desk.post(...cases.map(([signed]) => signed));
    await desk.drain();
    const states = await Promise.all(ids.map((id) => desk.outbox.state(id)));
    expect(states).toEqual(cases.map(([, reason]) => ({ state: "refused", reason })));
    expect(await desk.transactions()).toEqual([]);
    expect(await desk.keys("outbox/")).toEqual([]);
  });

  it("never publishes what was refused, even if it is posted again when it could take effect", async () => {
    const task = Task.draft(world, 2);
    const message = await task.message();
    let now = Date.now();
    const publisher = desk.publisher({ now: () => now });
    const [id] = await desk.post(message);
    expect(await publisher.step()).toMatchObject({ pending: 1 });
    now += 16 * 60_000;
    await desk.pass(16 * 60);
    await publisher.step();
    expect(await desk.outbox.state(id!)).toEqual({ state: "refused", reason: "UNKNOWN_TASK" });
    await desk.post(await task.sign(task.owner, task.open), message);
    await desk.drain(publisher);
    expect(await desk.timesOnChain(message)).toBe(0);
    expect(await desk.outbox.state(id!)).toEqual({ state: "refused", reason: "UNKNOWN_TASK" });
  });

  it("waits for what a later statement may bring, and no longer than its age limit", async () => {
    const task = Task.draft(world, 3);
    const notice = await task.notice([1]);
    const early = await task.sign(task.members[1]!, task.receipt(notice.statement));
    const never = await (await Task.opened(world, 1)).change("admit", [addressOf(newKey())], 7);
    let now = Date.now();
    const publisher = desk.publisher({ now: () => now });
    const [receiptId, neverId] = await desk.post(early, never);
    expect(await publisher.step()).toMatchObject({ pending: 2 });
    expect(await desk.outbox.state(receiptId!)).toEqual({ state: "pending" });

    await desk.post(notice, await task.sign(task.owner, task.open)); // in the wrong order, too
    for (let steps = 0; steps < 3; steps++) await publisher.step();
    expect(await desk.timesOnChain(early)).toBe(1);
    expect(await desk.outbox.state(neverId!)).toEqual({ state: "pending" });

    now += 16 * 60_000;
    await desk.pass(16 * 60);
    await desk.drain(publisher);
    expect(await desk.outbox.state(neverId!)).toEqual({ state: "refused", reason: "FUTURE_ROSTER" });
  });

  it("lets no poisoned statement stop the good ones, wherever it lies", async () => {
    const task = await Task.opened(world, 2);
    const stranger = newKey();
    const messages = await Promise.all(Array.from({ length: 6 }, () => task.message()));
    const poison = await Promise.all(
      Array.from({ length: 6 }, async () =>
        task.sign(stranger, (await task.message({ sender: addressOf(stranger) })).statement),
      ),
    );
    await desk.store.putJson(
      `outbox/${world.domain.chainId}/${world.domain.contract}/0000000000001-3-${random32()}.json`,
      {
        statement: { kind: "notice", __proto__: null },
      },
    );
    await desk.store.putJson(`outbox/${world.domain.chainId}/${world.domain.contract}/not-an-entry`, 1);
    await desk.post(...messages.flatMap((message, i) => [poison[i]!, message]));
    const publisher = desk.publisher();
    for (let steps = 0; steps < 2; steps++) await publisher.step();
    for (const message of messages) expect(await desk.timesOnChain(message)).toBe(1);
    for (const message of poison) expect(await desk.timesOnChain(message)).toBe(0);
    expect(await desk.events("Skipped")).toEqual([]);
  });

  it("keeps receipts on their side of a Withdraw and of a roster change", async () => {
    const task = await Task.opened(world, 6);
    const notice = await task.noticed([1, 2, 3, 4]);
    const other = await task.noticed([5]);
    const receipt = (i: number) => task.sign(task.members[i]!, task.receipt(notice));
    const before = [await receipt(1), await receipt(2)];
    const expel = await task.change("expel", [addressOf(task.members[3]!)], 1);
    const expelled = await receipt(3);
    const withdraw = await task.sign(task.members[0]!, { kind: "withdraw", of: notice } as const);
    const late = await receipt(4);
    const free = await task.sign(task.members[5]!, task.receipt(other));
    const ids = await desk.post(...before, expel, expelled, withdraw, late, free);
    await desk.drain();
    const states = await Promise.all(ids.map((id) => desk.outbox.state(id)));
    expect(states.map((state) => (state.state === "refused" ? state.reason : state.state))).toEqual([
      "settled",
      "settled",
      "settled",
      "EXPELLED",
      "settled",
      "NOT_OUTSTANDING",
      "settled",
    ]);
    const names = (await desk.events()).filter((event) => event.args.task === task.id).map(({ name }) => name);
    expect(names).toEqual(["Opened", "Noticed", "Noticed", "Receipts", "Expelled", "Withdrawn", "Receipts"]);
  });

  it("keeps an author's two answers to a notice in their order", async () => {
    const task = await Task.opened(world, 3);
    const notice = await task.noticed([1, 2]);
    const first = await task.sign(task.members[2]!, task.receipt(notice));
    const corrupt = await task.sign(task.members[1]!, task.receipt(notice, { outcome: "CORRUPT" }));
    const verified = await task.sign(task.members[1]!, task.receipt(notice));
    const ids = await desk.post(first, corrupt, verified);
    await desk.drain();
    expect(await desk.timesOnChain(corrupt)).toBe(1);
    expect(await desk.outbox.state(ids[2]!)).toEqual({ state: "refused", reason: "NOT_OUTSTANDING" });
  });

  it("fills several transactions when one can't carry all", async () => {
    const task = await Task.opened(world, 2);
    const payload = `0x${"ab".repeat(4096)}` as const;
    const messages = await Promise.all(Array.from({ length: 60 }, () => task.message({ payload })));
    await Promise.all(messages.map((message) => desk.outbox.post(message)));
    await desk.drain();
    const posted = (await desk.events("Posted")).filter((event) => event.args.task === task.id);
    expect(posted).toHaveLength(60);
    expect((await desk.keys("relay/")).length).toBeGreaterThan(1);
  });

  it("opens a task of 256 members in one transaction", async () => {
    const task = Task.draft(world, 256);
    const [id] = await desk.post(await task.sign(task.owner, task.open));
    await desk.drain();
    expect(await desk.outbox.state(id!)).toMatchObject({ state: "settled" });
  });

  it("lets no statement that a chain's blocks can't hold stop the others, and refuses it when it is old", async () => {
    const small = await World.start({ args: ["--gas-limit", "10000000"] });
    const there = await Desk.open(small);
    try {
      const huge = Task.draft(small, 256);
      const task = Task.draft(small, 2);
      const message = await task.message();
      const ids = await there.post(await huge.sign(huge.owner, huge.open), await huge.message());
      await there.post(await task.sign(task.owner, task.open), message);
      const publisher = there.publisher();
      for (let steps = 0; steps < 3; steps++) await publisher.step();
      expect(await there.timesOnChain(message)).toBe(1);
      for (const id of ids) expect(await there.outbox.state(id)).toEqual({ state: "pending" });
      expect(await there.keys("relay/")).toHaveLength(1);
      await there.pass(16 * 60);
      await there.drain(there.publisher({ maxWait: -1 }));
      const reasons = await Promise.all(ids.map((id) => there.outbox.state(id)));
      expect(reasons).toMatchObject([{ reason: "TOO_LARGE" }, { reason: "UNKNOWN_TASK" }]);
      expect(await there.keys("outbox/")).toEqual([]);
    } finally {
      await there.close();
      await small.stop();
    }
  });

  it("pays nothing where gas is free, and waits while fees are above its cap", async () => {
    const task = await Task.opened(world, 2);
    const message = await task.message();
    const [id] = await desk.post(message);
    await desk.publisher({ fees: { kind: "market", maxFeePerGas: 1n } }).step();
    expect(await desk.keys("relay/")).toEqual([]);
    expect(desk.log.join()).toContain("above the cap");
    await world.provider.send("anvil_setNextBlockBaseFeePerGas", ["0x0"]);
    await desk.drain(desk.publisher({ fees: { kind: "free" } }));
    const state = await desk.outbox.state(id!);
    const transaction = await world.provider.getTransaction(String(state.state === "settled" && state.transaction));
    expect(transaction).toMatchObject({ type: 0, gasPrice: 0n });
  });
});

describe("the publisher's loop", () => {
  it("has a statement on the chain after the bell, and ends with its signal", async () => {
    const task = await Task.opened(world, 2);
    const bell = new DoorBell();
    const stop = new AbortController();
    const running = runPublisher(desk.publisher(), { signal: stop.signal, bell });
    for (let i = 0; i < 3; i++) {
      const [id] = await desk.post(await task.message());
      await bell.ring();
      while ((await desk.outbox.state(id!)).state === "pending") await new Promise((resolve) => setTimeout(resolve, 5));
    }
    stop.abort();
    await running;
  });

  it("goes on after errors, and logs none of the RPC's key", async () => {
    const task = await Task.opened(world, 2);
    const lines: string[] = [];
    const stop = new AbortController();
    const dead = desk.publisher({ rpc: "http://127.0.0.1:1/v2/sekrit-key-123456" });
    const alive = desk.publisher();
    let steps = 0;
    const flaky = { step: () => (++steps <= 2 ? dead : alive).step() }; // so there are two faults, however often it steps
    const [id] = await desk.post(await task.message());
    const running = runPublisher(flaky, { signal: stop.signal, bell: new DoorBell(), log: (line) => lines.push(line) });
    while ((await desk.outbox.state(id!)).state === "pending") await new Promise((resolve) => setTimeout(resolve, 20));
    stop.abort();
    await running;
    expect(lines).toHaveLength(2);
    expect(lines.join()).toContain("UNAVAILABLE");
    expect(lines.join()).not.toContain("sekrit");
  });
});
