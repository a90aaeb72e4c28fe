import { AbiCoder } from "ethers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Hex } from "../lib/protocol/hex.ts";
import { digestOf, type Item, noticeId, signerOf, signStatement, statementId } from "../lib/protocol/statements.ts";
import {
  addressOf,
  forged,
  groupsIn,
  item,
  join,
  newKey,
  randomAddresses,
  Task,
  World,
  waybill,
} from "./support/contract.ts";

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world.stop());

/** One good item of every kind, in an order in which all of them take effect. */
async function oneOfEach(task: Task): Promise<Item[]> {
  const guest = newKey();
  const notice = await task.notice([1, 2]);
  const [, one] = task.members;
  return [
    item(await task.sign(task.owner, task.open)),
    item(await task.change("admit", [addressOf(guest)], 1)),
    item(await task.change("expel", [addressOf(guest)], 2)),
    item(notice),
    await task.receipts(notice.statement, [one!]),
    item(await task.sign(task.members[2]!, task.walletReceipt(notice.statement, addressOf(task.members[2]!)))),
    item(await task.message()),
    item(await task.sign(task.members[0]!, { kind: "withdraw", of: (await task.notice([1])).statement })),
  ];
}

describe("relay", () => {
  it("applies items of every kind in order, so that one may rest on the one before it", async () => {
    const task = Task.draft(world, 3);
    const { results, events } = await world.relay((await oneOfEach(task)).slice(0, 7));
    expect(results.flat()).toEqual(Array.from({ length: 7 }, () => "OK"));
    expect(events.map(({ name }) => name)).toEqual([
      ...["Opened", "Admitted", "Expelled", "Noticed", "Receipts", "WalletReceipt", "Posted"],
    ]);
  });

  it("lets no bad item affect another, wherever it stands", async () => {
    const task = Task.draft(world, 3);
    const good = (await oneOfEach(task)).slice(0, 7);
    const notice = await task.notice([1]);
    const bad: Item[] = [
      { kind: 99, data: "0x", signatures: "0x" },
      forged(item(await task.message())),
      { kind: 3, data: "0x1234", signatures: "0x" },
      { kind: 4, data: "0x", signatures: "0x" },
      { kind: 7, data: `0x${"ff".repeat(320)}` as Hex, signatures: "0x" },
      { kind: 0, data: `0x${"ff".repeat(160)}` as Hex, signatures: "0x" },
      item(await task.sign(newKey(), notice.statement)),
    ];
    const { results, events } = await world.relay(good.flatMap((entry, index) => [bad[index]!, entry]));
    expect(results.flatMap((codes, index) => (index % 2 ? codes : []))).toEqual(good.map(() => "OK"));
    expect(results.flatMap((codes, index) => (index % 2 ? [] : codes))).toEqual([
      ...["BAD_KIND", "BAD_SIGNATURE", "MALFORMED", "MALFORMED", "MALFORMED", "MALFORMED", "BAD_SIGNATURE"],
    ]);
    expect(events.filter(({ name }) => name === "Skipped")).toHaveLength(bad.length);
  });

  it("names a skipped statement by its id", async () => {
    const task = await Task.opened(world, 2);
    const message = await task.message({ deadline: 1 });
    const { events } = await world.relay([item(message)]);
    expect(events[0]!.args.toObject()).toEqual({ id: statementId(message.statement, message.author), reason: 2n });
  });

  it("mixes good and bad signatures in one Receipts item, and emits only the good ones", async () => {
    const task = await Task.opened(world, 4);
    const notice = await task.noticed([1, 2, 3]);
    const [good, other] = [
      await task.receipts(notice, [task.members[1]!]),
      await task.receipts(notice, [task.members[3]!]),
    ];
    const noPoint = `0x${"00".repeat(64)}1b`;
    const stranger = await task.receipts(notice, [newKey()]);
    const mixed = {
      ...good,
      signatures: join(noPoint, good.signatures, stranger.signatures, other.signatures, good.signatures),
    };
    const { results, events } = await world.relay([mixed]);
    expect(results).toEqual([["BAD_SIGNATURE", "OK", "UNKNOWN_MEMBER", "OK", "DUPLICATE"]]);
    expect(events.at(-1)!.name).toBe("Receipts");
    const signatures = [good.signatures, other.signatures];
    expect(groupsIn(events.at(-1)!)).toEqual([{ notice: noticeId(notice), outcome: 1, signatures }]);
  });

  it("answers an empty relay with nothing", async () => {
    expect((await world.relay([])).results).toEqual([]);
  });
});

