/** The bucket as the functions use it. */
import { createHash, randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { nameOf, readName } from "../../functions/entry-name.ts";
import { nonceMinute, noticeKey, payloadKey, recordKey } from "../../functions/keys.ts";
import type { Store } from "../../functions/store.ts";
import { compositeChecksum } from "../../lib/protocol/manifest.ts";
import { bytes, PART, sha256 } from "../support/s3.ts";
import { Place } from "../support/s3-place.ts";

let place: Place;
let store: Store;

beforeAll(async () => {
  place = await Place.open();
  store = place.store;
});
afterAll(() => place?.close());
afterEach(() => vi.useRealTimers());

const hex = (length: number): `0x${string}` => `0x${randomBytes(length).toString("hex")}`;

/** An upload of these parts that waits to be completed. */
async function uploaded(key: string, bodies: readonly Buffer[]) {
  const uploadId = await store.createUpload(key, "text/plain");
  const parts = bodies.map((body, i) => ({ number: i + 1, length: body.length, sha256: sha256(body) }));
  const { urls } = await store.presignParts(key, uploadId, parts);
  for (const { url, headers, number } of urls) {
    const { status } = await fetch(url, { method: "PUT", headers, body: bodies[number - 1] as Buffer<ArrayBuffer> });
    expect(status).toBe(200);
  }
  return { uploadId, parts, held: (await store.listParts(key, uploadId))! };
}

describe("small objects", () => {
  it("come back as they were written, and a missing one is null", async () => {
    const key = place.key();
    const value = { text: "zwölf", list: [1, null] };
    const written = await store.putJson(key, value);
    expect(await store.getJson(key)).toEqual({ value, etag: written!.etag });
    expect(await store.getBytes(place.key())).toBeNull();
    expect(await store.head(place.key())).toBeNull();
    await store.delete(key);
    await store.delete(key);
    expect(await store.getJson(key)).toBeNull();
  });

  it("are written once under if-none-match, however many try", async () => {
    const key = place.key();
    const tries = Array.from({ length: 8 }, (_, i) => store.putJson(key, i, { ifNoneMatch: true }));
    const won = (await Promise.all(tries)).map((answer, i) => (answer ? i : -1)).filter((i) => i >= 0);
    expect(won).toHaveLength(1);
    expect((await store.getJson(key))?.value).toBe(won[0]);
  });

  it("are changed under if-match only from the version that was read, by one of many", async () => {
    const key = place.key();
    const first = await store.putJson(key, 1);
    const second = await store.putJson(key, 2, { ifMatch: first!.etag });
    expect(await store.putJson(key, 3, { ifMatch: first!.etag })).toBeNull();
    expect(await store.getJson(key)).toEqual({ value: 2, etag: second!.etag });
    expect(await store.putJson(place.key(), 1, { ifMatch: first!.etag })).toBeNull();
    const tries = Array.from({ length: 6 }, (_, i) => store.putJson(key, 10 + i, { ifMatch: second!.etag }));
    expect((await Promise.all(tries)).filter((answer) => answer !== null)).toHaveLength(1);
  });

  it("are listed in order, after a key, up to a limit, beyond a page of 1,000, and deleted together", async () => {
    const prefix = `${place.key()}/`;
    const names = Array.from({ length: 1005 }, (_, i) => `${prefix}${String(i).padStart(5, "0")}`);
    for (let i = 0; i < names.length; i += 50)
      await Promise.all(names.slice(i, i + 50).map((name) => store.putJson(name, 0)));
    const keys = async (options?: object) => (await store.list(prefix, options)).map(({ key }) => key);
    expect(await keys({ limit: 2000 })).toEqual(names);
    expect(await keys()).toEqual(names.slice(0, 1000));
    expect(await keys({ limit: 3, startAfter: names[7]! })).toEqual(names.slice(8, 11));
    expect(await keys({ startAfter: names.at(-1)! })).toEqual([]);
    expect(await keys({ limit: 2, startAfter: `${prefix}0100` })).toEqual(names.slice(1000, 1002));
    const [first] = await store.list(prefix, { limit: 1 });
    expect(first).toMatchObject({ size: 1 });
    expect(Math.abs(Date.now() - first!.modified.getTime())).toBeLessThan(600_000);
    await store.delete([...names, `${prefix}never-there`]);
    expect(await keys()).toEqual([]);
  });

  it("may have keys that look different in a URL", async () => {
    const prefix = `${place.key()}/`;
    for (const name of ["a b", "ä+%2F!'()*", "?x=1#y"]) {
      const key = prefix + name;
      await store.putJson(key, key);
      expect((await store.getJson(key))?.value).toBe(key);
      expect(await store.list(key)).toMatchObject([{ key }]);
      await store.delete(key);
      expect(await store.getJson(key)).toBeNull();
    }
  });

  it("are found by a process whose clock is wrong, which then knows the store's", async () => {
    const key = place.key();
    await store.putJson(key, 1);
    const late = place.open();
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() - 20 * 60_000 });
    expect((await late.getJson(key))?.value).toBe(1);
    expect(late.now() - Date.now()).toBeGreaterThan(19 * 60_000);
    late.close();
  });
});

