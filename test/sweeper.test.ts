import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { manifestKey, noticeKey, payloadKey, readPayloadKey, recordKey, type TransferRef } from "../functions/keys.ts";
import { Registry } from "../functions/metrics.ts";
import { Records, type TransferRecord } from "../functions/records.ts";
import { Sweeper, type SweeperDeps, type SweepReport } from "../functions/sweeper.ts";
import { transferId } from "../lib/protocol/manifest.ts";
import { noticeId } from "../lib/protocol/statements.ts";
import { ApiWorld, type Caller, decoded, expectStatus, payloadOf } from "./support/api.ts";
import { DAY, type Task } from "./support/contract.ts";

// What the sweeper takes, what it leaves and why, and what a sender and a recipient find afterwards.

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const BOOKMARK = "transfer/sweeper.json";

let api: ApiWorld;
let task: Task;
let sender: Caller;
let recipient: Caller;
let records: Records;
let tag: string;
let made = 0;

beforeAll(async () => {
  api = await ApiWorld.start();
  task = await api.task(4);
  sender = api.caller(task.members[0]!);
  recipient = api.caller(task.members[1]!);
  records = new Records(api.deps.store);
});
afterAll(() => api?.stop());
beforeEach(async () => {
  tag = `swept-${++made}`;
  const { store } = api.deps;
  await store.delete((await store.list("payload/")).map(({ key }) => key));
  for (const { key, uploadId } of (await store.listUploads("payload/", null)).entries) await store.abort(key, uploadId);
  await store.delete(BOOKMARK);
  api.seen.length = 0;
});

const refOf = (name = tag): TransferRef => ({ task: task.id, sender: sender.account, transfer: transferId(name) });
const record = async (name = tag): Promise<TransferRecord> => (await records.read(refOf(name)))!.record;
const change = async (over: Partial<TransferRecord>): Promise<void> => {
  const { record: current, etag } = (await records.read(refOf()))!;
  expect(await records.replace(refOf(), etag, { ...current, ...over })).toBe(true);
};
const head = (generation = 0) => api.deps.store.head(payloadKey(refOf(), generation));
const sweeper = (over: Partial<SweeperDeps> = {}): Sweeper => {
  const { store, chain, config } = api.deps;
  return new Sweeper({ store, chain, retention: config.retention, ...over });
};
/** A run when so much time has passed. */
const sweepAfter = (ms: number, over: Partial<SweeperDeps> = {}): Promise<SweepReport> =>
  sweepAt(Date.now() + ms, over);
const sweepAt = (time: number, over: Partial<SweeperDeps> = {}): Promise<SweepReport> =>
  sweeper({ clock: () => time, ...over }).sweep();
/** Makes a block with that timestamp. */
const mineAt = async (timestamp: number): Promise<void> => {
  await api.world.provider.send("evm_setNextBlockTimestamp", [timestamp]);
  await api.world.provider.send("evm_mine", []);
};
const finish = (body: { manifest?: string; notices: Parameters<Caller["finish"]>[2]["notices"] }) =>
  sender.finish(task, transferId(tag), body);
const complete = async (): Promise<void> => {
  const { uploadId, generation } = await record();
  const key = payloadKey(refOf(), generation);
  const held = (await api.deps.store.listParts(key, uploadId))!;
  expect(await api.deps.store.complete(key, uploadId, held)).toBe("done");
};
const deletes = () => api.seen.filter(({ operation }) => operation.startsWith("DeleteObject")).length;

