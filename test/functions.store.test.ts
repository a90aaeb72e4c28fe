import { createHash, randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Store } from "../functions/store.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import { compositeChecksum } from "../lib/protocol/manifest.ts";
import { type Store as LocalStore, startStore } from "../local/store/store.ts";

// The bucket as the functions see it.

let s3: LocalStore;
let store: Store;

beforeAll(async () => {
  s3 = await startStore({ minPartSize: 1 });
  store = open();
});
afterAll(async () => {
  store?.close();
  await s3?.stop();
});

function open(over: { bucket?: string; s3Endpoint?: string } = {}): Store {
  const { bucket, region, endpoint, credentials } = s3;
  return new Store({ bucket, region, s3Endpoint: endpoint, s3Credentials: credentials, ...over });
}

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("base64");

describe("small objects", () => {
  it("come back as they were written, and a missing one is null", async () => {
    const value = { text: "zwölf", list: [1, null] };
    const written = await store.putJson("a/b.json", value);
    expect(await store.getJson("a/b.json")).toEqual({ value, etag: written!.etag });
    expect(await store.getJson("a/c.json")).toBeNull();
    expect(await store.getBytes("a/c.json")).toBeNull();
    await store.delete("a/b.json");
    await store.delete("a/b.json");
    expect(await store.getJson("a/b.json")).toBeNull();
  });

  it("are written once under if-none-match, however many try", async () => {
    const tries = Array.from({ length: 8 }, (_, i) => store.putJson("once", i, { ifNoneMatch: true }));
    const won = (await Promise.all(tries)).map((answer, i) => (answer ? i : -1)).filter((i) => i >= 0);
    expect(won).toHaveLength(1);
    expect((await store.getJson("once"))?.value).toBe(won[0]);
  });

  it("are changed under if-match only from the version that was read", async () => {
    const first = await store.putJson("versioned", 1);
    const second = await store.putJson("versioned", 2, { ifMatch: first!.etag });
    expect(await store.putJson("versioned", 3, { ifMatch: first!.etag })).toBeNull();
    expect(await store.getJson("versioned")).toEqual({ value: 2, etag: second!.etag });
    expect(await store.putJson("never", 1, { ifMatch: first!.etag })).toBeNull();
  });

  it("are listed in order, after a key, up to a limit, beyond a page of 1,000", async () => {
    const names = Array.from({ length: 1005 }, (_, i) => `list/${String(i).padStart(5, "0")}`);
    for (let i = 0; i < names.length; i += 50)
      await Promise.all(names.slice(i, i + 50).map((name) => store.putJson(name, 0)));
    const keys = async (options?: object) => (await store.list("list/", options)).map(({ key }) => key);
    expect(await keys({ limit: 2000 })).toEqual(names);
    expect(await keys()).toEqual(names.slice(0, 1000));
    expect(await keys({ limit: 3, startAfter: names[7]! })).toEqual(names.slice(8, 11));
    expect(await keys({ startAfter: names.at(-1)! })).toEqual([]);
    const [first] = await store.list("list/", { limit: 1 });
    expect(Math.abs(Date.now() - first!.modified.getTime())).toBeLessThan(600_000);
  });
});

describe("uploads", () => {
  it("of more than 1,000 parts are listed whole, and completed once", async () => {
    const key = "payload/many";
    const uploadId = await store.createUpload(key, "text/plain");
    const slices = Array.from({ length: 1003 }, (_, i) => Buffer.from(`part ${i}`));
    const parts = slices.map((slice, i) => ({ number: i + 1, length: slice.length, sha256: sha256(slice) }));
    for (let i = 0; i < parts.length; i += 100) {
      const { urls } = await store.presignParts(key, uploadId, parts.slice(i, i + 100));
      await Promise.all(
        urls.map(({ url, headers, number }) => fetch(url, { method: "PUT", headers, body: slices[number - 1]! })),
      );
    }
    const held = (await store.listParts(key, uploadId))!;
    expect(held.map(({ number, length, sha256 }) => ({ number, length, sha256 }))).toEqual(parts);
    expect(await store.complete(key, uploadId, held)).toBe("done");
    const checksum = compositeChecksum(parts.map((part) => part.sha256));
    expect(await store.head(key)).toMatchObject({ size: Buffer.concat(slices).length, checksum });
    expect(await store.listParts(key, uploadId)).toBeNull();
    expect(await store.complete(key, uploadId, held)).toMatch(/gone|exists/);
  });

  it("tell apart what Complete ran into", async () => {
    const key = "payload/told";
    const part = randomBytes(10);
    const ready = async () => {
      const uploadId = await store.createUpload(key, "text/plain");
      const wanted = [{ number: 1, length: 10, sha256: sha256(part) }];
      const { urls } = await store.presignParts(key, uploadId, wanted);
      await fetch(urls[0]!.url, { method: "PUT", headers: urls[0]!.headers, body: part });
      return { uploadId, held: (await store.listParts(key, uploadId))! };
    };
    const [first, second] = [await ready(), await ready()];
    const wrong = first.held.map((entry) => ({ ...entry, sha256: sha256(randomBytes(1)) }));
    expect(await store.complete(key, first.uploadId, wrong)).toBe("invalid");
    expect(await store.complete(key, first.uploadId, first.held)).toBe("done");
    expect(await store.complete(key, second.uploadId, second.held)).toBe("exists");
    await store.abort(key, second.uploadId);
    await store.abort(key, second.uploadId);
    expect(await store.complete(key, second.uploadId, second.held)).toMatch(/gone|exists/);
  });

  it("are counted under their prefix, up to a limit", async () => {
    for (const name of ["a", "b", "c"]) await store.createUpload(`counted/${name}`, "text/plain");
    expect(await store.countUploads("counted/", 10)).toBe(3);
    expect(await store.countUploads("counted/", 2)).toBe(2);
    expect(await store.countUploads("counted/b", 10)).toBe(1);
  });
});

describe("a fault", () => {
  it.each([
    ["a bucket that isn't there", { bucket: "elsewhere" }],
    ["a store that isn't there", { s3Endpoint: "http://127.0.0.1:1" }],
  ])("of %s is UNAVAILABLE, and tells neither key, bucket nor address", async (_, over) => {
    const broken = open(over);
    const calls = [
      () => broken.getJson("some/key"),
      () => broken.putJson("some/key", 1, { ifMatch: '"x"' }),
      () => broken.list("some/"),
      () => broken.head("some/key"),
      () => broken.listParts("some/key", "id"),
      () => broken.createUpload("some/key", "text/plain"),
    ];
    // In a bucket that isn't there HEAD can't say more than "404": it has no body.
    for (const [i, call] of calls.entries()) {
      const error = await call().then(
        (value) => value,
        (thrown: unknown) => thrown,
      );
      if (i === 3 && "bucket" in over) continue;
      expect(error).toBeInstanceOf(WaybillError);
      expect(error).toMatchObject({ code: "UNAVAILABLE", retryable: true });
      const { message, cause } = error as WaybillError;
      expect(`${message} ${String(cause)}`).not.toMatch(/some\/key|elsewhere|127\.0\.0\.1/);
    }
    broken.close();
  });
});
