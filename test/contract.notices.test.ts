import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Address } from "../lib/protocol/hex.ts";
import { type Outcome, outcomes } from "../lib/protocol/reasons.ts";
import { bitmapOf, type Item, type Notice, noticeId, statementId, type Withdraw } from "../lib/protocol/statements.ts";
import {
  addressOf,
  DAY,
  groupsIn,
  item,
  join,
  newKey,
  random32,
  randomAddresses,
  Task,
  World,
} from "./support/contract.ts";

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world.stop());

const one = async (signed: Parameters<typeof item>[0], at?: number) =>
  (await world.relay([item(signed)], at)).results[0]![0];
const changed = async (task: Task, kind: "admit" | "expel", accounts: readonly Address[], roster: number) => {
  expect(await one(await task.change(kind, accounts, roster))).toBe("OK");
};
const withdrawal = (task: Task, of: Withdraw["of"], signer = task.members[0]!) =>
  task.sign(signer, { kind: "withdraw", of });

describe("Notice", () => {
  it("stands under its statement id, with everybody outstanding", async () => {
    const task = await Task.opened(world, 4);
    const signed = await task.notice([1, 3]);
    const { events } = await world.relay([item(signed)]);
    expect(events[0]!.name).toBe("Noticed");
    expect(events[0]!.args.toObject()).toMatchObject({
      transfer: signed.statement.transfer,
      manifest: signed.statement.manifest,
      recipients: bitmapOf([1, 3]),
      deadline: BigInt(signed.statement.deadline),
      signature: signed.signature,
    });
    expect(noticeId(signed.statement)).toBe(statementId(signed.statement, signed.author));
    expect(await task.state(signed.statement)).toEqual({
      deadline: BigInt(signed.statement.deadline),
      outstanding: bitmapOf([1, 3]),
      verified: 0n,
      withdrawn: false,
    });
  });

  it("is a duplicate when it comes again, even expired, and from a sender expelled since", async () => {
    const task = await Task.opened(world, 2);
    const signed = await task.notice([1]);
    expect(await one(signed)).toBe("OK");
    expect(await one(signed)).toBe("DUPLICATE");
    await changed(task, "expel", [addressOf(task.members[0]!)], 1);
    expect(await one(signed, signed.statement.deadline + 1)).toBe("DUPLICATE");
  });

  it("counts until the second of its deadline and not after it, by the block's time", async () => {
    const task = await Task.opened(world, 2);
    const deadline = (await world.now()) + 100;
    const [late, punctual] = [await task.notice([1], { deadline }), await task.notice([1], { deadline: deadline + 1 })];
    expect(await world.simulate([item(late)], deadline)).toEqual([["OK"]]);
    expect((await world.relay([item(late), item(punctual)], deadline + 1)).results).toEqual([["EXPIRED"], ["OK"]]);
  });

  it("may lie 30 days ahead, and no second more", async () => {
    const task = await Task.opened(world, 2);
    const now = (await world.now()) + 10;
    const [far, tooFar] = [now + 30 * DAY, now + 30 * DAY + 1];
    const items = [await task.notice([1], { deadline: far }), await task.notice([1], { deadline: tooFar })].map(item);
    expect((await world.relay(items, now)).results).toEqual([["OK"], ["BAD_DEADLINE"]]);
    expect(await one(await task.notice([1], { deadline: 2 ** 48 - 1 }))).toBe("BAD_DEADLINE");
    expect(await one(await task.notice([1], { deadline: 0 }))).toBe("EXPIRED");
  });

  it("names at least one recipient, inside its page", async () => {
    const task = await Task.opened(world, 4);
    for (const recipients of [0n, 1n << 104n, (1n << 256n) - 1n]) {
      expect(await one(await task.notice([], { recipients }))).toBe("BAD_RECIPIENTS");
    }
  });

  it("can't name an index that nobody has yet", async () => {
    const task = await Task.opened(world, 4);
    expect(await one(await task.notice([3]))).toBe("OK");
    expect(await one(await task.notice([3, 4]))).toBe("UNKNOWN_RECIPIENT");
    expect(await one(await task.notice([0], { page: 1 }))).toBe("UNKNOWN_RECIPIENT");
    expect(await one(await task.notice([103], { page: 65_535 }))).toBe("UNKNOWN_RECIPIENT");
  });

  it("comes from an active member of an existing task, with that member's signature", async () => {
    const task = await Task.opened(world, 3);
    const stranger = newKey();
    const foreign = await task.notice([1], { sender: addressOf(stranger) });
    expect(await one(await task.sign(stranger, foreign.statement))).toBe("UNKNOWN_MEMBER");
    expect(await one(await task.notice([1], { task: random32() }))).toBe("UNKNOWN_TASK");
    expect(await one(await task.notice([1], { sender: addressOf(task.members[1]!) }))).toBe("BAD_SIGNATURE");
    await changed(task, "expel", [addressOf(task.members[0]!)], 1);
    expect(await one(await task.notice([1]))).toBe("EXPELLED");
  });
});

