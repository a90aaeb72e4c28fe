import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Address, Hex } from "../lib/protocol/hex.ts";
import { type RosterChange, statementId } from "../lib/protocol/statements.ts";
import { addressOf, item, newKey, newKeys, random32, randomAddresses, Task, World } from "./support/contract.ts";

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world.stop());

const ZERO = `0x${"00".repeat(20)}` as Address;
const relayOpen = async (task: Task) => world.relay([item(await task.sign(task.owner, task.open))]);
const memberOf = (task: Task, account: Address) => world.read("member", task.id, account);

describe("Open", () => {
  it("makes the task that owner and salt name, with its members in order and version 1", async () => {
    const task = Task.draft(world, 3);
    const { results, events } = await relayOpen(task);
    expect(results).toEqual([["OK"]]);
    expect(events.map(({ name }) => name)).toEqual(["Opened"]);
    expect(events[0]!.args.task).toBe(task.id);
    expect(await world.read("roster", task.id)).toMatchObject({ owner: task.owner.address, version: 1n, count: 3n });
    for (const [index, member] of task.members.entries()) {
      expect(await memberOf(task, addressOf(member))).toEqual({ index: BigInt(index), active: true, known: true });
    }
  });

  it("is a duplicate when it comes again", async () => {
    const task = Task.draft(world, 2);
    await relayOpen(task);
    expect((await relayOpen(task)).results).toEqual([["DUPLICATE"]]);
    expect(await task.seq()).toBe(1);
  });

  it("can't take a task that another Open of the same owner and salt has made", async () => {
    const task = await Task.opened(world, 2);
    const other = await task.sign(task.owner, { ...task.open, members: randomAddresses(1) });
    expect((await world.relay([item(other)])).results).toEqual([["TASK_EXISTS"]]);
    expect(await world.read("roster", task.id)).toMatchObject({ version: 1n, count: 2n });
  });

  it("needs the owner's own signature", async () => {
    const task = Task.draft(world, 2);
    const signed = await task.sign(task.members[0]!, task.open);
    expect((await world.relay([item(signed)])).results).toEqual([["BAD_SIGNATURE"]]);
    expect(await world.read("roster", task.id)).toMatchObject({ owner: `0x${"00".repeat(20)}`, version: 0n });
  });

  it.each([
    ["no member", []],
    ["257 members", randomAddresses(257)],
    ["the zero address", [...randomAddresses(1), ZERO]],
  ])("with %s is refused", async (_, members) => {
    const task = Task.draft(world, 1);
    const signed = await task.sign(task.owner, { ...task.open, members });
    expect((await world.relay([item(signed)])).results).toEqual([["BAD_MEMBERS"]]);
  });

  it("passes over a repeated member", async () => {
    const [one, two] = newKeys(2) as [ReturnType<typeof newKey>, ReturnType<typeof newKey>];
    const task = await Task.opened(world, [one, one, two]);
    expect(await world.read("roster", task.id)).toMatchObject({ count: 2n });
    expect(await memberOf(task, addressOf(two))).toMatchObject({ index: 1n });
  });
});

