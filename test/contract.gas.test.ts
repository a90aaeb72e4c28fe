import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Entry } from "../functions/outbox.ts";
import { gasFor, itemOf } from "../functions/packing.ts";
import type { Outcome } from "../lib/protocol/reasons.ts";
import { type Signed, statementId } from "../lib/protocol/statements.ts";
import { addressOf, item, newKeys, Task, World } from "./support/contract.ts";

const TEN = Array.from({ length: 10 }, (_, index) => index + 1);

const entryOf = (signed: Signed): Entry => {
  const id = statementId(signed.statement, signed.author);
  return { id, key: id, arrival: 0, signed };
};

// The budgets of design §4, whole transactions, in a task with a history.
describe.each([
  { target: "current", args: ["--enable-tx-gas-limit"] },
  { target: "paris", args: ["--hardfork", "paris"] },
] as const)("On the rules of $target", ({ target, args }) => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({ target, args });
  });
  afterAll(() => world.stop());

  test("an Open of 256 members fits into one transaction of 16.78M gas", async () => {
    const task = Task.draft(world, newKeys(256));
    const { results, gas } = await world.relay([item(await task.sign(task.owner, task.open))]);
    expect(results).toEqual([["OK"]]);
    expect(gas).toBeLessThan(16_777_216);
    expect(await world.read("roster", task.id)).toMatchObject({ version: 1n, count: 256n });
  });

  test("a notice to ten costs at most 66k gas alone and 42k each in ten", async () => {
    const task = await Task.opened(world, 11);
    const alone = await world.relay([item(await task.notice(TEN))]);
    const ten = await world.relay(await Promise.all(TEN.map(async () => item(await task.notice(TEN)))));
    expect(alone.gas).toBeLessThanOrEqual(66_000);
    expect(ten.gas / 10).toBeLessThanOrEqual(42_000);
  });

  test("a receipt costs at most 9k gas as one of 5 x 10", async () => {
    const task = await Task.opened(world, 11);
    const notices = await Promise.all(TEN.slice(0, 5).map(() => task.noticed(TEN)));
    const items = await Promise.all(notices.map((notice) => task.receipts(notice, task.members.slice(1))));
    const { results, gas } = await world.relay(items);
    expect(results.flat()).toEqual(Array.from({ length: 50 }, () => "OK"));
    expect(gas / 50).toBeLessThanOrEqual(9_000);
  });

  test("a receipt costs at most 16k gas as one of a member's 50 for distinct notices", async () => {
    const task = await Task.opened(world, 2);
    const signed = await Promise.all(Array.from({ length: 50 }, () => task.notice([1])));
    await world.relay(signed.map(item));
    const items = await Promise.all(signed.map(({ statement }) => task.receipts(statement, [task.members[1]!])));
    const { results, gas } = await world.relay(items);
    expect(results.flat()).toEqual(Array.from({ length: 50 }, () => "OK"));
    expect(gas / 50).toBeLessThanOrEqual(16_000);
  });

  test("a receipt costs at most 18k gas as one of 50 that share neither notice nor author", async () => {
    const task = await Task.opened(world, 51);
    const signed = await Promise.all(Array.from({ length: 50 }, (_, index) => task.notice([index + 1])));
    await world.relay(signed.map(item));
    const items = await Promise.all(
      signed.map(({ statement }, index) => task.receipts(statement, [task.members[index + 1]!])),
    );
    const { results, gas } = await world.relay(items);
    expect(results.flat()).toEqual(Array.from({ length: 50 }, () => "OK"));
    expect(gas / 50).toBeLessThanOrEqual(18_000);
  });

  test("receipts never need more gas than the publisher allows for them", async () => {
    const [task, other] = [await Task.opened(world, 105), await Task.opened(world, 2)];
    const all = Array.from({ length: 104 }, (_, index) => index);
    const one = { task, authors: [1] };
    const cases: { task: Task; authors: number[]; outcome?: Outcome }[][] = [
      [one],
      [{ ...one, outcome: "CORRUPT" }],
      [one, { ...one, task: other }, one, { ...one, task: other, outcome: "REFUSED" }, one],
      all.slice(0, 12).map((index) => ({ task, authors: [index] })),
      [{ task, authors: all }],
      [{ task, authors: all.slice(0, 12), outcome: "TOO_LARGE" }],
    ];
    for (const receipts of cases) {
      const packets = await Promise.all(
        receipts.map(async ({ task, authors, outcome = "VERIFIED" }) => {
          const notice = await task.notice(authors);
          const statement = task.receipt(notice.statement, { outcome });
          const signed = await Promise.all(authors.map((author) => task.sign(task.members[author]!, statement)));
          return { notice, packet: { statement, task: task.id, entries: signed.map(entryOf) } };
        }),
      );
      await world.relay(packets.map(({ notice }) => item(notice)));
      const { results, gas } = await world.relay(packets.map(({ packet }) => itemOf(packet)));
      expect(new Set(results.flat())).toEqual(new Set(["OK"]));
      expect(gas).toBeLessThan(gasFor(packets.map(({ packet }) => packet)));
    }
  });

  test("a roster change of 256 accounts that are enrolled already stays cheap", async () => {
    const task = await Task.opened(world, 256);
    const change = await task.change("admit", task.members.map(addressOf), 1);
    const { gas } = await world.relay([item(change)]);
    expect(gas).toBeLessThan(1_000_000);
  });
});