describe("Receipts", () => {
  it("move their author's bit from outstanding to verified", async () => {
    const task = await Task.opened(world, 4);
    const notice = await task.noticed([1, 2, 3]);
    await world.relay([await task.receipts(notice, [task.members[2]!])]);
    expect(await task.state(notice)).toMatchObject({ outstanding: bitmapOf([1, 3]), verified: bitmapOf([2]) });
  });

  it.each(["CORRUPT", "TOO_LARGE", "REFUSED"] as Outcome[])("of %s only clear the bit", async (outcome) => {
    const task = await Task.opened(world, 3);
    const notice = await task.noticed([1, 2]);
    const { events } = await world.relay([await task.receipts(notice, [task.members[1]!], { outcome })]);
    expect(events[0]!.name).toBe("Receipts");
    expect(await task.state(notice)).toMatchObject({ outstanding: bitmapOf([2]), verified: 0n });
  });

  it("of ten members with equal words are ten statements and one event with their ten signatures", async () => {
    const task = await Task.opened(world, 11);
    const recipients = task.members.slice(1);
    const notice = await task.noticed(recipients.map((_, index) => index + 1));
    const receipts = await task.receipts(notice, recipients);
    const { results, events } = await world.relay([receipts]);
    expect(results).toEqual([Array.from({ length: 10 }, () => "OK")]);
    expect(events).toHaveLength(1);
    expect(events.map(groupsIn)).toEqual([[groupOf(notice, receipts)]]);
    expect(await task.state(notice)).toMatchObject({ outstanding: 0n });
  });

  it.each(["VERIFIED", "REFUSED"] as Outcome[])("of %s are duplicates when they come again", async (outcome) => {
    const task = await Task.opened(world, 3);
    const notice = await task.noticed([1, 2]);
    const receipts = await task.receipts(notice, [task.members[1]!], { outcome });
    const twice = { ...receipts, signatures: join(receipts.signatures, receipts.signatures) };
    const { results, events } = await world.relay([twice]);
    expect(results).toEqual([["OK", "DUPLICATE"]]);
    expect(events.filter(({ name }) => name === "Receipts").map(groupsIn)).toEqual([
      [{ ...groupOf(notice, receipts), outcome: outcomes[outcome] }],
    ]);
    await changed(task, "expel", [addressOf(task.members[1]!)], 1);
    expect((await world.relay([receipts], notice.deadline + 1)).results).toEqual([["DUPLICATE"]]);
  });

  it("are duplicates too when their author has been given a new index since", async () => {
    const task = await Task.opened(world, 3);
    const notice = await task.noticed([1, 2]);
    const author = task.members[1]!;
    const [verified, never] = [
      await task.receipts(notice, [author]),
      await task.receipts(await task.noticed([1]), [author]),
    ];
    await world.relay([verified]);
    for (const [index, roster] of [1, 3, 5].entries()) {
      await changed(task, "expel", [addressOf(author)], roster);
      await changed(task, "admit", [addressOf(author)], roster + 1);
      expect(await world.read("member", task.id, author.address)).toMatchObject({ index: BigInt(index + 3) });
    }
    expect((await world.relay([verified, never])).results).toEqual([["DUPLICATE"], ["NOT_OUTSTANDING"]]);
  });

  it("can't answer twice in different words: a cleared bit never returns", async () => {
    const task = await Task.opened(world, 3);
    const notice = await task.noticed([1, 2]);
    const [refused, verified] = await Promise.all(
      (["REFUSED", "VERIFIED"] as Outcome[]).map((outcome) => task.receipts(notice, [task.members[1]!], { outcome })),
    );
    expect((await world.relay([refused!, verified!])).results).toEqual([["OK"], ["NOT_OUTSTANDING"]]);
    expect(await task.state(notice)).toMatchObject({ outstanding: bitmapOf([2]), verified: 0n });
  });

  it("count only from an active recipient", async () => {
    const task = await Task.opened(world, 4);
    const notice = await task.noticed([1, 2]);
    await changed(task, "expel", [addressOf(task.members[1]!)], 1);
    const authors = [task.members[1]!, task.members[2]!, task.members[3]!, newKey()];
    const { results } = await world.relay([await task.receipts(notice, authors)]);
    expect(results).toEqual([["EXPELLED", "OK", "NOT_OUTSTANDING", "UNKNOWN_MEMBER"]]);
  });

  it("count until the second of the deadline, by the time of the block that includes them", async () => {
    const task = await Task.opened(world, 3);
    const notice = await task.noticed([1, 2]);
    const [first, second] = [
      await task.receipts(notice, [task.members[1]!]),
      await task.receipts(notice, [task.members[2]!]),
    ];
    expect((await world.relay([first], notice.deadline)).results).toEqual([["OK"]]);
    expect((await world.relay([second], notice.deadline + 1)).results).toEqual([["EXPIRED"]]);
    expect(await task.state(notice)).toMatchObject({ outstanding: bitmapOf([2]), verified: bitmapOf([1]) });
  });

  it("of another task don't touch a notice, though author, notice and index are the same", async () => {
    const task = await Task.opened(world, 3);
    const other = await Task.opened(world, task.members);
    const notice = await task.noticed([1, 2]);
    const foreign = await other.receipts(notice, [task.members[1]!]);
    expect((await world.relay([foreign])).results).toEqual([["UNKNOWN_NOTICE"]]);
    expect(await task.state(notice)).toMatchObject({ outstanding: bitmapOf([1, 2]) });
  });

  it("of a member on another page don't touch a notice", async () => {
    const task = await Task.opened(world, 106);
    const notice = await task.noticed([1]);
    const authors = [task.members[105]!, task.members[1]!, task.members[105]!];
    const { results } = await world.relay([await task.receipts(notice, authors)]);
    expect(results).toEqual([["UNKNOWN_NOTICE", "OK", "UNKNOWN_NOTICE"]]);
    expect(await task.state(notice)).toMatchObject({ outstanding: 0n, verified: bitmapOf([1]) });
    const second = await task.noticed([1], { page: 1 });
    expect((await world.relay([await task.receipts(second, authors)])).results).toEqual([
      ["OK", "UNKNOWN_NOTICE", "DUPLICATE"],
    ]);
    expect(await task.state(second)).toMatchObject({ outstanding: 0n, verified: bitmapOf([1]) });
  });

  it("of a notice or a task that isn't there wait", async () => {
    const task = await Task.opened(world, 2);
    const { statement } = await task.notice([1]);
    const early = await task.receipts(statement, [task.members[1]!]);
    const nowhere = await task.receipts(statement, [task.members[1]!], { task: random32() });
    expect((await world.relay([early, nowhere])).results).toEqual([["UNKNOWN_NOTICE"], ["UNKNOWN_TASK"]]);
  });

  it("have one of four outcomes", async () => {
    const task = await Task.opened(world, 2);
    const notice = await task.noticed([1]);
    const receipts = await task.receipts(notice, [task.members[1]!]);
    for (const outcome of ["00", "05", "ff"]) {
      const odd = { ...receipts, data: `${receipts.data.slice(0, -2)}${outcome}` as typeof receipts.data };
      expect((await world.relay([odd])).results).toEqual([["BAD_OUTCOME"]]);
    }
  });

  it("are refused as a whole when the signatures aren't a number of 65 bytes", async () => {
    const task = await Task.opened(world, 2);
    const notice = await task.noticed([1]);
    const receipts = await task.receipts(notice, [task.members[1]!]);
    for (const signatures of ["0x" as const, join(receipts.signatures, "0x00")]) {
      expect((await world.relay([{ ...receipts, signatures }])).results).toEqual([["BAD_SIGNATURE"]]);
    }
  });
});