describe("a payload with notices", () => {
  it("goes when its last deadline and the retention are over, and everything that was said about it stays", async () => {
    const published = await sender.published(task, tag, randomBytes(20), [1]);
    const { keepUntil } = await record();
    expect(keepUntil).toBe(published.signed.notice.deadline + DAY);
    await mineAt(keepUntil + 1);
    expect(await sweepAt(keepUntil * 1000)).toMatchObject({ left: { kept: 1 }, swept: { payloads: 0 } });
    expect(await head()).not.toBeNull();
    const report = await sweepAt(keepUntil * 1000 + 1);
    expect(report).toMatchObject({ swept: { payloads: 1, bytes: 20 }, left: {}, fault: null, next: null });
    expect(await head()).toBeNull();
    expect(await record()).toMatchObject({ state: "swept", digest: published.digest, notices: [published.id] });
    expect(await api.deps.store.getBytes(manifestKey(refOf()))).toEqual(decoded(published.text));
    expect(await records.notice(task.id, published.id)).not.toBeNull();
  });

  it("stays while the chain's time is behind its deadline, however late our own clock is", async () => {
    const { signed } = await sender.published(task, tag, randomBytes(20), [1]);
    await mineAt(signed.notice.deadline);
    expect(await sweepAfter(1000 * DAY_MS)).toMatchObject({ left: { open: 1 } });
    await mineAt(signed.notice.deadline + 1);
    expect(await sweepAfter(1000 * DAY_MS)).toMatchObject({ swept: { payloads: 1 } });
  });

  it("stays while our clock is behind its time, whatever the chain's says", async () => {
    await sender.published(task, tag, randomBytes(20), [1]);
    const { keepUntil } = await record();
    await mineAt(keepUntil + DAY);
    expect(await sweepAt(keepUntil * 1000)).toMatchObject({ left: { kept: 1 } });
  });

  it("goes from a chain that makes no blocks once everybody has answered", async () => {
    const { signed } = await sender.published(task, tag, randomBytes(20), [1, 2]);
    await api.relay(await task.sign(task.members[1]!, task.receipt(signed.notice)));
    expect(await sweepAfter(1000 * DAY_MS)).toMatchObject({ left: { open: 1 } });
    await api.relay(await task.sign(task.members[2]!, task.receipt(signed.notice, { outcome: "REFUSED" })));
    expect(await sweepAfter(1000 * DAY_MS)).toMatchObject({ swept: { payloads: 1 } });
  });

  it("stays for its time after a Withdraw, too: who has verified may read it again", async () => {
    const { signed } = await sender.published(task, tag, randomBytes(20), [1]);
    await api.relay(await task.sign(sender.wallet, { kind: "withdraw", of: signed.notice }));
    const { keepUntil } = await record();
    expect(await sweepAt(keepUntil * 1000)).toMatchObject({ left: { kept: 1 } });
    expect(await sweepAt(keepUntil * 1000 + 1)).toMatchObject({ swept: { payloads: 1 } });
  });

  it("stays while one of several is open, and for the longest of them", async () => {
    const payload = await sender.stored(task, tag, randomBytes(20));
    const now = await api.world.now();
    const [short, long] = [
      await sender.notice(task, payload, [1], { deadline: now + 100 }),
      await sender.notice(task, payload, [2], { deadline: now + 5000 }),
    ];
    expectStatus(await finish({ notices: [short, long] }), 202);
    for (const { notice, signature } of [short, long])
      await api.relay({ statement: notice, author: sender.account, signature });
    await mineAt(now + 5000);
    expect(await sweepAt((now + 5000 + DAY) * 1000)).toMatchObject({ left: { kept: 1 } });
    expect(await sweepAfter(1000 * DAY_MS)).toMatchObject({ left: { open: 1 } });
    await mineAt(now + 5001);
    expect(await sweepAfter(1000 * DAY_MS)).toMatchObject({ swept: { payloads: 1 } });
  });

  it("stays for a notice that was promised its time and got no further, until the chain has passed that", async () => {
    const payload = await sender.stored(task, tag, randomBytes(20));
    const signed = await sender.notice(task, payload, [1]);
    expectStatus(await finish({ notices: [signed] }), 202);
    await api.deps.store.delete(noticeKey(task.id, noticeId(signed.notice))); // as if finish had died before it wrote that
    const { keepUntil } = await record();
    await mineAt(keepUntil);
    expect(await sweepAfter(1000 * DAY_MS)).toMatchObject({ left: { open: 1 } });
    await mineAt(keepUntil + 1);
    expect(await sweepAfter(1000 * DAY_MS)).toMatchObject({ swept: { payloads: 1 } });
  });

  it("stays when no node answers, and the rest is swept", async () => {
    await sender.published(task, tag, randomBytes(20), [1]);
    await sender.stored(task, `${tag}/told-nobody`, randomBytes(30));
    const down = new Error("ECONNREFUSED http://node.invalid/v2/sekrit");
    const chain = { head: () => Promise.reject(down), notice: () => Promise.reject(down) };
    const report = await sweepAfter(1000 * DAY_MS, { chain });
    expect(report).toMatchObject({ swept: { payloads: 1, bytes: 30 }, left: { open: 1 }, fault: "Error", next: null });
  });
});