describe("the keys of the bucket", () => {
  const ref = { task: hex(32), sender: hex(20), transfer: hex(32) };
  const receipt = {
    statement: { kind: "receipt", task: hex(32), notice: hex(32), outcome: "VERIFIED" },
    author: hex(20),
    signature: hex(65),
  } as const;
  const outbox = (): string => `outbox/31337/${ref.sender}/${nameOf(hex(32), { signed: receipt }, Date.now())}`;
  const kinds: [string, string[]][] = [
    ["payloads", [payloadKey(ref), payloadKey(ref, 1), payloadKey(ref, 12)]],
    ["records", [recordKey(ref), noticeKey(ref.task, ref.transfer)]],
    ["nonces", [`${nonceMinute(ref.sender, 29_000_000)}${randomBytes(16).toString("base64url")}.12`]],
    ["receipts on their way", [outbox(), outbox()]],
  ];

  it.each(kinds)("of %s are kept, listed in order and deleted", async (_kind, keys) => {
    const prefix = `${place.key()}/`;
    for (const key of keys) {
      await store.putJson(prefix + key, key, { ifNoneMatch: true });
      expect(await store.putJson(prefix + key, key, { ifNoneMatch: true })).toBeNull();
    }
    const found = (await store.list(prefix)).map(({ key }) => key.slice(prefix.length));
    expect(found).toEqual(keys.toSorted());
    for (const key of found) expect((await store.getJson(prefix + key))?.value).toBe(key);
    await store.delete(found.map((key) => prefix + key));
    expect(await store.list(prefix)).toEqual([]);
  });

  it("have no piece that a file's name couldn't be, and a receipt's tells the receipt", () => {
    for (const key of kinds.flatMap(([, keys]) => keys)) {
      expect(key.length).toBeLessThan(900);
      for (const piece of key.split("/")) expect(piece).toMatch(/^[\w.-]{1,255}$/);
    }
    // Nor is any the folder of another.
    const keys = kinds.flatMap(([, keys]) => keys);
    for (const key of keys) expect(keys.filter((other) => other.startsWith(`${key}/`))).toEqual([]);
    const name = outbox().split("/").slice(3).join("/");
    expect(readName(name)?.posted?.signed).toEqual(receipt);
  });
});