describe("Withdraw", () => {
  it("clears who is outstanding and leaves who verified", async () => {
    const task = await Task.opened(world, 4);
    const notice = await task.noticed([1, 2]);
    await world.relay([await task.receipts(notice, [task.members[1]!])]);
    const { events } = await world.relay([item(await withdrawal(task, notice))]);
    expect(events[0]!.name).toBe("Withdrawn");
    expect(events[0]!.args.notice).toBe(noticeId(notice));
    expect(await task.state(notice)).toEqual({
      deadline: BigInt(notice.deadline),
      outstanding: 0n,
      verified: bitmapOf([1]),
      withdrawn: true,
    });
    expect((await world.relay([await task.receipts(notice, [task.members[2]!])])).results).toEqual([
      ["NOT_OUTSTANDING"],
    ]);
    expect(await one({ statement: notice, author: notice.sender, signature: "0x" })).toBe("DUPLICATE");
  });

  it("is a duplicate when it comes again", async () => {
    const task = await Task.opened(world, 2);
    const signed = await withdrawal(task, await task.noticed([1]));
    expect([await one(signed), await one(signed)]).toEqual(["OK", "DUPLICATE"]);
  });

  it("is good after the deadline, and for a sender expelled since", async () => {
    const task = await Task.opened(world, 2);
    const notice = await task.noticed([1]);
    await changed(task, "expel", [notice.sender], 1);
    expect(await one(await withdrawal(task, notice), notice.deadline + 1)).toBe("OK");
  });

  it("finds nothing to take back when all have answered", async () => {
    const task = await Task.opened(world, 2);
    const notice = await task.noticed([1]);
    await world.relay([await task.receipts(notice, [task.members[1]!])]);
    expect(await one(await withdrawal(task, notice))).toBe("NOT_OUTSTANDING");
  });

  it("is the sender's alone", async () => {
    const task = await Task.opened(world, 3);
    const notice = await task.noticed([1]);
    expect(await one(await withdrawal(task, notice, task.members[1]!))).toBe("BAD_SIGNATURE");
    const own = { ...notice, sender: addressOf(task.members[1]!) };
    expect(await one(await withdrawal(task, own, task.members[1]!))).toBe("UNKNOWN_NOTICE");
    expect(await task.state(notice)).toMatchObject({ outstanding: bitmapOf([1]), withdrawn: false });
  });

  it("of a notice or a task that isn't there waits", async () => {
    const task = await Task.opened(world, 2);
    const { statement } = await task.notice([1]);
    expect(await one(await withdrawal(task, statement))).toBe("UNKNOWN_NOTICE");
    expect(await one(await withdrawal(task, { ...statement, task: random32() }))).toBe("UNKNOWN_TASK");
  });
});

it("A member admitted again can't answer for its old index", async () => {
  const task = await Task.opened(world, 2);
  const author = task.members[1]!;
  const notice = await task.noticed([1]);
  await changed(task, "expel", [addressOf(author)], 1);
  await changed(task, "admit", [...randomAddresses(1), addressOf(author)], 2);
  expect((await world.relay([await task.receipts(notice, [author])])).results).toEqual([["NOT_OUTSTANDING"]]);
  const anew = await task.noticed([3]);
  expect((await world.relay([await task.receipts(anew, [author])])).results).toEqual([["OK"]]);
});

/** What an event says of VERIFIED receipts that all counted. */
function groupOf(notice: Notice, { signatures }: Item): ReturnType<typeof groupsIn>[number] {
  const each = signatures
    .slice(2)
    .match(/.{130}/g)!
    .map((digits) => `0x${digits}`);
  return { notice: noticeId(notice), outcome: 1, signatures: each };
}