describe("a payload without a notice", () => {
  it("goes a day after it was stored, and stays bound", async () => {
    const { digest } = await sender.stored(task, tag, randomBytes(20));
    expect(await sweepAfter(DAY_MS - HOUR_MS)).toMatchObject({ left: { young: 1 } });
    await change({ storedAt: (await record()).storedAt! + 7200 }); // it was two hours from its date to its end
    expect(await sweepAfter(DAY_MS + HOUR_MS)).toMatchObject({ left: { kept: 1 } });
    expect(await sweepAfter(DAY_MS + 3 * HOUR_MS)).toMatchObject({ swept: { payloads: 1, bytes: 20 } });
    expect(await record()).toMatchObject({ state: "swept", digest });
  });

  it("is not taken for an old one because the function's clock was wrong when it was stored", async () => {
    await sender.stored(task, tag, randomBytes(20));
    await change({ storedAt: 1 });
    const retention = 0; // else it would be too young to be looked at
    expect(await sweepAfter(DAY_MS - HOUR_MS, { retention })).toMatchObject({ left: { kept: 1 } });
  });

  it("of a transfer that was swept before is not judged by the notices that it had then", async () => {
    const published = await sender.published(task, tag, randomBytes(20), [1]);
    await mineAt((await record()).keepUntil + 1);
    await sweepAt((await record()).keepUntil * 1000 + 1);
    await sender.begin(task, tag, 20);
    await sender.putParts(task, published);
    expectStatus(await finish({ manifest: published.text, notices: [] }), 200);
    expect(await record()).toMatchObject({ state: "finished", notices: [published.id], generation: 1 });
    expect(await sweepAfter(HOUR_MS, { retention: 0 })).toMatchObject({ left: { kept: 1 } });
    expect(await head(1)).not.toBeNull();
  });
});

describe("a payload whose finish was cut short", () => {
  it("has a day from when it is first seen, in which it may be finished", async () => {
    const payload = await sender.upload(task, tag, randomBytes(20));
    await complete();
    const [first, second] = [Date.now() + 30 * DAY_MS, Date.now() + 31 * DAY_MS]; // its date says nothing
    expect(await sweepAt(first)).toMatchObject({ left: { unfinished: 1 } });
    expect(await sweepAt(second)).toMatchObject({ left: { unfinished: 1 } });
    expect((await sender.begin(task, tag, 20)).state).toBe("stored");
    expectStatus(await finish({ manifest: payload.text, notices: [] }), 200);
    expect(await record()).toMatchObject({ state: "finished", keepUntil: 0 });
  });

  it("goes then, and the tag is free for other bytes", async () => {
    await sender.upload(task, tag, randomBytes(20));
    await complete();
    await sweepAfter(2 * DAY_MS);
    expect(await sweepAfter(3 * DAY_MS + HOUR_MS)).toMatchObject({ swept: { payloads: 1, bytes: 20 } });
    expect(await record()).toMatchObject({ state: "aborted", digest: null });
    const other = await sender.stored(task, tag, randomBytes(33));
    expect(await record()).toMatchObject({ state: "finished", digest: other.digest, generation: 1 });
  });

  it("is bound to the manifest that was written, though its record didn't come to say so", async () => {
    const payload = await sender.upload(task, tag, randomBytes(20));
    await complete();
    await records.createManifest(refOf(), decoded(payload.text));
    await sweepAfter(2 * DAY_MS);
    expect(await sweepAfter(3 * DAY_MS + HOUR_MS)).toMatchObject({ swept: { payloads: 1 } });
    expect(await record()).toMatchObject({ state: "swept", digest: payload.digest, size: 20 });
    const other = await sender.post(sender.transfers(task), { transfer: transferId(tag), size: 33 });
    expect(other.json).toMatchObject({ code: "CONFLICT" });
    const again = await sender.begin(task, tag, 20);
    await sender.putParts(task, payloadOf(tag, Buffer.concat(payload.slices), again.partSize, again.contentType));
    expectStatus(await finish({ manifest: payload.text, notices: [] }), 200);
  });
});

