/** What Waybill relies on in an S3: objects, conditions, listings. */
import {
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bytes, outcome, refusal, sha256, verdict } from "../support/s3.ts";
import { Place } from "../support/s3-place.ts";

let place: Place;
let s3: Place["s3"];
let Bucket: string;

beforeAll(async () => {
  place = await Place.open();
  ({ s3, bucket: Bucket } = place);
});
afterAll(() => place?.close());

describe("an object", () => {
  it("comes back with its bytes, its content type and its metadata", async () => {
    const key = place.key();
    const etag = await s3.put(key, "hello", { ContentType: "text/plain", Metadata: { round: "7" } });
    const found = await s3.client.send(new GetObjectCommand({ Bucket, Key: key }));
    expect(await found.Body?.transformToString()).toBe("hello");
    expect(found).toMatchObject({ ETag: etag, ContentType: "text/plain", ContentLength: 5, Metadata: { round: "7" } });
    const head = await s3.client.send(new HeadObjectCommand({ Bucket, Key: key }));
    expect(head).toMatchObject({ ETag: etag, ContentType: "text/plain", ContentLength: 5, AcceptRanges: "bytes" });
  });

  it("may be empty", async () => {
    const key = place.key();
    await s3.put(key, bytes(0));
    expect(await s3.read(key)).toHaveLength(0);
    expect(await refusal(s3.read(key, { Range: "bytes=0-" }))).toEqual(["InvalidRange", 416]);
  });

  it("that is not there is 404, for GET with a code", async () => {
    expect(await refusal(s3.read(place.key()))).toEqual(["NoSuchKey", 404]);
    expect((await refusal(s3.client.send(new HeadObjectCommand({ Bucket, Key: place.key() }))))[1]).toBe(404);
  });

  it("is replaced by a later one, and deleted any number of times", async () => {
    const key = place.key();
    await s3.put(key, "one");
    await s3.put(key, "two");
    expect((await s3.read(key)).toString()).toBe("two");
    await s3.client.send(new DeleteObjectCommand({ Bucket, Key: key }));
    await s3.client.send(new DeleteObjectCommand({ Bucket, Key: key }));
    expect(await refusal(s3.read(key))).toEqual(["NoSuchKey", 404]);
  });

  it.each([
    ["bytes=0-0", 0, 1],
    ["bytes=3-6", 3, 7],
    ["bytes=7-", 7, 10],
    ["bytes=-4", 6, 10],
    ["bytes=-400", 0, 10],
    ["bytes=8-400", 8, 10],
  ])("gives the range %s", async (range, start, end) => {
    const key = place.key();
    const body = bytes(10);
    await s3.put(key, body);
    const found = await s3.client.send(new GetObjectCommand({ Bucket, Key: key, Range: range }));
    expect(found).toMatchObject({ ContentRange: `bytes ${start}-${end - 1}/10`, ContentLength: end - start });
    expect(Buffer.from((await found.Body?.transformToByteArray()) ?? [])).toEqual(body.subarray(start, end));
    expect(found.$metadata.httpStatusCode).toBe(206);
  });

  it.each(["bytes=10-", "bytes=10-12", "bytes=-0"])("has no range %s", async (range) => {
    const key = place.key();
    await s3.put(key, bytes(10));
    const response = await fetch(await s3.presign("GET", key), { headers: { range } });
    expect(await verdict(response)).toMatchObject({ status: 416, code: "InvalidRange" });
  });

  it("has a SHA-256 when one was sent, and is refused when the SHA-256 or the MD5 is another's", async () => {
    const key = place.key();
    const checksum = sha256(Buffer.from("hello"));
    await s3.put(key, "hello", { ChecksumSHA256: checksum });
    const input = { Bucket, Key: key, ChecksumMode: "ENABLED" } as const;
    const head = await s3.client.send(new HeadObjectCommand(input));
    expect(head).toMatchObject({ ChecksumSHA256: checksum, ChecksumType: "FULL_OBJECT" });
    const other = await refusal(s3.put(key, "hallo", { ChecksumSHA256: checksum }));
    expect(other).toEqual(place.expected("other bytes", ["BadDigest", 400]));
    expect(await refusal(s3.put(key, "hallo", { ContentMD5: "XUFAKrxLKna5cZ2REBfFkg==" }))).toEqual(["BadDigest", 400]);
    expect((await s3.read(key)).toString()).toBe("hello");
  });
});

