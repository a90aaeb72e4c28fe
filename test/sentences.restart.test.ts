import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TaskNews } from "../lib/index.ts";
import {
  coded,
  nameOf,
  newsOf,
  noticed,
  type Process,
  parcel,
  readings,
  rejection,
  Scene,
  signpost,
  standing,
  watching,
} from "./support/members.ts";

// Design §8, "Restart": a process that ends is its contractor closed; the next one knows only its key and its stateDir.
// A restarted aggregator is in sentences.tag.test.ts. In channel.state.test.ts: "without a stateDir is the newest event when the
// contractor is made; `from` overrides", "is known before anything is posted ...", "after its receipt gets the payload again by its
// notice, and signs nothing", and what becomes of a position that can't be kept.

let scene: Scene;
let dir: string;
beforeAll(async () => {
  scene = await Scene.start();
  dir = await mkdtemp(join(tmpdir(), "waybill-test-restart-"));
});
afterAll(async () => {
  await scene?.stop();
  await rm(dir, { recursive: true, force: true });
});

/** What a reader gets: so much, and no more for a second. */
async function read({ contractor }: Process, count: number): Promise<string[]> {
  return (await newsOf(contractor, count)).map(nameOf);
}

describe.each(readings)("%s", (_name, reading) => {
  it.concurrent("a participant restarted before its receipt gets the payload again, and answers once", async () => {
    const cast = await scene.cast(2, reading);
    const [alice, bob] = cast.accounts as [string, string];
    const { tag, dataStream } = parcel();
    const { onNotice, notice } = noticed();
    const sender = cast.process(0);
    const sent = sender.channel.sendStream({ target: bob, dataStream, tag, onNotice });
    const downloaded = signpost();
    const fetch = watching((path) => {
      if (!path.endsWith("/receipts")) return undefined;
      downloaded.reach();
      throw new TypeError("the process was killed here");
    });
    const died = cast.process(1, { fetch });
    const cut = rejection(died.channel.receiveStream({ source: alice, tag }));
    await downloaded.reached;
    const { recipients } = await standing(sender, (await notice).notice);
    expect(recipients).toMatchObject([{ state: "outstanding" }]);
    const [, data] = await cast.process(1).channel.receiveStream({ source: alice, tag });
    expect(Buffer.compare(data, dataStream)).toBe(0);
    expect(await sent).toBe(bob);
    await died.contractor.close();
    await cut;
  });

  it.concurrent("a participant restarted after its receipt went out has answered: nothing is delivered twice", async () => {
    const cast = await scene.cast(2, reading);
    const [alice, bob] = cast.accounts as [string, string];
    const { tag, dataStream } = parcel();
    const died = cast.process(1);
    const receiving = died.channel.receiveStream({ source: alice, tag, receipt: "sent" });
    const sent = cast.process(0).channel.sendStream({ target: bob, dataStream, tag });
    await receiving;
    await died.contractor.close();
    expect(await sent).toBe(bob);
    const again = cast.process(1).channel.receiveStream({ source: alice, tag, timeout: 1_000 });
    expect(await rejection(again)).toEqual(coded("TIMEOUT"));
  });

  it.concurrent("open notices to me are found however far the position is past them", async () => {
    const cast = await scene.cast(2, reading);
    const [alice, bob] = cast.accounts as [string, string];
    const stateDir = join(dir, `past ${reading.ownNode}`);
    const sender = cast.process(0);
    const { tag, dataStream } = parcel();
    const { onNotice, notice } = noticed();
    const sent = sender.channel.sendStream({ target: bob, dataStream, tag, onNotice });
    await standing(sender, (await notice).notice);
    await sender.contractor.post({ kind: "after it", body: 1 });
    const first = cast.process(1, { stateDir, from: 0 });
    expect(await read(first, 2)).toEqual(["opened", "after it"]);
    await first.contractor.close();
    const second = cast.process(1, { stateDir });
    expect(await read(second, 0)).toEqual([]);
    const [, data] = await second.channel.receiveStream({ source: alice, tag });
    expect(Buffer.compare(data, dataStream)).toBe(0);
    expect(await sent).toBe(bob);
  });
});

it.concurrent("the position moves past an event only when a reader took it: what was not taken comes after the restart", async () => {
  const cast = await scene.cast(2);
  const stateDir = join(dir, "taken");
  const alice = cast.process(0);
  const first = cast.process(1, { stateDir });
  await first.contractor.members();
  for (const kind of ["a", "b", "c"]) await alice.contractor.post({ kind, body: 1 });
  const reader = first.contractor.events();
  expect([nameOf((await reader.next()).value!), nameOf((await reader.next()).value!)]).toEqual(["a", "b"]);
  await first.contractor.close(); // it has asked for "b" and not for more: nobody knows whether it was done with it
  const second = cast.process(1, { stateDir });
  expect(await read(second, 2)).toEqual(["b", "c"]);
  await second.contractor.close();
  const third = cast.process(1, { stateDir });
  await alice.contractor.post({ kind: "d", body: 1 });
  expect(await read(third, 1)).toEqual(["d"]);
});

it.concurrent("and only when every handler active then has finished it: at least once across a crash", async () => {
  const cast = await scene.cast(2);
  const stateDir = join(dir, "finished");
  const alice = cast.process(0);
  const first = cast.process(1, { stateDir });
  await first.contractor.members();
  const seen: string[] = [];
  const [begun, both] = [signpost(), signpost()];
  const quick = (news: TaskNews): void => {
    if (seen.push(nameOf(news)) === 2) both.reach();
  };
  const slow = async (news: TaskNews): Promise<void> => {
    if (nameOf(news) !== "b") return;
    begun.reach();
    await new Promise(() => {}); // killed in the middle
  };
  const calls = [quick, slow].map((complementaryHandler) =>
    rejection(first.channel.receiveStream({ source: alice.account, complementaryHandler })),
  );
  for (const kind of ["a", "b"]) await alice.contractor.post({ kind, body: 1 });
  await Promise.all([begun.reached, both.reached]);
  await first.contractor.close();
  expect(await Promise.all(calls)).toEqual([coded("ABORTED"), coded("ABORTED")]);
  expect(seen).toEqual(["a", "b"]);
  expect(await read(cast.process(1, { stateDir }), 1)).toEqual(["b"]);
});

// Blocks come every second only from here on.
it("a participant restarted while its receipt waits for a block answers with the same statement: one receipt stands", async () => {
  const cast = await scene.cast(2);
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const { onNotice, notice } = noticed();
  const sender = cast.process(0);
  const sent = sender.channel.sendStream({ target: bob, dataStream, tag, onNotice });
  await standing(sender, (await notice).notice);
  const died = cast.process(1);
  await died.contractor.members();
  const next = cast.process(1);
  await next.contractor.members();
  const again = await scene.withoutBlocks(async () => {
    const cut = rejection(died.channel.receiveStream({ source: alice, tag }));
    await scene.pending(1);
    await died.contractor.close();
    expect(await cut).toEqual(coded("ABORTED"));
    return { received: next.channel.receiveStream({ source: alice, tag }) };
  });
  const [, data] = await again.received;
  expect(Buffer.compare(data, dataStream)).toBe(0);
  expect(await sent).toBe(bob);
  const { recipients } = await next.contractor.status((await notice).notice);
  expect(recipients).toMatchObject([{ state: "verified", outcome: "VERIFIED" }]);
});