describe("an upload", () => {
  const initiated = async (): Promise<number> => {
    const { entries } = await api.deps.store.listUploads("payload/", null);
    return Math.min(...entries.map((entry) => entry.initiated.getTime()));
  };

  it("without news for a day is aborted, and its tag begins anew with whatever bytes", async () => {
    await sender.upload(task, tag, randomBytes(20));
    const { uploadId } = await record();
    expect(await sweepAfter(DAY_MS - HOUR_MS)).toMatchObject({ aborted: 0, left: { active: 1 } });
    expect(await sweepAfter(DAY_MS + HOUR_MS)).toMatchObject({ aborted: 1, left: {} });
    expect(await api.deps.store.listParts(payloadKey(refOf()), uploadId)).toBeNull();
    expect(await record()).toMatchObject({ state: "aborted" });
    expect((await sender.get(`${sender.transfers(task)}/${transferId(tag)}/parts`)).json).toMatchObject({
      code: "NOT_STORED",
    });
    const { digest } = await sender.stored(task, tag, randomBytes(33));
    expect(await record()).toMatchObject({ state: "finished", digest });
  });

  it("stays while its newest part is younger than a day, however long ago it began", async () => {
    const begun = await sender.begin(task, tag, 40, { partSize: 16 });
    await delay(30);
    const payload = payloadOf(tag, randomBytes(40), 16, begun.contentType);
    await sender.putParts(task, payload);
    const { uploadId } = await record();
    const parts = (await api.deps.store.listParts(payloadKey(refOf()), uploadId))!;
    const newest = Math.max(...parts.map(({ modified }) => modified.getTime()));
    expect(newest).toBeGreaterThan(await initiated());
    expect(await sweepAt(newest + DAY_MS - 1)).toMatchObject({ aborted: 0, left: { active: 1 } });
    expectStatus(await finish({ manifest: payload.text, notices: [] }), 200);
  });

  it("goes when its newest part is a day old", async () => {
    await sender.upload(task, tag, randomBytes(40));
    const { uploadId } = await record();
    const parts = (await api.deps.store.listParts(payloadKey(refOf()), uploadId))!;
    const newest = Math.max(...parts.map(({ modified }) => modified.getTime()));
    expect(await sweepAt(newest + DAY_MS)).toMatchObject({ aborted: 1 });
  });

  it("that no record names goes after an hour, when no begin can be about to name it", async () => {
    const { store } = api.deps;
    await store.createUpload(payloadKey(refOf()), "text/plain");
    await sender.begin(task, `${tag}/named`, 20);
    await store.createUpload(payloadKey(refOf(`${tag}/named`)), "text/plain"); // one that lost to the other
    await store.createUpload("payload/of/nobody", "text/plain");
    expect(await sweepAt((await initiated()) + HOUR_MS - 1)).toMatchObject({ aborted: 0, left: { young: 4 } });
    expect(await sweepAfter(HOUR_MS)).toMatchObject({ aborted: 3, left: { active: 1 } });
    expect((await sender.begin(task, `${tag}/named`, 20)).state).toBe("open");
    expect(await store.countUploads("payload/", 10)).toBe(1);
  });

  it("of a swept transfer that began again leaves it bound", async () => {
    const payload = await sender.stored(task, tag, randomBytes(20));
    await sweepAfter(2 * DAY_MS);
    await sender.begin(task, tag, 20);
    expect(await sweepAfter(2 * DAY_MS)).toMatchObject({ aborted: 1 });
    expect(await record()).toMatchObject({ state: "swept", digest: payload.digest, generation: 1 });
    expect(await sender.begin(task, tag, 20)).toMatchObject({ state: "open", manifest: payload.text });
    expect(await record()).toMatchObject({ generation: 2 });
  });

  it("is found among more than the store lists at once", async () => {
    const { store } = api.deps;
    const all = Array.from({ length: 1_003 }, (_, i) => payloadKey(refOf(`${tag}/${i}`)));
    for (let i = 0; i < all.length; i += 50)
      await Promise.all(all.slice(i, i + 50).map((key) => store.createUpload(key, "text/plain")));
    await Promise.all(Array.from({ length: 10 }, () => store.createUpload(all[7]!, "text/plain")));
    expect(await sweepAfter(2 * HOUR_MS)).toMatchObject({ looked: { uploads: 1_013 }, aborted: 1_013, next: null });
    expect(await store.countUploads("payload/", 10)).toBe(0);
  });
});

