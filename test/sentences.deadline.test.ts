import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { NoticeEvent } from "../lib/index.ts";
import { MiB } from "../lib/protocol/limits.ts";
import {
  type Cast,
  coded,
  isOpen,
  noticed,
  type Process,
  parcel,
  readings,
  rejection,
  Scene,
  standing,
  watching,
} from "./support/members.ts";

// Design §8, "Deadline". Times that are none are in channel.test.ts, "bad input".

const DAY = 86_400;
let scene: Scene;
let cast: Cast;
let sender: Process;
beforeAll(async () => {
  scene = await Scene.start();
  cast = await scene.cast(3, { ownNode: true });
  sender = cast.process(0);
});
afterAll(() => scene?.stop());

/** Sends to nobody who listens, gives up, and tells how far ahead of chain time the deadline was: between these bounds. */
async function timeGiven(times: { connectionTimeout?: number; timeout?: number }, size = 1): Promise<[number, number]> {
  const end = new AbortController();
  const { onNotice, notice } = noticed();
  const before = (await scene.block()).timestamp;
  const target = cast.accounts[1]!;
  const sent = rejection(
    sender.channel.sendStream({ target, ...parcel(size), ...times, onNotice, signal: end.signal }),
  );
  const { deadline } = await notice;
  const after = (await scene.block()).timestamp;
  end.abort();
  expect(await sent).toEqual(coded("ABORTED"));
  return [deadline - after, deadline - before];
}

it.each([
  ["only their sum matters", { connectionTimeout: 40_000, timeout: 30_000 }, 70],
  ["either alone will do", { connectionTimeout: 70_000 }, 70],
  ["in whole seconds, rounded up", { timeout: 69_001 }, 70],
  ["and a thousand is the least", { timeout: 1_000, connectionTimeout: 69_000 }, 70],
  ["by default 10 minutes and a second per MiB", {}, 601],
  ["0 is 29 days", { timeout: 0 }, 29 * DAY],
  ["0 in either is 29 days", { timeout: 5_000, connectionTimeout: 0 }, 29 * DAY],
])("the deadline is chain time when the notice is signed, and both times: %s", async (_name, times, seconds) => {
  const [least, most] = await timeGiven(times);
  expect(seconds).toBeGreaterThanOrEqual(least);
  expect(seconds).toBeLessThanOrEqual(most);
});

it("the default grows with the payload", async () => {
  const [least, most] = await timeGiven({}, 2 * MiB + 1);
  expect(603).toBeGreaterThanOrEqual(least);
  expect(603).toBeLessThanOrEqual(most);
});

it.each([
  { timeout: 999 },
  { connectionTimeout: 999 },
  { timeout: 0.5 },
  { timeout: Number.NaN },
  { timeout: Number.POSITIVE_INFINITY },
])("a value under 1,000 is a usage error: %o", async (times) => {
  const [, bob] = cast.accounts as [string, string];
  const calls = [sender.channel.sendStream({ target: bob, ...parcel(), ...times })];
  for (const call of calls) expect(await rejection(call)).toEqual(coded("USAGE"));
  if (times.timeout === undefined) return;
  const { timeout } = times;
  expect(await rejection(sender.channel.receiveStream({ source: bob, timeout }))).toEqual(coded("USAGE"));
  expect(await rejection(sender.channel.batchReceiveStream({ sourceList: [bob], timeout }))).toEqual(coded("USAGE"));
});

it("the upload is not in it: time that passes before Complete shortens no deadline", async () => {
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  let passed = false;
  const fetch = watching((path) => {
    if (passed || !path.endsWith("/parts")) return undefined;
    passed = true;
    return scene.pass(1_000);
  });
  const [sent] = await Promise.all([
    cast.process(0, { fetch }).channel.sendStream({ target: bob, dataStream, tag, timeout: 100_000 }),
    cast.process(1).channel.receiveStream({ source: alice, tag }),
  ]);
  expect([sent, passed]).toEqual([bob, true]);
});

it("a re-send within the same second gets another deadline, and so another notice's id", async () => {
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const recipient = cast.process(1);
  const notices: NoticeEvent[] = [];
  const send = () => {
    const onNotice = (event: NoticeEvent): void => void notices.push(event);
    return sender.channel.sendStream({ target: bob, dataStream, tag, timeout: 100_000, onNotice });
  };
  const sent = await scene.withTimeStanding(async () => {
    const [first, refused] = await Promise.all([
      send(),
      rejection(recipient.channel.receiveStream({ source: alice, tag, maxBytes: 1 })),
    ]);
    expect([first, refused]).toEqual([null, coded("TOO_LARGE")]);
    return Promise.all([send(), recipient.channel.receiveStream({ source: alice, tag })]);
  });
  expect(sent[0]).toBe(bob);
  expect(notices.map(({ joined }) => joined)).toEqual([false, false]);
  expect(notices[1]!.deadline).toBe(notices[0]!.deadline + 1);
  expect(notices[1]!.notice).not.toBe(notices[0]!.notice);
});