describe("Admit and Expel", () => {
  const apply = async (task: Task, kind: "admit" | "expel", accounts: readonly Address[], roster: number) =>
    (await world.relay([item(await task.change(kind, accounts, roster))])).results[0]![0];

  it("change who is active, each raising the version by one", async () => {
    const task = await Task.opened(world, 2);
    const [guest] = randomAddresses(1) as [Address];
    expect(await apply(task, "admit", [guest], 1)).toBe("OK");
    expect(await memberOf(task, guest)).toEqual({ index: 2n, active: true, known: true });
    expect(await apply(task, "expel", [guest], 2)).toBe("OK");
    expect(await memberOf(task, guest)).toEqual({ index: 2n, active: false, known: true });
    expect(await world.read("roster", task.id)).toMatchObject({ version: 3n, count: 3n });
  });

  it("give a member admitted again the next index, and leave its old one inactive", async () => {
    const task = await Task.opened(world, 2);
    const account = addressOf(task.members[1]!);
    await apply(task, "expel", [account], 1);
    await apply(task, "admit", [account], 2);
    expect(await memberOf(task, account)).toEqual({ index: 2n, active: true, known: true });
    const { list } = (await world.read("members", task.id, 0, 10)) as { list: { account: string; active: boolean }[] };
    expect(list.map(({ account, active }) => [account.toLowerCase(), active])).toEqual([
      [addressOf(task.members[0]!), true],
      [account, false],
      [account, true],
    ]);
  });

  it("pass over those whom they don't concern, and tell them in the event as signed", async () => {
    const task = await Task.opened(world, 2);
    const active = addressOf(task.members[0]!);
    const [guest] = randomAddresses(1) as [Address];
    const { events } = await world.relay([item(await task.change("admit", [active, guest, guest], 1))]);
    expect(events[0]!.args.members.map((account: string) => account.toLowerCase())).toEqual([active, guest, guest]);
    expect(await world.read("roster", task.id)).toMatchObject({ version: 2n, count: 3n });
    expect(await apply(task, "expel", randomAddresses(1), 2)).toBe("OK");
    expect(await world.read("roster", task.id)).toMatchObject({ version: 3n, count: 3n });
  });

  it("are duplicates when they come again, whatever version the roster has by then", async () => {
    const task = await Task.opened(world, 2);
    const guests = randomAddresses(2);
    const admit = item(await task.change("admit", [guests[0]!], 1));
    const expel = item(await task.change("expel", [guests[0]!], 2));
    await world.relay([admit, expel]);
    expect((await world.relay([admit, expel])).results).toEqual([["DUPLICATE"], ["DUPLICATE"]]);
    expect(await memberOf(task, guests[0]!)).toMatchObject({ active: false });
  });

  it("of an old version are stale: an old Admit can't undo an Expel", async () => {
    const task = await Task.opened(world, 2);
    const account = addressOf(task.members[1]!);
    const old = item(await task.change("admit", [account], 1));
    await apply(task, "expel", [account], 1);
    expect((await world.relay([old])).results).toEqual([["STALE_ROSTER"]]);
    expect(await memberOf(task, account)).toMatchObject({ active: false });
  });

  it("of a later version wait", async () => {
    const task = await Task.opened(world, 2);
    expect(await apply(task, "admit", randomAddresses(1), 2)).toBe("FUTURE_ROSTER");
    expect(await apply(task, "admit", randomAddresses(1), 2 ** 32 - 1)).toBe("FUTURE_ROSTER");
  });

  it("need the owner's signature, and an existing task", async () => {
    const task = await Task.opened(world, 2);
    const change: RosterChange = { kind: "admit", task: task.id, members: randomAddresses(1), roster: 1 };
    expect((await world.relay([item(await task.sign(task.members[0]!, change))])).results).toEqual([["BAD_SIGNATURE"]]);
    const nowhere = await task.sign(task.owner, { ...change, task: random32() });
    expect((await world.relay([item(nowhere)])).results).toEqual([["UNKNOWN_TASK"]]);
  });

  it.each([
    ["no member", []],
    ["257 members", randomAddresses(257)],
    ["the zero address", [ZERO]],
  ])("with %s are refused and leave the version", async (_, members) => {
    const task = await Task.opened(world, 1);
    expect(await apply(task, "expel", members, 1)).toBe("BAD_MEMBERS");
    expect(await world.read("roster", task.id)).toMatchObject({ version: 1n });
  });

  it("skip with the statement's id, which names the owner as author", async () => {
    const task = await Task.opened(world, 1);
    const change = await task.change("expel", randomAddresses(1), 7);
    const { events } = await world.relay([item(change)]);
    expect(events[0]!.args.id).toBe(statementId(change.statement, task.open.owner));
  });
});

describe("The views", () => {
  it("tell an account that was never enrolled from the one at index 0", async () => {
    const task = await Task.opened(world, 1);
    expect(await memberOf(task, addressOf(task.members[0]!))).toEqual({ index: 0n, active: true, known: true });
    expect(await memberOf(task, addressOf(newKey()))).toEqual({ index: 0n, active: false, known: false });
  });

  it("page through the members, and stop at the end", async () => {
    const task = await Task.opened(world, 5);
    const page = async (from: bigint, count: bigint): Promise<string[]> => {
      const { list } = (await world.read("members", task.id, from, count)) as { list: { account: Hex }[] };
      return [...list].map(({ account }) => account.toLowerCase());
    };
    const all = task.members.map(addressOf);
    expect(await page(0n, 2n)).toEqual(all.slice(0, 2));
    expect(await page(3n, 100n)).toEqual(all.slice(3));
    expect(await page(5n, 1n)).toEqual([]);
    expect(await page(2n ** 256n - 1n, 2n ** 256n - 1n)).toEqual([]);
  });

  it("answer zeros for a task that doesn't exist", async () => {
    const nowhere = random32();
    expect(await world.read("latest", nowhere)).toEqual({ seq: 0n, blockNumber: 0n });
    expect(await world.read("roster", nowhere)).toMatchObject({ version: 0n, count: 0n });
    expect(await world.read("state", nowhere, 0, random32())).toEqual({
      deadline: 0n,
      outstanding: 0n,
      verified: 0n,
      withdrawn: false,
    });
  });

  it("describe the EIP-712 domain that the statements are signed for", async () => {
    const domain = await world.read("eip712Domain");
    expect(domain).toMatchObject({ name: "Waybill", version: "1", chainId: BigInt(world.domain.chainId) });
    expect(String(domain.verifyingContract).toLowerCase()).toBe(world.domain.contract);
  });
});