describe("what the sweeper doesn't know", () => {
  it("stays: a payload without a record, one of a generation to come, somebody's file", async () => {
    const { store } = api.deps;
    await sender.stored(task, tag, randomBytes(20));
    const strange = [
      payloadKey(refOf(`${tag}/other`)),
      payloadKey(refOf(), 7),
      "payload/readme.txt",
      `${payloadKey(refOf())}.01`,
    ];
    for (const key of strange) await store.putBytes(key, randomBytes(5), "text/plain");
    expect(await sweepAfter(2 * DAY_MS)).toMatchObject({ swept: { payloads: 1, bytes: 20 }, left: { unrecorded: 4 } });
    for (const key of strange) expect(await store.head(key)).not.toBeNull();
  });

  it.each([
    ["isn't one", { state: "melted" }],
    ["has something more", { more: 1 }],
  ])("stays: a payload whose record %s, which is told with its ids", async (_, over) => {
    await sender.stored(task, tag, randomBytes(20));
    await sender.stored(task, `${tag}/sound`, randomBytes(30));
    const { record: current, etag } = (await records.read(refOf()))!;
    await api.deps.store.putJson(recordKey(refOf()), { ...current, ...over }, { ifMatch: etag });
    const lines: string[] = [];
    const report = await sweepAfter(2 * DAY_MS, { log: (line) => void lines.push(line) });
    expect(report).toMatchObject({ swept: { payloads: 1, bytes: 30 }, left: { damaged: 1 }, damaged: [refOf()] });
    expect(await head()).not.toBeNull();
    const told = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(told).toContainEqual(
      expect.objectContaining({ level: "ERROR", alarm: "RECORD_DAMAGED", task: task.id, transfer: transferId(tag) }),
    );
  });
});

describe("the keys of payloads", () => {
  it("say which transfer and which of its uploads they are of", () => {
    const ref = refOf();
    for (const generation of [0, 1, 12])
      expect(readPayloadKey(payloadKey(ref, generation))).toEqual({ ref, generation });
    for (const bad of [".0", ".01", ".x", "/", ".1.1"]) expect(readPayloadKey(`${payloadKey(ref)}${bad}`)).toBeNull();
    expect(readPayloadKey(recordKey(ref))).toBeNull();
  });
});