describe("a conditional request", () => {
  it("creates a key once", async () => {
    const key = place.key();
    await s3.put(key, "one", { IfNoneMatch: "*" });
    expect(await refusal(s3.put(key, "two", { IfNoneMatch: "*" }))).toEqual(["PreconditionFailed", 412]);
    expect((await s3.read(key)).toString()).toBe("one");
  });

  it("lets one of many creators win", async () => {
    const key = place.key();
    const tries = await Promise.allSettled(
      ["a", "b", "c", "d", "e"].map((body) => s3.put(key, body, { IfNoneMatch: "*" })),
    );
    const won = tries.flatMap((result, index) => (result.status === "fulfilled" ? ["abcde"[index]] : []));
    const lost = tries.flatMap((result) =>
      result.status === "rejected" ? [result.reason.$metadata.httpStatusCode] : [],
    );
    expect(won).toEqual([(await s3.read(key)).toString()]);
    expect(lost).toHaveLength(4);
    for (const status of lost) expect([409, 412]).toContain(status);
  });

  it("replaces exactly the version that it names", async () => {
    const key = place.key();
    const etag = await s3.put(key, "one");
    await s3.put(key, "two", { IfMatch: etag });
    expect(await refusal(s3.put(key, "three", { IfMatch: etag }))).toEqual(["PreconditionFailed", 412]);
    expect(await refusal(s3.put(place.key(), "one", { IfMatch: etag }))).toEqual(["NoSuchKey", 404]);
    expect((await s3.read(key)).toString()).toBe("two");
  });

  it("lets one of many replacers win", async () => {
    const key = place.key();
    const etag = await s3.put(key, "start");
    const tries = await Promise.allSettled(["a", "b", "c"].map((body) => s3.put(key, body, { IfMatch: etag })));
    expect(tries.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });

  it("reads the version that it names, or learns that there is no newer one", async () => {
    const key = place.key();
    const etag = await s3.put(key, "one");
    expect((await s3.read(key, { IfMatch: etag })).toString()).toBe("one");
    expect((await refusal(s3.read(key, { IfNoneMatch: etag })))[1]).toBe(304);
    await s3.put(key, "two");
    expect(await refusal(s3.read(key, { IfMatch: etag }))).toEqual(["PreconditionFailed", 412]);
    expect((await s3.read(key, { IfNoneMatch: etag })).toString()).toBe("two");
  });
});

describe("a listing", () => {
  it("is in the order of UTF-8 bytes, by pages, from a prefix and behind a key", async () => {
    const prefix = `${place.key()}/`;
    const names = ["a", "a-b", "a.b", "aa", "b/c", "b/d", "bb", "z", "é", "ｚ", "😀"].map((name) => prefix + name);
    await Promise.all(names.map((name) => s3.put(name, "x")));
    const found: string[] = [];
    let token: string | undefined;
    do {
      const input = { Bucket, Prefix: prefix, MaxKeys: 3, ...(token && { ContinuationToken: token }) };
      const page = await s3.client.send(new ListObjectsV2Command(input));
      expect(page.KeyCount).toBeLessThanOrEqual(3);
      found.push(...(page.Contents ?? []).map(({ Key }) => Key as string));
      token = page.NextContinuationToken;
      expect(page.IsTruncated).toBe(token !== undefined);
    } while (token);
    expect(found).toEqual(names);
    const behind = await s3.client.send(new ListObjectsV2Command({ Bucket, Prefix: prefix, StartAfter: `${prefix}b` }));
    expect(behind.Contents?.map(({ Key }) => Key)).toEqual(names.slice(4));
    // Also behind a key that was never there.
    const between = { Bucket, Prefix: prefix, StartAfter: `${prefix}b/cc` };
    const rest = await s3.client.send(new ListObjectsV2Command(between));
    expect(rest.Contents?.map(({ Key }) => Key)).toEqual(names.slice(5));
  });

  it("keeps a folder's keys behind those that only begin as it does", async () => {
    const prefix = `${place.key()}/`;
    const names = ["a!b", "a-b", "a.b", "a/b", "a0b"].map((name) => prefix + name);
    for (const name of names) await s3.put(name, "x");
    const found: unknown[] = [];
    for (let after = ""; ; ) {
      const input = { Bucket, Prefix: prefix, MaxKeys: 1, ...(after && { StartAfter: after }) };
      const { Contents: [next] = [] } = await s3.client.send(new ListObjectsV2Command(input));
      if (!next?.Key || found.length > names.length) break;
      found.push(next.Key.slice(prefix.length));
      after = next.Key;
    }
    expect(found).toEqual(place.expected("order around a folder", ["a!b", "a-b", "a.b", "a/b", "a0b"]));
  });

  it("has room for an object under a key and others behind it", async () => {
    const key = place.key();
    await s3.put(key, "a file");
    const behind = await outcome(s3.put(`${key}/more`, "and a folder"), () => "stored");
    expect(behind).toEqual(place.expected("an object and a folder of one name", "stored"));
    expect((await s3.read(key)).toString()).toBe("a file");
  });

  it("takes long names between slashes", async () => {
    const key = `${place.key()}/${"x".repeat(255)}`;
    await s3.put(key, "x");
    expect(await s3.read(key)).toHaveLength(1);
    const longer = await outcome(s3.put(`${key}x`, "x"), () => "stored");
    expect(longer).toEqual(place.expected("256 bytes between slashes", "stored"));
  });

  it("folds what lies behind a delimiter, also across pages", async () => {
    const prefix = `${place.key()}/`;
    await Promise.all(["a/1", "a/2", "b", "c/1", "c/2"].map((name) => s3.put(prefix + name, "x")));
    const found: (string | undefined)[] = [];
    let token: string | undefined;
    do {
      const input = { Bucket, Prefix: prefix, Delimiter: "/", MaxKeys: 1, ...(token && { ContinuationToken: token }) };
      const page = await s3.client.send(new ListObjectsV2Command(input));
      found.push(
        ...(page.CommonPrefixes ?? []).map(({ Prefix }) => Prefix),
        ...(page.Contents ?? []).map(({ Key }) => Key),
      );
      token = page.NextContinuationToken;
    } while (token);
    expect(found).toEqual([`${prefix}a/`, `${prefix}b`, `${prefix}c/`]);
  });

  it("keeps keys that XML and URLs must escape", async () => {
    const prefix = `${place.key()}/`;
    const names = ["<&>\"'", "a b+c%2Fd", "ключ/鍵", "~!*()", "?#"].map((name) => prefix + name);
    for (const name of names) await s3.put(name, name);
    const page = await s3.client.send(new ListObjectsV2Command({ Bucket, Prefix: prefix }));
    expect(page.Contents?.map(({ Key }) => Key).sort()).toEqual([...names].sort());
    for (const name of names) expect((await s3.read(name)).toString()).toBe(name);
    const Objects = names.map((Key) => ({ Key }));
    const gone = await s3.client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
    expect(gone.Deleted).toHaveLength(names.length);
    expect((await s3.client.send(new ListObjectsV2Command({ Bucket, Prefix: prefix }))).KeyCount).toBe(0);
  });
});
