import { hexlify, randomBytes } from "ethers";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Hex } from "../lib/protocol/hex.ts";
import { bitmapOf, EVERYONE, type Message, type Signed } from "../lib/protocol/statements.ts";
import { addressOf, DAY, item, newKey, random32, Task, World } from "./support/contract.ts";

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world.stop());

const one = async (signed: Signed<Message>, at?: number) => (await world.relay([item(signed)], at)).results[0]![0];
const payloadOf = (size: number): Hex => hexlify(randomBytes(size)) as Hex;

it("A message to everyone is posted with all that its sender signed", async () => {
  const task = await Task.opened(world, 2);
  const signed = await task.message({ payload: payloadOf(33) });
  const { results, events } = await world.relay([item(signed)]);
  expect(results).toEqual([["OK"]]);
  expect(events[0]!.name).toBe("Posted");
  const { name, payload, salt, deadline } = signed.statement;
  expect(events[0]!.args.toObject()).toMatchObject({
    task: task.id,
    sender: task.members[0]!.address,
    recipients: EVERYONE,
    kind: name,
    payload,
    salt,
    deadline: BigInt(deadline),
    signature: signed.signature,
  });
});

it.each([0, 1, 31, 32, 4096])("A payload of %d bytes is posted", async (size) => {
  const task = await Task.opened(world, 1);
  const { events } = await world.relay([item(await task.message({ payload: payloadOf(size) }))]);
  expect(events[0]!.args.payload).toHaveLength(2 + 2 * size);
});

it("A payload of 4097 bytes is too large", async () => {
  const task = await Task.opened(world, 1);
  expect(await one(await task.message({ payload: payloadOf(4097) }))).toBe("TOO_LARGE");
});

it("A replayed message changes nothing, even when it has expired or its sender was expelled since", async () => {
  const task = await Task.opened(world, 2);
  const signed = await task.message();
  expect(await one(signed)).toBe("OK");
  expect(await one(signed)).toBe("DUPLICATE");
  await world.relay([item(await task.change("expel", [addressOf(task.members[0]!)], 1))]);
  const seq = await task.seq();
  expect(await one(signed, signed.statement.deadline + 1)).toBe("DUPLICATE");
  expect(await task.seq()).toBe(seq);
});

it("The same words with another salt are another message", async () => {
  const task = await Task.opened(world, 1);
  const { statement } = await task.message();
  const again = await task.sign(task.members[0]!, { ...statement, salt: random32() });
  expect([await one(await task.sign(task.members[0]!, statement)), await one(again)]).toEqual(["OK", "OK"]);
});

it("Recipients are everyone on page 0, or bits of members on one page", async () => {
  const task = await Task.opened(world, 106);
  const codes = async (...all: Partial<Message>[]) => Promise.all(all.map((over) => task.message(over))).then(simulate);
  const simulate = async (signed: Signed<Message>[]) =>
    (await world.simulate(signed.map(item), (await world.now()) + 1)).flat();
  expect(
    await codes(
      { recipients: bitmapOf([0, 103]) },
      { recipients: bitmapOf([1]), page: 1 },
      { recipients: EVERYONE, page: 1 },
      { recipients: EVERYONE - 1n },
      { recipients: 1n << 104n },
      { recipients: 0n },
      { recipients: bitmapOf([2]), page: 1 },
    ),
  ).toEqual(["OK", "OK", ...Array.from({ length: 4 }, () => "BAD_RECIPIENTS"), "UNKNOWN_RECIPIENT"]);
});

it("The deadline is judged by the block's time, and lies at most 30 days ahead", async () => {
  const task = await Task.opened(world, 1);
  const now = (await world.now()) + 10;
  const deadlines = [now - 1, now, now + 30 * DAY, now + 30 * DAY + 1];
  const items = await Promise.all(deadlines.map(async (deadline) => item(await task.message({ deadline }))));
  const { results } = await world.relay(items, now);
  expect(results.flat()).toEqual(["EXPIRED", "OK", "OK", "BAD_DEADLINE"]);
});

it("The sender is an active member of the task, and signs itself", async () => {
  const task = await Task.opened(world, 2);
  const stranger = newKey();
  const foreign = await task.message({ sender: addressOf(stranger) });
  expect(await one(await task.sign(stranger, foreign.statement))).toBe("UNKNOWN_MEMBER");
  expect(await one(await task.message({ sender: addressOf(task.members[1]!) }))).toBe("BAD_SIGNATURE");
  expect(await one(await task.message({ task: random32() }))).toBe("UNKNOWN_TASK");
  await world.relay([item(await task.change("expel", [addressOf(task.members[0]!)], 1))]);
  expect(await one(await task.message())).toBe("EXPELLED");
});

it("An owner that isn't a member can't post", async () => {
  const task = await Task.opened(world, 1);
  const { statement } = await task.message({ sender: task.open.owner });
  expect(await one(await task.sign(task.owner, statement))).toBe("UNKNOWN_MEMBER");
});