describe("a run", () => {
  it("tells what it did in one line and in numbers, without a key or a URL", async () => {
    const published = await sender.published(task, tag, randomBytes(20), [1]);
    await sender.stored(task, `${tag}/b`, randomBytes(30));
    await sender.begin(task, `${tag}/c`, 30);
    const [lines, metrics] = [[] as string[], new Registry()];
    const log = (line: string) => void lines.push(line);
    await sweepAt((await record()).keepUntil * 1000 + 1, { log, metrics: metrics.of("sweeper") });
    expect(lines).toHaveLength(1);
    const line = JSON.parse(lines[0]!) as Record<string, unknown>;
    expect(line).toMatchObject({ level: "INFO", service: "sweeper", count: 1, bytes: 30 });
    expect(line.detail).toBe("looked at 1 uploads and 2 payloads, aborted 1 uploads; left: 1 open; came to the end");
    expect(lines[0]).not.toContain(published.transfer);
    const counted = Object.fromEntries(metrics.samples().map(({ name, value }) => [name, value]));
    expect(counted).toEqual({ Sweeps: 1, SweptPayloads: 1, SweptBytes: 30, AbortedUploads: 1 });
  });

  it("does nothing the second time", async () => {
    await sender.stored(task, tag, randomBytes(20));
    await sweepAfter(2 * DAY_MS);
    api.seen.length = 0;
    expect(await sweepAfter(2 * DAY_MS)).toMatchObject({ looked: { payloads: 0 }, swept: { payloads: 0 } });
    expect(api.seen.every(({ method }) => method === "GET")).toBe(true);
  });

  it("writes nothing and deletes nothing where nothing is due, and reads no record of what is young", async () => {
    for (const name of ["a", "b", "c"]) await sender.stored(task, `${tag}/${name}`, randomBytes(20));
    api.seen.length = 0;
    expect(await sweepAfter(HOUR_MS)).toMatchObject({ left: { young: 3 } });
    expect(api.seen.map(({ operation }) => operation)).toEqual(["GetObject", "ListMultipartUploads", "ListObjectsV2"]);
  });

  it("that is out of time stops, and the next ones go on behind it until all was seen once", async () => {
    const { store } = api.deps;
    const names = Array.from({ length: 40 }, (_, i) => `${tag}/${i}`);
    for (const name of names) await store.createUpload(payloadKey(refOf(name)), "text/plain");
    const strays = names.map((name) => payloadKey(refOf(name)));
    await Promise.all(strays.map((key) => store.putBytes(key, randomBytes(3), "text/plain")));
    const clock = () => Date.now() + 2 * DAY_MS;
    const looked = { uploads: 0, payloads: 0 };
    let runs = 0;
    for (let next: SweepReport["next"] | undefined; next !== null; runs++) {
      let asked = 0;
      // Each question about the time takes a second; a run has about 40 of them.
      const report = await sweeper({ clock }).sweep({ remaining: () => 60_000 - 1_000 * asked++ });
      looked.uploads += report.looked.uploads;
      looked.payloads += report.looked.payloads;
      next = report.next;
      const bookmark: unknown = (await store.getJson(BOOKMARK))?.value ?? { place: null };
      expect(bookmark).toEqual({ place: next });
    }
    expect(runs).toBeGreaterThan(2);
    expect(looked).toEqual({ uploads: 40, payloads: 40 });
    expect(await sweeper({ clock }).sweep()).toMatchObject({ looked: { uploads: 0, payloads: 40 } });
  });

  it("goes on from the beginning when its bookmark makes no sense", async () => {
    await sender.stored(task, tag, randomBytes(20));
    await api.deps.store.putJson(BOOKMARK, { place: { pass: "elsewhere" } });
    expect(await sweepAfter(2 * DAY_MS)).toMatchObject({ swept: { payloads: 1 }, next: null });
  });

  it("ends early when it is told to, and says where", async () => {
    await sender.stored(task, tag, randomBytes(20));
    const report = await sweeper({ clock: () => Date.now() + 2 * DAY_MS }).sweep({ signal: AbortSignal.abort() });
    expect(report).toMatchObject({ looked: { payloads: 0 }, next: { pass: "uploads", key: "" } });
    expect(await sweepAfter(2 * DAY_MS)).toMatchObject({ swept: { payloads: 1 }, next: null });
  });
});