describe.each(readings)("%s", (_name, reading) => {
  it("never by wall clock: while chain time stands still nobody is late", async () => {
    const [alice, bob] = cast.accounts as [string, string];
    const { tag, dataStream } = parcel();
    const receipts: string[] = [];
    const sent = await scene.withTimeStanding(async () => {
      const { onNotice, notice } = noticed();
      const sending = cast
        .process(0, reading)
        .channel.sendStream({ target: bob, dataStream, tag, timeout: 2_000, onNotice });
      const { deadline } = await notice;
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      expect(await isOpen(sending)).toBe(true);
      const received = await cast.process(1, reading).channel.receiveStream({ source: alice, tag });
      receipts.push(received[0]);
      expect((await scene.block()).timestamp).toBeLessThanOrEqual(deadline);
      return sending;
    });
    expect([sent, receipts]).toEqual([bob, [alice]]);
  });

  it("and once a block is later than the deadline everybody is, however little time has passed here", async () => {
    const [alice, bob] = cast.accounts as [string, string];
    const { tag, dataStream } = parcel();
    const { onNotice, notice } = noticed();
    const timeout = 20 * DAY * 1_000;
    const process = cast.process(0, reading);
    const sent = process.channel.sendStream({ target: bob, dataStream, tag, timeout, onNotice });
    await standing(process, (await notice).notice);
    await scene.pass(timeout / 1_000 + 1);
    expect(await sent).toBeNull();
    const late = cast.process(1, reading).channel.receiveStream({ source: alice, tag, timeout: 1_000 });
    expect(await rejection(late)).toEqual(coded("TIMEOUT"));
  });
});

// From here on blocks come every second only: the last tests of this file.

it("a notice that is not mined yet is open: joining it posts no other one", async () => {
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const order = { target: bob, dataStream, tag };
  const [first, second] = [noticed(), noticed()];
  const died = cast.process(0);
  await died.contractor.members();
  const sent = await scene.withoutBlocks(async () => {
    const cut = rejection(died.channel.sendStream({ ...order, onNotice: first.onNotice }));
    await first.notice;
    await scene.pending(1);
    await died.contractor.close();
    expect(await cut).toEqual(coded("ABORTED"));
    const again = cast.process(0).channel.sendStream({ ...order, onNotice: second.onNotice });
    expect(await second.notice).toEqual({ ...(await first.notice), joined: true });
    return { again };
  });
  await cast.process(1).channel.receiveStream({ source: alice, tag });
  expect(await sent.again).toBe(bob);
});

it("a receipt that was accepted before the deadline and mined after it is void for both sides", async () => {
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const { onNotice, notice } = noticed();
  const sent = sender.channel.sendStream({ target: bob, dataStream, tag, timeout: 300_000, onNotice });
  await standing(sender, (await notice).notice);
  const recipient = cast.process(1);
  await recipient.contractor.members();
  const received = await scene.withoutBlocks(async () => {
    const receiving = rejection(recipient.channel.receiveStream({ source: alice, tag }));
    await scene.pending(1);
    await scene.pass(301);
    return receiving;
  });
  expect(received).toEqual(coded("LATE", { payload: new Uint8Array(dataStream) }));
  expect(await sent).toBeNull();
  const { recipients } = await recipient.contractor.status((await notice).notice);
  expect(recipients).toMatchObject([{ state: "outstanding", outcome: null }]);
});

it("a notice that is mined after its deadline was not published: nobody is blamed, and the same call again gets there", async () => {
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const order = { target: bob, dataStream, tag };
  const fresh = cast.process(0);
  await fresh.contractor.members();
  const failed = await scene.withoutBlocks(async () => {
    const sending = rejection(fresh.channel.sendStream({ ...order, timeout: 300_000 }));
    await scene.pending(1);
    await scene.pass(301);
    return sending;
  });
  expect(failed).toEqual(coded("NOT_PUBLISHED", { received: [], failed: { [bob]: "NOT_PUBLISHED" } }));
  expect(failed).toMatchObject({ retryable: true });
  const uploads = cast.uploads;
  const [sent] = await Promise.all([
    fresh.channel.sendStream(order),
    cast.process(1).channel.receiveStream({ source: alice, tag }),
  ]);
  expect(sent).toBe(bob);
  expect(cast.uploads).toBe(uploads);
});

