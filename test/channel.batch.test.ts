import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type BatchReceiveOptions, WaybillError } from "../lib/index.ts";
import {
  type Cast,
  coded,
  noticed,
  type Process,
  parcel,
  readings,
  rejection,
  Scene,
  watching,
} from "./support/members.ts";

// One call that collects a payload of each of several members, over the real stack.

let scene: Scene;
beforeAll(async () => {
  scene = await Scene.start();
});
afterAll(() => scene?.stop());

/** The first member collects from all others. */
interface Round {
  readonly cast: Cast;
  readonly aggregator: Process;
  readonly owners: readonly Process[];
  readonly sourceList: readonly string[];
}

async function round(owners: number, more: { ownNode?: boolean; fetch?: typeof fetch } = {}): Promise<Round> {
  const cast = await scene.cast(owners + 1, more);
  const processes = Array.from({ length: owners }, (_, i) => cast.process(i + 1));
  const aggregator = cast.process(0, more.fetch ? { fetch: more.fetch } : {});
  return { cast, aggregator, owners: processes, sourceList: processes.map(({ account }) => account) };
}

/** Sends to the aggregator; resolves when the notice is out, with the promise of the answer. */
async function send({ cast }: Round, owner: Process, tag: string, dataStream: Uint8Array, more: object = {}) {
  const { onNotice, notice } = noticed();
  const target = cast.accounts[0]!;
  const sent = owner.channel.sendStream({ target, dataStream, tag, onNotice, ...more });
  sent.catch(() => {}); // whoever waits for it is told
  return { ...(await notice), sent };
}

describe.each(readings)("batchReceiveStream %s", (_name, { ownNode }) => {
  it("resolves with sender → payload, ids as written and in their order, when every source has delivered", async () => {
    const all = await round(3, { ownNode });
    const { tag } = parcel();
    const payloads = all.owners.map((_, i) => randomBytes(100 + i));
    const sourceList = all.sourceList.map((id, i) => (i === 1 ? id.toLowerCase() : id));
    const collected = all.aggregator.channel.batchReceiveStream({ sourceList, tag });
    const sent: Promise<unknown>[] = [];
    for (const i of [2, 0, 1]) sent.push((await send(all, all.owners[i]!, tag, payloads[i]!)).sent);
    const bySender = await collected;
    expect([...bySender.keys()]).toEqual(sourceList);
    expect([...bySender.values()].map((bytes) => Buffer.from(bytes))).toEqual(payloads);
    expect(await Promise.all(sent)).toEqual(sent.map(() => all.cast.accounts[0]));
  });
});