describe("A task's line of events", () => {
  it("rises by one with every event and points to the block of the one before", async () => {
    const task = Task.draft(world, 3);
    const first = await world.relay(await oneOfEach(task));
    const second = await world.relay([item(await task.message()), item(await task.message())]);
    const third = await world.relay([item(await task.message())]);
    const events = [first, second, third].flatMap(({ events, block }) =>
      events.filter(({ name }) => name !== "Skipped").map(({ args }) => ({ args, block })),
    );
    for (const [index, { args }] of events.entries()) {
      expect(args.seq).toBe(BigInt(index + 1));
      expect(args.prevBlock).toBe(BigInt(index === 0 ? 0 : events[index - 1]!.block));
    }
    expect(events).toHaveLength(10);
    expect(await world.read("latest", task.id)).toEqual({ seq: 10n, blockNumber: BigInt(third.block) });
  });

  it("isn't moved by anything that is skipped: forged, expired, repeated, from outside", async () => {
    const task = await Task.opened(world, 3);
    const notice = await task.noticed([1, 2]);
    const before = await world.read("latest", task.id);
    const stranger = newKey();
    const { results } = await world.relay([
      forged(item(await task.message())),
      forged(item(await task.notice([1]))),
      forged(await task.receipts(notice, [task.members[1]!])),
      item(await task.sign(stranger, task.open)),
      item(await task.sign(stranger, (await task.message()).statement)),
      item(await task.sign(stranger, { kind: "withdraw", of: notice })),
      item(await task.sign(stranger, (await task.change("expel", [notice.sender], 1)).statement)),
      await task.receipts(notice, [stranger]),
      item(await task.message({ deadline: 1 })),
    ]);
    expect(results.flat()).not.toContain("OK");
    expect(await world.read("latest", task.id)).toEqual(before);
    expect(await world.read("roster", task.id)).toMatchObject({ version: 1n });
  });

  it("goes on through Receipts items of several tasks in a row, and through what stands between them", async () => {
    const tasks = [await Task.opened(world, 2), await Task.opened(world, 2)] as const;
    const receiptOf = async (task: Task) => task.receipts(await task.noticed([1]), [task.members[1]!]);
    const [a, b, c, d, e] = await Promise.all(
      [tasks[0], tasks[1], tasks[0], tasks[0], tasks[1]].map((task) => receiptOf(task)),
    );
    const between = item(await tasks[0].message());
    const before = await Promise.all(tasks.map((task) => world.read("latest", task.id)));
    const { results, events, block } = await world.relay([a!, b!, b!, c!, c!, between, d!, e!, a!]);
    expect(results.flat().join()).toBe("OK,OK,DUPLICATE,OK,DUPLICATE,OK,OK,OK,DUPLICATE");
    for (const [index, task] of tasks.entries()) {
      const { seq, blockNumber } = before[index] as { seq: bigint; blockNumber: bigint };
      const line = events.filter(({ args }) => args.task === task.id).map(({ args }) => [args.seq, args.prevBlock]);
      expect(line).toEqual(line.map((_, i) => [seq + BigInt(i + 1), i === 0 ? blockNumber : BigInt(block)]));
      expect(line).toHaveLength(index === 0 ? 4 : 2); // tasks that take turns end each other's events
      expect(await world.read("latest", task.id)).toEqual({
        seq: seq + BigInt(line.length),
        blockNumber: BigInt(block),
      });
    }
  });

  it("begins nowhere by receipts of tasks that don't exist, zero among them, which stand between good ones", async () => {
    const task = await Task.opened(world, 2);
    const [one, two] = [await task.noticed([1]), await task.noticed([1])];
    const author = task.members[1]!;
    const nowhere = [`0x${"00".repeat(32)}`, `0x${"ff".repeat(32)}`].map((id) => ({
      ...task.receipt(one),
      task: id as Hex,
    }));
    const bad = await Promise.all(nowhere.map(async (receipt) => item(await task.sign(author, receipt))));
    const good = await Promise.all([one, two].map((notice) => task.receipts(notice, [author])));
    const { results, events } = await world.relay([bad[0]!, bad[1]!, good[0]!, bad[0]!, good[1]!, bad[1]!]);
    expect(results.flat().join()).toBe("UNKNOWN_TASK,UNKNOWN_TASK,OK,UNKNOWN_TASK,OK,UNKNOWN_TASK");
    const skipped = events.filter(({ name }) => name === "Skipped").map(({ args }) => args.id);
    const ids = nowhere.map((receipt) => statementId(receipt, addressOf(author)));
    expect(skipped).toEqual([ids[0], ids[1], ids[0], ids[1]]);
    for (const { task: id } of nowhere) expect(await world.read("latest", id)).toEqual({ seq: 0n, blockNumber: 0n });
  });

  it("isn't shared: another task's events leave it alone", async () => {
    const [task, other] = [await Task.opened(world, 2), await Task.opened(world, 2)];
    await world.relay([item(await other.message()), item(await task.message()), item(await other.message())]);
    expect([await task.seq(), await other.seq()]).toEqual([2, 3]);
  });
});