describe("on a chain that makes blocks for transactions only", () => {
  let still: Scene;
  beforeAll(async () => {
    still = await Scene.start();
    await still.onDemand();
  });
  afterAll(() => still?.stop());

  /** A process whose patience with a chain that stands still is short. */
  const impatient = (all: Cast, index: number, more: { ownNode?: boolean; relay?: "self" } = {}): Process => {
    const { deployment, rpc } = still.stack;
    const { ownNode = false, ...options } = more;
    const own = ownNode || more.relay ? { rpc } : {};
    return all.process(index, { ...options, deployment: { ...deployment, ...own, maxBlockAge: 6_000 } });
  };

  const ways: readonly (readonly [name: string, how: { readonly ownNode?: boolean; readonly relay?: "self" }])[] = [
    ...readings,
    ["paying for itself", { relay: "self" }],
  ];
  it.each(ways)(
    "the waiting sender takes its notice back when nobody answered, and that makes the block by which it is null: %s",
    async (_name, how) => {
      const all = await still.cast(2);
      await still.rpc("anvil_setBalance", all.accounts[0], "0xde0b6b3a7640000");
      const [, bob] = all.accounts as [string, string];
      const { onNotice, notice } = noticed();
      const process = impatient(all, 0, how);
      await still.rpc("evm_mine");
      const sent = rejection(
        process.channel.batchSendStream({ target: [bob], ...parcel(), timeout: 10_000, onNotice, ensureAllSucc: true }),
      );
      const { notice: id, deadline } = await notice;
      expect(await sent).toEqual(coded("NOT_ALL_RECEIVED", { failed: { [bob]: "TIMEOUT" } }));
      expect((await still.block()).timestamp).toBeGreaterThan(deadline);
      expect(await process.contractor.status(id)).toMatchObject({ withdrawn: true, recipients: [{ outcome: null }] });
    },
  );

  it("a deadline begins now, however long ago the newest block was made", async () => {
    const all = await still.cast(2);
    const [alice, bob] = all.accounts as [string, string];
    const { tag, dataStream } = parcel();
    const idle = async () => Date.now() / 1000 - (await still.block()).timestamp;
    while ((await idle()) < 11) await new Promise((resolve) => setTimeout(resolve, 500));
    const [sent] = await Promise.all([
      impatient(all, 0).channel.sendStream({ target: bob, dataStream, tag, timeout: 10_000 }),
      impatient(all, 1).channel.receiveStream({ source: alice, tag }),
    ]);
    expect(sent).toBe(bob);
  });

  it("a sender that only joined a notice doesn't take it back: without a block nobody is late", async () => {
    const all = await still.cast(2);
    const order = { target: all.accounts[1]!, ...parcel(), timeout: 10_000 };
    const first = noticed();
    const died = impatient(all, 0);
    await still.rpc("evm_mine");
    const cut = rejection(died.channel.sendStream({ ...order, onNotice: first.onNotice }));
    await standing(died, (await first.notice).notice);
    await died.contractor.close();
    expect(await cut).toEqual(coded("ABORTED"));
    const again = impatient(all, 0);
    expect(await rejection(again.channel.sendStream(order))).toEqual(coded("CHAIN_STALLED"));
    expect((await again.contractor.status((await first.notice).notice)).withdrawn).toBe(false);
  });

  it.each(readings)(
    "when no block comes at all, both sides learn that the chain stands still: %s",
    async (_name, reading) => {
      const all = await still.cast(2);
      const [alice, bob] = all.accounts as [string, string];
      const { tag, dataStream } = parcel();
      const { onNotice, notice } = noticed();
      const [sender, recipient] = [impatient(all, 0, reading), impatient(all, 1, reading)];
      await recipient.contractor.members();
      await still.rpc("evm_mine");
      const sent = rejection(sender.channel.sendStream({ target: bob, dataStream, tag, timeout: 10_000, onNotice }));
      await standing(sender, (await notice).notice);
      await still.rpc("evm_setAutomine", false);
      const received = rejection(recipient.channel.receiveStream({ source: alice, tag }));
      const stalled = [await sent, await received];
      expect(stalled).toEqual([coded("CHAIN_STALLED"), coded("CHAIN_STALLED")]);
      expect(stalled).toMatchObject([{ retryable: true }, { retryable: true }]);
      await still.rpc("evm_mine");
      await still.rpc("evm_setAutomine", true);
      // Its receipt came after the deadline. The payload was kept for whoever asks next.
      const late = rejection(recipient.channel.receiveStream({ source: alice, tag }));
      expect(await late).toEqual(coded("LATE", { payload: new Uint8Array(dataStream) }));
    },
  );
});
