import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { coded, noticed, parcel, readings, rejection, Scene, signpost, standing, watching } from "./support/members.ts";

// Design §8, the table's sendStream and receiveStream, "Received" and "Agreement". More in channel.test.ts: "whose receipt
// comes after a withdrawal is LATE, and both sides agree", "may return before its receipt stands ...".

const CONFIRMATIONS = 2;
let scene: Scene;
let dir: string;
beforeAll(async () => {
  scene = await Scene.start({ confirmations: CONFIRMATIONS });
  dir = await mkdtemp(join(tmpdir(), "waybill-test-agreement-"));
});
afterAll(async () => {
  await scene?.stop();
  await rm(dir, { recursive: true, force: true });
});

describe.each(readings)("%s", (_name, reading) => {
  it.concurrent("on the chain means, for both sides, with confirmations on top", async () => {
    const cast = await scene.cast(2, reading);
    const [alice, bob] = cast.accounts as [string, string];
    const { tag, dataStream } = parcel();
    const { onNotice, notice } = noticed();
    const newest = async (): Promise<number> => (await scene.block()).number;
    const recipient = cast.process(1);
    const [sent, received] = await Promise.all([
      cast.process(0).channel.sendStream({ target: bob, dataStream, tag, onNotice }).then(newest),
      recipient.channel.receiveStream({ source: alice, tag }).then(newest),
    ]);
    const { recipients } = await recipient.contractor.status((await notice).notice);
    const block = await scene.blockOf(recipients[0]!.transaction!);
    expect(Math.min(sent, received)).toBeGreaterThanOrEqual(block + CONFIRMATIONS);
  });

  it.concurrent("events are delivered only from that depth", async () => {
    const cast = await scene.cast(2, reading);
    const reader = cast.process(1);
    const news = reader.contractor.events();
    const first = news.next();
    await reader.contractor.members();
    const posted = cast.process(0).contractor.post({ kind: "hello", body: 1 });
    const { value } = await first;
    const depth = (await scene.block()).number - (await scene.blockOf(value!.transaction));
    expect(depth).toBeGreaterThanOrEqual(CONFIRMATIONS);
    await posted;
  });

  it.concurrent("a recipient that is expelled between its receipt and the chain gets EXPELLED, and does not count", async () => {
    const cast = await scene.cast(2, reading);
    const [alice, bob] = cast.accounts as [string, string];
    const { tag, dataStream } = parcel();
    const owner = cast.process(0);
    const sent = owner.channel.sendStream({ target: bob, dataStream, tag });
    const fetch = watching((path) => (path.endsWith("/receipts") ? owner.contractor.expel([bob]) : undefined));
    const received = rejection(cast.process(1, { fetch }).channel.receiveStream({ source: alice, tag }));
    expect(await received).toEqual(coded("EXPELLED", { payload: new Uint8Array(dataStream) }));
    expect(await sent).toBeNull();
  });
});

it.concurrent("timeout ends only the wait for a notice and the download: who has handed a receipt out waits for the chain", async () => {
  const cast = await scene.cast(2);
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const sender = cast.process(0);
  const { onNotice, notice } = noticed();
  const sent = sender.channel.sendStream({ target: bob, dataStream, tag, onNotice });
  await standing(sender, (await notice).notice);
  const timeout = 10_000;
  let end = 0;
  const fetch = watching(async (path) => {
    if (path.endsWith("/receipts")) await new Promise((resolve) => setTimeout(resolve, end - performance.now()));
  });
  const recipient = cast.process(1, { fetch });
  await recipient.contractor.members();
  end = performance.now() + timeout + 500;
  const [, data] = await recipient.channel.receiveStream({ source: alice, tag, timeout });
  expect(performance.now()).toBeGreaterThan(end);
  expect(Buffer.compare(data, dataStream)).toBe(0);
  expect(await sent).toBe(bob);
});

it.concurrent("received means fsynced in its file: the receipt is signed when the whole payload stands there", async () => {
  const cast = await scene.cast(2);
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const path = join(dir, "received");
  const seen: Buffer[] = [];
  const fetch = watching(async (where) => where.endsWith("/receipts") && seen.push(await readFile(path)));
  const [sent] = await Promise.all([
    cast.process(0).channel.sendStream({ target: bob, dataStream, tag }),
    cast.process(1, { fetch }).channel.receiveStream({ source: alice, tag, to: { path } }),
  ]);
  expect(sent).toBe(bob);
  expect(seen.map((bytes) => Buffer.compare(bytes, dataStream))).toEqual([0]);
});

it.concurrent("a payload that is kept comes before any other, and is not fetched again", async () => {
  const cast = await scene.cast(3);
  const [alice, bob, carol] = cast.accounts as [string, string, string];
  const end = new AbortController();
  const texts = ["kept", "older"] as const;
  const [kept, older] = [signpost(), signpost()];
  const sends = [
    // The older notice is another source's; the kept payload is given first all the same.
    cast.process(2).channel.sendStream({ target: bob, dataStream: Buffer.from(texts[1]), onNotice: older.reach }),
    older.reached.then(() =>
      cast.process(0).channel.sendStream({ target: bob, dataStream: Buffer.from(texts[0]), onNotice: kept.reach }),
    ),
  ];
  const fetch = watching((path) => path.endsWith("/receipts") && end.abort());
  const { channel } = cast.process(1, { fetch });
  const cut = channel.receiveStream({ source: alice, signal: end.signal });
  expect(await rejection(cut)).toEqual(coded("ABORTED"));
  await kept.reached;
  const source = [carol, alice];
  const received = [await channel.receiveStream({ source }), await channel.receiveStream({ source })];
  expect(received.map(([, data]) => String(Buffer.from(data)))).toEqual(texts);
  expect(received.map(([from]) => from)).toEqual([alice, carol]);
  expect(await Promise.all(sends)).toEqual([bob, bob]);
  expect(cast.downloads).toBe(2);
});

it("a receipt that comes after the deadline is LATE with the payload, and null at the sender", async () => {
  const cast = await scene.cast(2, { ownNode: true });
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const sent = cast.process(0).channel.sendStream({ target: bob, dataStream, tag, timeout: 60_000 });
  const fetch = watching((path) => (path.endsWith("/receipts") ? scene.pass(61) : undefined));
  const recipient = cast.process(1, { fetch });
  const received = rejection(recipient.channel.receiveStream({ source: alice, tag }));
  expect(await received).toEqual(coded("LATE", { payload: new Uint8Array(dataStream) }));
  expect(await sent).toBeNull();
  const again = recipient.channel.receiveStream({ source: alice, tag, timeout: 1_000 });
  expect(await rejection(again)).toEqual(coded("TIMEOUT"));
});

it("a call that joins an open notice waits until that notice's deadline, not for its own time", async () => {
  const cast = await scene.cast(2, { ownNode: true });
  const [, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const [first, second] = [noticed(), noticed()];
  const order = { target: bob, dataStream, tag };
  const earlier = cast.process(0);
  const one = earlier.channel.sendStream({ ...order, timeout: 100_000, onNotice: first.onNotice });
  await standing(earlier, (await first.notice).notice);
  const two = cast.process(0).channel.sendStream({ ...order, timeout: 3_600_000, onNotice: second.onNotice });
  expect(await second.notice).toEqual({ ...(await first.notice), joined: true });
  await scene.pass(101);
  expect(await Promise.all([one, two])).toEqual([null, null]);
});