describe("after a sweep", () => {
  const swept = async () => {
    const published = await sender.published(task, tag, randomBytes(20), [1]);
    const { keepUntil } = await record();
    await mineAt(keepUntil + 1);
    expect(await sweepAt(keepUntil * 1000 + 1)).toMatchObject({ swept: { payloads: 1 } });
    return published;
  };

  it("a download answers GONE, from when the record says so", async () => {
    const published = await sender.published(task, tag, randomBytes(20), [1]);
    expectStatus(await recipient.download(task, published.id), 200);
    await change({ state: "swept" });
    expect(await recipient.download(task, published.id)).toMatchObject({ status: 410, json: { code: "GONE" } });
    await api.deps.store.delete(payloadKey(refOf()));
    expect(await recipient.download(task, published.id)).toMatchObject({ status: 410, json: { code: "GONE" } });
  });

  it("a notice over it is refused until it is sent again", async () => {
    const published = await swept();
    const signed = await sender.notice(task, published, [2]);
    expect(await finish({ notices: [signed] })).toMatchObject({ status: 409, json: { code: "NOT_STORED" } });
  });

  it("the same bytes come again, are bound as before, and can be downloaded by old notices and new ones", async () => {
    const published = await swept();
    const begun = await sender.begin(task, tag, 20);
    expect(begun).toMatchObject({ state: "open", manifest: published.text });
    const other = payloadOf(tag, randomBytes(20), begun.partSize, begun.contentType);
    expect((await finish({ manifest: other.text, notices: [] })).json).toMatchObject({ code: "CONFLICT" });
    await sender.putParts(task, published);
    const signed = await sender.notice(task, published, [2]);
    expectStatus(await finish({ manifest: published.text, notices: [signed] }), 202);
    await api.relay({ statement: signed.notice, author: sender.account, signature: signed.signature });
    for (const [caller, notice] of [
      [recipient, published.id],
      [api.caller(task.members[2]!), noticeId(signed.notice)],
    ] as const) {
      const answer = expectStatus(await caller.download(task, notice), 200);
      const bytes = await fetch(String(answer.url), { headers: answer.headers as Record<string, string> });
      expect(Buffer.from(await bytes.arrayBuffer())).toEqual(Buffer.concat(published.slices));
    }
  });

  it("begin needn't wait for the delete, for a new upload never comes under the key that is given up", async () => {
    const payload = await sender.stored(task, tag, randomBytes(20));
    await change({ state: "swept" }); // and the sweeper is killed
    await sender.begin(task, tag, 20);
    await sender.putParts(task, payload);
    expectStatus(await finish({ manifest: payload.text, notices: [] }), 200);
    expect([await head(0), await head(1)]).not.toContain(null);
    expect(await sweepAfter(HOUR_MS, { retention: 0 })).toMatchObject({ swept: { payloads: 1 }, left: { kept: 1 } });
    expect(await head(0)).toBeNull();
    expect(await head(1)).not.toBeNull();
  });

  it("that somebody else did, past every record, the same bytes come again too", async () => {
    const payload = await sender.stored(task, tag, randomBytes(20));
    await api.deps.store.delete(payloadKey(refOf()));
    expect(await sender.begin(task, tag, 20)).toMatchObject({ state: "open", manifest: payload.text });
    await sender.putParts(task, payload);
    expectStatus(await finish({ manifest: payload.text, notices: [] }), 200);
    expect(await record()).toMatchObject({ state: "finished", digest: payload.digest });
  });

  it("the caps count uploads of every generation", async () => {
    await sender.stored(task, tag, randomBytes(20));
    await sweepAfter(2 * DAY_MS);
    await sender.begin(task, tag, 20);
    expect(await api.deps.store.countUploads(`payload/${task.id}/${sender.account}/`, 10)).toBe(1);
    expect(expectStatus(await sender.delete(`${sender.transfers(task)}/${transferId(tag)}`), 200)).toEqual({
      state: "aborted",
    });
    expect(await api.deps.store.countUploads(`payload/${task.id}/${sender.account}/`, 10)).toBe(0);
    expect(await record()).toMatchObject({ state: "swept" });
    expect(deletes()).toBe(1);
  });
});