describe("Malformed data", () => {
  const coder = AbiCoder.defaultAbiCoder();

  it.each([
    ["a page over 16 bits", 2, 2n ** 16n],
    ["a deadline over 48 bits", 6, 2n ** 48n],
    ["a sender over 160 bits", 1, 2n ** 160n],
  ])("of a notice with %s is told, not reverted", async (_, field, value) => {
    const task = await Task.opened(world, 2);
    const signed = item(await task.notice([1]));
    const words = signed.data.slice(2).match(/.{64}/g)!;
    const data = join(
      ...words.map((word, index) => (index === field ? coder.encode(["uint256"], [value]) : `0x${word}`)),
    );
    expect(
      (
        await world.relay([
          { ...signed, data },
          { ...signed, kind: 6, data },
        ])
      ).results,
    ).toEqual([["MALFORMED"], ["MALFORMED"]]);
  });

  it("of lists and payloads with other offsets, lengths or trailing bytes is told, not reverted", async () => {
    const task = await Task.opened(world, 2);
    const [open, message] = [item(await task.sign(task.owner, task.open)), item(await task.message())];
    const admit = item(await task.change("admit", randomAddresses(2), 1));
    const odd = [open, admit, message].flatMap((entry) => [
      { ...entry, data: join(entry.data, "0x00") },
      { ...entry, data: join(entry.data, `0x${"00".repeat(32)}`) },
      { ...entry, data: entry.data.slice(0, -64) as Hex },
      { ...entry, data: entry.data.slice(0, 66) as Hex },
      { ...entry, data: "0x" as Hex },
    ]);
    expect((await world.relay(odd)).results.flat()).toEqual(odd.map(() => "MALFORMED"));
  });

  it("of a list with a dirty address is told, not reverted", async () => {
    const task = await Task.opened(world, 2);
    const admit = item(await task.change("admit", randomAddresses(1), 1));
    const dirty = { ...admit, data: join(admit.data.slice(0, -64), `0x01${admit.data.slice(-62)}`) };
    expect((await world.relay([dirty])).results).toEqual([["MALFORMED"]]);
  });

  it("of receipts and wallet receipts with a wide outcome or account is told, not reverted", async () => {
    const task = await Task.opened(world, 2);
    const notice = await task.noticed([1]);
    const wide = coder.encode(["bytes32", "bytes32", "uint256"], [task.id, noticeId(notice), 257n]) as Hex;
    const items = [
      { kind: 4, data: wide, signatures: `0x${"11".repeat(65)}` as Hex },
      { kind: 5, data: join(wide, coder.encode(["uint256"], [1n])), signatures: "0x" as Hex },
      { kind: 5, data: join(wide.slice(0, -4), "0x0001", `0x${"ff".repeat(32)}`), signatures: "0x" as Hex },
    ];
    expect((await world.relay(items)).results).toEqual([["MALFORMED"], ["MALFORMED"], ["MALFORMED"]]);
  });

  it.each([
    ["data", 6, 2n ** 256n - 1n],
    ["signatures", 10, ((2n ** 256n - 1n) / 65n) * 65n],
  ])("with %s longer than any calldata is told too", async (_, field, length) => {
    const task = await Task.opened(world, 2);
    const notice = await task.noticed([1]);
    const call = waybill.encodeFunctionData("relay", [[await task.receipts(notice, [task.members[1]!])]]);
    // Offset, count, item offset, kind, data offset, signatures offset, data length, three words, signatures length, ...
    const words = call.slice(10).match(/.{64}/g)!;
    words[field] = length.toString(16).padStart(64, "0");
    const data = `${call.slice(0, 10)}${words.join("")}`;
    const answer = await world.provider.call({ to: world.domain.contract, data });
    expect(waybill.decodeFunctionResult("relay", answer)[0]).toEqual([[19n]]);
  });
});

describe("TypeScript and the contract agree", () => {
  it("on every struct type: what ethers signs, the contract accepts, and its recovery rules are the same", async () => {
    const task = Task.draft(world, 3);
    const signed = await task.sign(task.owner, task.open);
    expect(signerOf(world.domain, signed.statement, signed.signature)).toBe(task.open.owner);
    expect(digestOf(world.domain, signed.statement)).toMatch(/^0x[0-9a-f]{64}$/);
    const { results } = await world.relay(await oneOfEach(task));
    // The withdrawal is of a notice that was never relayed.
    expect(results.flat()).toEqual([...Array.from({ length: 7 }, () => "OK"), "UNKNOWN_NOTICE"]);
  });

  it("on chain and contract: a statement for another contract or chain is a bad signature here", async () => {
    const task = await Task.opened(world, 1);
    const { statement } = await task.message();
    const elsewhere = [
      { ...world.domain, chainId: world.domain.chainId + 1 },
      { ...world.domain, contract: addressOf(newKey()) },
    ];
    for (const domain of elsewhere) {
      const signed = await signStatement(task.members[0]!, domain, statement);
      expect((await world.relay([item(signed)])).results).toEqual([["BAD_SIGNATURE"]]);
    }
  });
});