describe("batchReceiveStream", () => {
  it("takes each source's oldest open notice when no tag is named, and files of their own into a folder", async () => {
    const all = await round(2);
    const home = await mkdtemp(join(tmpdir(), "waybill-test-batch-"));
    const [first, second, other] = [randomBytes(10), randomBytes(20), randomBytes(30)];
    const one = await send(all, all.owners[0]!, "older", first);
    const two = await send(all, all.owners[0]!, "younger", second);
    const three = await send(all, all.owners[1]!, "other", other);
    try {
      const { sourceList } = all;
      const bySender = await all.aggregator.channel.batchReceiveStream({ sourceList, to: { dir: home } });
      expect(await Promise.all([...bySender.values()].map((path) => readFile(path)))).toEqual([first, other]);
      expect((await readdir(home)).length).toBe(2);
      await all.aggregator.channel.receiveStream({ source: sourceList[0]! });
      await Promise.all([one.sent, two.sent, three.sent]);
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  });

  it("ends at the timeout with what arrived, and says of each other source why it failed", async () => {
    const all = await round(2);
    const { tag, dataStream } = parcel();
    const { sent } = await send(all, all.owners[0]!, tag, dataStream);
    const failures: unknown[] = [];
    const [present, absent] = all.sourceList;
    const bySender = await all.aggregator.channel.batchReceiveStream({
      ...{ sourceList: all.sourceList, tag, timeout: 10_000 },
      onFailure: ({ source, reason }) => failures.push([source, reason]),
    });
    expect([...bySender]).toEqual([[present, new Uint8Array(dataStream)]]);
    expect(failures).toEqual([[absent, "TIMEOUT"]]);
    expect(await sent).toBe(all.cast.accounts[0]);
  });

  it("with ensureAllSucc throws at the end, carrying what arrived and why the others failed", async () => {
    const all = await round(3);
    const { tag, dataStream } = parcel();
    const [good, large, absent] = all.sourceList as [string, string, string];
    const { sent } = await send(all, all.owners[0]!, tag, dataStream);
    const refused = await send(all, all.owners[1]!, tag, randomBytes(1_000));
    const error = await rejection(
      all.aggregator.channel.batchReceiveStream({
        ...{ sourceList: all.sourceList, tag, maxBytes: 999, timeout: 10_000, ensureAllSucc: true },
      }),
    );
    const received = new Map([[good, new Uint8Array(dataStream)]]);
    expect(error).toEqual(
      coded("NOT_ALL_RECEIVED", { received, failed: { [large]: "TOO_LARGE", [absent]: "TIMEOUT" } }),
    );
    expect(await sent).toBe(all.cast.accounts[0]);
    expect(await refused.sent).toBeNull();
  });

  it("lets a source fail alone that is expelled while it is waited for, or was before; a stranger is a mistake", async () => {
    const cast = await scene.cast(4);
    const [, before, during, loyal] = cast.accounts as [string, string, string, string];
    const owner = cast.process(0);
    await owner.contractor.expel([before]);
    const { tag, dataStream } = parcel();
    const failures: Record<string, string> = {};
    const sourceList = [before, during, loyal];
    const collected = owner.channel.batchReceiveStream({
      ...{ sourceList, tag },
      onFailure: ({ source, reason }) => {
        failures[source] = reason;
        if (source === before) void owner.contractor.expel([during]);
      },
    });
    const target = cast.accounts[0]!;
    const [bySender, sent] = await Promise.all([
      collected,
      cast.process(3).channel.sendStream({ target, dataStream, tag }),
    ]);
    expect([...bySender.keys()]).toEqual([loyal]);
    expect(failures).toEqual({ [before]: "EXPELLED", [during]: "EXPELLED" });
    expect(sent).toBe(target);
    const stranger = `0x${"12".repeat(20)}`;
    expect(await rejection(owner.channel.batchReceiveStream({ sourceList: [loyal, stranger] }))).toEqual(
      coded("NOT_MEMBER"),
    );
  });

  it("ends early when enough have delivered, after the grace; nothing stays claimed by it", async () => {
    const all = await round(3);
    const { tag } = parcel();
    const payloads = [randomBytes(10), randomBytes(11), randomBytes(12)];
    const { channel } = all.aggregator;
    const [first, , straggler] = all.sourceList as [string, string, string];
    const early = [
      await send(all, all.owners[0]!, tag, payloads[0]!),
      await send(all, all.owners[1]!, tag, payloads[1]!),
    ];
    const bySender = await channel.batchReceiveStream({ sourceList: all.sourceList, tag, atLeast: 2, graceAfter: 100 });
    expect([...bySender.keys()]).toEqual(all.sourceList.slice(0, 2));
    const late = await send(all, all.owners[2]!, tag, payloads[2]!);
    expect(await channel.receiveStream({ source: straggler, tag })).toEqual([straggler, new Uint8Array(payloads[2]!)]);
    await Promise.all([...early, late].map(({ sent }) => sent));
    await expect(channel.receiveStream({ source: first, tag, timeout: 1_000 })).rejects.toThrow(coded("TIMEOUT"));
  });

  it("waits beyond its end for a receipt that is out, because its sender counts on it", async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    // The receipts reach the chain only when the time of the call is over.
    const fetch = watching((path) => path.endsWith("/receipts") && held);
    const all = await round(2, { fetch });
    const { tag, dataStream } = parcel();
    const { sent } = await send(all, all.owners[0]!, tag, dataStream);
    const bySender = await all.aggregator.channel.batchReceiveStream({
      ...{ sourceList: all.sourceList, tag, timeout: 8_000 },
      onFailure: () => release(),
    });
    expect([...bySender.keys()]).toEqual([all.sourceList[0]]);
    expect(await sent).toBe(all.cast.accounts[0]);
  });

  it("that is aborted keeps what it has for the next calls", async () => {
    const all = await round(2);
    const { tag, dataStream } = parcel();
    const end = new AbortController();
    const sent = await send(all, all.owners[0]!, tag, dataStream);
    const { channel } = all.aggregator;
    const collecting = channel.batchReceiveStream({ sourceList: all.sourceList, tag, signal: end.signal });
    expect(await sent.sent).toBe(all.cast.accounts[0]);
    end.abort();
    expect(await rejection(collecting)).toEqual(coded("ABORTED"));
    const before = all.cast.downloads;
    const other = await send(all, all.owners[1]!, tag, dataStream);
    const bySender = await channel.batchReceiveStream({ sourceList: all.sourceList, tag, ensureAllSucc: true });
    expect([...bySender.values()]).toEqual([new Uint8Array(dataStream), new Uint8Array(dataStream)]);
    expect(all.cast.downloads).toBe(before + 1);
    expect(await other.sent).toBe(all.cast.accounts[0]);
  });

  it("ends at once when its own account is expelled, and with what a callback throws", async () => {
    const cast = await scene.cast(3);
    const aggregator = cast.process(2);
    const sourceList = cast.accounts.slice(0, 2);
    const collecting = rejection(aggregator.channel.batchReceiveStream({ sourceList }));
    const mine = new Error("mine");
    const { tag, dataStream } = parcel();
    const sender = cast.process(0);
    const end = new AbortController();
    const sent = rejection(
      sender.channel.sendStream({ target: cast.accounts[1]!, dataStream, tag, signal: end.signal }),
    );
    const other = cast.process(1).channel.batchReceiveStream({
      sourceList: [cast.accounts[0]!],
      onProgress: ({ source, totalBytes }) => {
        expect([source, totalBytes]).toEqual([cast.accounts[0], dataStream.length]);
        throw mine;
      },
    });
    expect(await rejection(other)).toBe(mine);
    end.abort();
    expect(await sent).toEqual(coded("ABORTED"));
    await cast.process(0).contractor.expel([aggregator.account]);
    expect(await collecting).toEqual(coded("EXPELLED"));
  });

  it("has no more than four downloads under way", async () => {
    const all = await round(6);
    const { tag } = parcel();
    for (const owner of all.owners) await send(all, owner, tag, randomBytes(50));
    let [now, most] = [0, 0];
    const bySender = await all.aggregator.channel.batchReceiveStream({
      ...{ sourceList: all.sourceList, tag },
      onProgress: ({ partsDone }) => {
        now += partsDone === 0 ? 1 : -1;
        most = Math.max(most, now);
      },
    });
    expect(bySender.size).toBe(6);
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(4);
  });

  it.each<[string, Partial<BatchReceiveOptions>]>([
    ["no sources", { sourceList: [] }],
    ["a source twice", { sourceList: [`0x${"ab".repeat(20)}`, `0x${"AB".repeat(20)}`] }],
    ["one file for all", { to: { path: "/tmp/one" } } as object],
    ["atLeast of more than there are", { atLeast: 2 }],
    ["atLeast of none", { atLeast: 0 }],
    ["graceAfter without atLeast", { graceAfter: 1 }],
    ["ensureAllSucc with atLeast", { ensureAllSucc: true, atLeast: 1 }],
  ])("refuses %s", async (_name, options) => {
    const { channel } = (await round(1)).aggregator;
    const call = channel.batchReceiveStream({
      sourceList: [`0x${"ab".repeat(20)}`],
      ...options,
    } as BatchReceiveOptions & {
      to?: "bytes";
    });
    const error = await rejection(call);
    expect(error).toBeInstanceOf(WaybillError);
    expect(error).toEqual(coded("USAGE"));
  });
});