describe("an upload", () => {
  const bodies = [bytes(PART, 1), bytes(100, 2)];

  it("is seen part by part, and completed once", async () => {
    const key = place.key();
    const { uploadId, parts, held } = await uploaded(key, bodies);
    expect(held.map(({ number, length, sha256 }) => ({ number, length, sha256 }))).toEqual(parts);
    expect(await store.hasPartSince(key, uploadId, Date.now() - 600_000)).toBe(true);
    expect(await store.hasPartSince(key, uploadId, Date.now() + 600_000)).toBe(false);
    expect(await store.complete(key, uploadId, held)).toBe("done");
    const checksum = compositeChecksum(parts.map((part) => part.sha256));
    const head = (await store.head(key))!;
    expect(head).toMatchObject({ size: PART + 100, checksum });
    const get = await store.presignGet(key, head.etag);
    const found = await fetch(get.url, { headers: { ...get.headers, range: `bytes=${PART - 1}-${PART}` } });
    expect(Buffer.from(await found.arrayBuffer())).toEqual(Buffer.concat(bodies).subarray(PART - 1, PART + 1));
    expect(await store.listParts(key, uploadId)).toBeNull();
    expect(await store.hasPartSince(key, uploadId, 0)).toBeNull();
  });

  it("tells apart what Complete ran into", async () => {
    const key = place.key();
    const [first, second] = [await uploaded(key, [bytes(10)]), await uploaded(key, [bytes(10, 2)])];
    const wrong = first.held.map((entry) => ({ ...entry, sha256: sha256(randomBytes(1)) }));
    expect(await store.complete(key, first.uploadId, wrong)).toBe("invalid");
    expect(await store.complete(key, first.uploadId, first.held)).toBe("done");
    expect(await store.complete(key, second.uploadId, second.held)).toBe("exists");
    await store.abort(key, second.uploadId);
    await store.abort(key, second.uploadId);
    const late = await store.complete(key, second.uploadId, second.held);
    expect(late).toBe(place.expected("the functions' Complete of an aborted upload", "gone"));
    expect(await store.complete(place.key(), second.uploadId, second.held)).toBe("gone");
  });

  it("that is completed again after its answer was lost may say anything but that it isn't what is there", async () => {
    const key = place.key();
    const { uploadId, held } = await uploaded(key, [bytes(10)]);
    expect(await store.complete(key, uploadId, held)).toBe("done");
    expect(await store.complete(key, uploadId, held)).toMatch(/done|gone|exists|unknown/);
    expect((await store.head(key))?.checksum).toBe(compositeChecksum([sha256(bytes(10))]));
  });

  it("counts under its prefix, up to a limit, and is met by a walk in pages", async () => {
    const prefix = `${place.key()}/`;
    const names = ["a", "b", "c"].map((name) => prefix + name);
    const open: { key: string; uploadId: string }[] = [];
    for (const key of names) open.push({ key, uploadId: await store.createUpload(key, "text/plain") });
    expect(await store.countUploads(prefix, 10)).toBe(place.expected("uploads counted under a folder", 3));
    expect(await store.countUploads(prefix, 2)).toBe(place.expected("uploads counted under a folder", 2));
    expect(await store.countUploads(`${prefix}b`, 10)).toBe(1);
    const walk = await store.listUploads(prefix, null);
    const met = walk.entries.map(({ key, uploadId }) => ({ key, uploadId }));
    expect(met).toEqual(place.expected("uploads met under a folder", open));
    const [, second, third] = open;
    const rest = await store.listUploads(prefix, second!);
    const met2 = rest.entries.map(({ key, uploadId }) => ({ key, uploadId }));
    expect(met2).toEqual(place.expected("uploads met under a folder", [third]));
    for (const { key, uploadId } of open) await store.abort(key, uploadId);
    expect((await store.listUploads(prefix, null)).entries).toEqual([]);
  });
});

describe("the composite checksum", () => {
  it("is the one of S3's own example", () => {
    const parts = [
      "lcKa6Boe7a167tUCN5C4OaFygGSYD8MBnBARTrdL+1w=",
      "gHjhbUT4oo2tSCtSZJdlKi+jeNXJT+VImqdPXsXvkOc=",
      "4l9PQ3zOPZ0oGFvknFX+J4zZwE4WMzO+l3r8XrbWOeM=",
    ];
    expect(compositeChecksum(parts)).toBe("rVWtNbadtsaKXJAcgWPWjifHzJaXde/iV4jaJAOdivc=-3");
    const raw = parts.map((part) => Buffer.from(part, "base64"));
    const whole = createHash("sha256").update(Buffer.concat(raw)).digest("base64");
    expect(compositeChecksum(parts)).toBe(`${whole}-3`);
  });
});
