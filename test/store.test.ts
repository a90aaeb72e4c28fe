/**
 * What Waybill relies on in an S3, against our own store or, with WAYBILL_TEST_S3 = {"endpoint", "region", "bucket",
 * "credentials"} in JSON, against any other server. Whatever only our store could show is in store-local.test.ts.
 */
import { randomUUID } from "node:crypto";
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compositeChecksum } from "../lib/protocol/manifest.ts";
import { startStore } from "../local/store/store.ts";
import { bytes, type Listed, PART, refusal, S3Probe, type S3Target, sha256, verdict } from "./support/s3.ts";

let s3: S3Probe;
let Bucket: string;
let stop: () => Promise<void> = async () => {};

beforeAll(async () => {
  const other = process.env.WAYBILL_TEST_S3;
  const store = other === undefined ? await startStore() : undefined;
  if (store) stop = store.stop;
  s3 = new S3Probe(store ?? (JSON.parse(other ?? "") as S3Target));
  Bucket = s3.target.bucket;
});
afterAll(async () => {
  s3.close();
  await stop();
});

/** A key of the test's own, so that the suite may run on a bucket in use. */
function newKey(): string {
  return `waybill-test/${randomUUID()}`;
}

async function put(key: string, body: Uint8Array | string, more: object = {}): Promise<string> {
  const { ETag } = await s3.client.send(new PutObjectCommand({ Bucket, Key: key, Body: body, ...more }));
  return ETag as string;
}

async function read(key: string, more: object = {}): Promise<Buffer> {
  const { Body } = await s3.client.send(new GetObjectCommand({ Bucket, Key: key, ...more }));
  return Buffer.from((await Body?.transformToByteArray()) ?? []);
}

describe("an object", () => {
  it("comes back with its bytes, its content type and its metadata", async () => {
    const key = newKey();
    const etag = await put(key, "hello", { ContentType: "text/plain", Metadata: { round: "7" } });
    const found = await s3.client.send(new GetObjectCommand({ Bucket, Key: key }));
    expect(await found.Body?.transformToString()).toBe("hello");
    expect(found).toMatchObject({ ETag: etag, ContentType: "text/plain", ContentLength: 5, Metadata: { round: "7" } });
    const head = await s3.client.send(new HeadObjectCommand({ Bucket, Key: key }));
    expect(head).toMatchObject({ ETag: etag, ContentType: "text/plain", ContentLength: 5, AcceptRanges: "bytes" });
  });

  it("may be empty", async () => {
    const key = newKey();
    await put(key, bytes(0));
    expect(await read(key)).toHaveLength(0);
    expect(await refusal(read(key, { Range: "bytes=0-" }))).toEqual(["InvalidRange", 416]);
  });

  it("that is not there is 404, for GET with a code", async () => {
    expect(await refusal(read(newKey()))).toEqual(["NoSuchKey", 404]);
    expect((await refusal(s3.client.send(new HeadObjectCommand({ Bucket, Key: newKey() }))))[1]).toBe(404);
  });

  it("is replaced by a later one, and deleted any number of times", async () => {
    const key = newKey();
    await put(key, "one");
    await put(key, "two");
    expect((await read(key)).toString()).toBe("two");
    await s3.client.send(new DeleteObjectCommand({ Bucket, Key: key }));
    await s3.client.send(new DeleteObjectCommand({ Bucket, Key: key }));
    expect(await refusal(read(key))).toEqual(["NoSuchKey", 404]);
  });

  it.each([
    ["bytes=0-0", 0, 1],
    ["bytes=3-6", 3, 7],
    ["bytes=7-", 7, 10],
    ["bytes=-4", 6, 10],
    ["bytes=-400", 0, 10],
    ["bytes=8-400", 8, 10],
  ])("gives the range %s", async (range, start, end) => {
    const key = newKey();
    const body = bytes(10);
    await put(key, body);
    const found = await s3.client.send(new GetObjectCommand({ Bucket, Key: key, Range: range }));
    expect(found).toMatchObject({ ContentRange: `bytes ${start}-${end - 1}/10`, ContentLength: end - start });
    expect(Buffer.from((await found.Body?.transformToByteArray()) ?? [])).toEqual(body.subarray(start, end));
    expect(found.$metadata.httpStatusCode).toBe(206);
  });

  it.each(["bytes=10-", "bytes=10-12", "bytes=-0"])("has no range %s", async (range) => {
    const key = newKey();
    await put(key, bytes(10));
    const response = await fetch(await s3.presign("GET", key), { headers: { range } });
    expect(await verdict(response)).toMatchObject({ status: 416, code: "InvalidRange" });
  });

  it("has a SHA-256 when one was sent, and is refused when the SHA-256 or the MD5 is another's", async () => {
    const key = newKey();
    const checksum = sha256(Buffer.from("hello"));
    await put(key, "hello", { ChecksumSHA256: checksum });
    const input = { Bucket, Key: key, ChecksumMode: "ENABLED" } as const;
    const head = await s3.client.send(new HeadObjectCommand(input));
    expect(head).toMatchObject({ ChecksumSHA256: checksum, ChecksumType: "FULL_OBJECT" });
    expect(await refusal(put(key, "hallo", { ChecksumSHA256: checksum }))).toEqual(["BadDigest", 400]);
    expect(await refusal(put(key, "hallo", { ContentMD5: "XUFAKrxLKna5cZ2REBfFkg==" }))).toEqual(["BadDigest", 400]);
    expect((await read(key)).toString()).toBe("hello");
  });
});

describe("a conditional request", () => {
  it("creates a key once", async () => {
    const key = newKey();
    await put(key, "one", { IfNoneMatch: "*" });
    expect(await refusal(put(key, "two", { IfNoneMatch: "*" }))).toEqual(["PreconditionFailed", 412]);
    expect((await read(key)).toString()).toBe("one");
  });

  it("lets one of many creators win", async () => {
    const key = newKey();
    const tries = await Promise.allSettled(
      ["a", "b", "c", "d", "e"].map((body) => put(key, body, { IfNoneMatch: "*" })),
    );
    const won = tries.flatMap((result, index) => (result.status === "fulfilled" ? ["abcde"[index]] : []));
    const lost = tries.flatMap((result) =>
      result.status === "rejected" ? [result.reason.$metadata.httpStatusCode] : [],
    );
    expect(won).toEqual([(await read(key)).toString()]);
    expect(lost).toHaveLength(4);
    for (const status of lost) expect([409, 412]).toContain(status);
  });

  it("replaces exactly the version that it names", async () => {
    const key = newKey();
    const etag = await put(key, "one");
    await put(key, "two", { IfMatch: etag });
    expect(await refusal(put(key, "three", { IfMatch: etag }))).toEqual(["PreconditionFailed", 412]);
    expect(await refusal(put(newKey(), "one", { IfMatch: etag }))).toEqual(["NoSuchKey", 404]);
    expect((await read(key)).toString()).toBe("two");
  });

  it("lets one of many replacers win", async () => {
    const key = newKey();
    const etag = await put(key, "start");
    const tries = await Promise.allSettled(["a", "b", "c"].map((body) => put(key, body, { IfMatch: etag })));
    expect(tries.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });

  it("reads the version that it names, or learns that there is no newer one", async () => {
    const key = newKey();
    const etag = await put(key, "one");
    expect((await read(key, { IfMatch: etag })).toString()).toBe("one");
    expect((await refusal(read(key, { IfNoneMatch: etag })))[1]).toBe(304);
    await put(key, "two");
    expect(await refusal(read(key, { IfMatch: etag }))).toEqual(["PreconditionFailed", 412]);
    expect((await read(key, { IfNoneMatch: etag })).toString()).toBe("two");
  });
});

describe("a listing", () => {
  it("is in the order of UTF-8 bytes, by pages, from a prefix and behind a key", async () => {
    const prefix = `${newKey()}/`;
    const names = ["a", "a/b", "aa", "b", "z", "é", "ｚ", "😀"].map((name) => prefix + name);
    await Promise.all(names.map((name) => put(name, "x")));
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
  });

  it("folds what lies behind a delimiter, also across pages", async () => {
    const prefix = `${newKey()}/`;
    await Promise.all(["a/1", "a/2", "b", "c/1", "c/2"].map((name) => put(prefix + name, "x")));
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
    const prefix = `${newKey()}/`;
    const names = ["<&>\"'", "a b+c%2Fd", "ключ/鍵", "~!*()", "?#"].map((name) => prefix + name);
    for (const name of names) await put(name, name);
    const page = await s3.client.send(new ListObjectsV2Command({ Bucket, Prefix: prefix }));
    expect(page.Contents?.map(({ Key }) => Key).sort()).toEqual([...names].sort());
    for (const name of names) expect((await read(name)).toString()).toBe(name);
    const Objects = names.map((Key) => ({ Key }));
    const gone = await s3.client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
    expect(gone.Deleted).toHaveLength(names.length);
    expect((await s3.client.send(new ListObjectsV2Command({ Bucket, Prefix: prefix }))).KeyCount).toBe(0);
  });
});

describe("a multipart upload", () => {
  const bodies = [bytes(PART, 1), bytes(PART + 1, 2), bytes(3, 3)];
  const whole = Buffer.concat(bodies);
  const composite = compositeChecksum(bodies.map(sha256));

  it("becomes one object with the composite checksum of its parts", async () => {
    const key = newKey();
    const done = await s3.multipart(key, bodies);
    expect(done.ChecksumSHA256).toBe(composite);
    expect(done.ETag).toMatch(/^"[0-9a-f]{32}-3"$/);
    const head = await s3.client.send(new HeadObjectCommand({ Bucket, Key: key, ChecksumMode: "ENABLED" }));
    expect(head).toMatchObject({ ContentLength: whole.length, ChecksumSHA256: composite, ChecksumType: "COMPOSITE" });
    expect(head.ETag).toBe(done.ETag);
    expect((await read(key)).equals(whole)).toBe(true);
    expect(
      (await read(key, { Range: `bytes=${PART - 2}-${PART + 1}` })).equals(whole.subarray(PART - 2, PART + 2)),
    ).toBe(true);
    expect((await read(key, { Range: "bytes=-5" })).equals(whole.subarray(-5))).toBe(true);
  });

  it("shows its attributes without the mark and its parts with their checksums", async () => {
    const key = newKey();
    const { ETag } = await s3.multipart(key, bodies);
    const names = ["ETag", "Checksum", "ObjectParts", "ObjectSize"] as const;
    const input = { Bucket, Key: key, ObjectAttributes: [...names] };
    const found = await s3.client.send(new GetObjectAttributesCommand(input));
    expect(found.ETag).toBe(ETag?.replaceAll('"', ""));
    expect(found.Checksum?.ChecksumSHA256).toBe(composite.split("-")[0]);
    expect(found.ObjectSize).toBe(whole.length);
    expect(found.ObjectParts?.TotalPartsCount).toBe(3);
    expect(found.ObjectParts?.Parts).toEqual(
      bodies.map((body, index) => ({ PartNumber: index + 1, Size: body.length, ChecksumSHA256: sha256(body) })),
    );
    const second = await s3.client.send(
      new GetObjectAttributesCommand({ ...input, PartNumberMarker: "1", MaxParts: 1 }),
    );
    expect(second.ObjectParts?.Parts?.map(({ PartNumber }) => PartNumber)).toEqual([2]);
    expect(second.ObjectParts?.IsTruncated).toBe(true);
  });

  it("gives a part by its number with that part's checksum", async () => {
    const key = newKey();
    await s3.multipart(key, bodies);
    const input = { Bucket, Key: key, PartNumber: 2, ChecksumMode: "ENABLED" } as const;
    const found = await s3.client.send(new GetObjectCommand(input));
    expect(found).toMatchObject({
      ContentLength: PART + 1,
      PartsCount: 3,
      ChecksumSHA256: sha256(bodies[1] as Buffer),
    });
    expect(Buffer.from((await found.Body?.transformToByteArray()) ?? []).equals(bodies[1] as Buffer)).toBe(true);
    expect((await refusal(read(key, { PartNumber: 4 })))[1]).toBe(416);
  });

  it("of one empty part is an empty object", async () => {
    const key = newKey();
    const done = await s3.multipart(key, [bytes(0)]);
    expect(done.ChecksumSHA256).toBe(compositeChecksum([sha256(bytes(0))]));
    expect(await read(key)).toHaveLength(0);
  });

  it("takes no part without its checksum, nor with another's", async () => {
    const key = newKey();
    const UploadId = await s3.begin(key);
    const place = { Bucket, Key: key, UploadId, PartNumber: 1, Body: "hello" };
    const without = s3.client.send(new UploadPartCommand(place));
    expect(await refusal(without)).toEqual(["InvalidRequest", 400]);
    const wrong = s3.client.send(new UploadPartCommand({ ...place, ChecksumSHA256: sha256(Buffer.from("hallo")) }));
    expect(await refusal(wrong)).toEqual(["BadDigest", 400]);
    const listed = await s3.client.send(new ListPartsCommand({ Bucket, Key: key, UploadId }));
    expect(listed.Parts ?? []).toEqual([]);
  });

  it("is completed only by a list that agrees with what is stored", async () => {
    const key = newKey();
    const id = await s3.begin(key);
    const one = await s3.part(key, id, 1, bodies[0] as Buffer);
    const two = await s3.part(key, id, 2, bodies[2] as Buffer);
    const small = await s3.part(key, id, 3, bodies[2] as Buffer);
    const { ChecksumSHA256: _, ...unchecked } = one;
    const tries: [string, Partial<Listed>[]][] = [
      ["InvalidRequest", [unchecked, two]],
      ["InvalidPart", [{ ...one, ChecksumSHA256: two.ChecksumSHA256 }, two]],
      ["InvalidPart", [{ ...one, ETag: two.ETag }, two]],
      ["InvalidPart", [one, two, small, { ...two, PartNumber: 4 }]],
      ["InvalidPartOrder", [two, one]],
      ["EntityTooSmall", [one, two, small]],
    ];
    for (const [code, parts] of tries) expect(await refusal(s3.complete(key, id, parts))).toEqual([code, 400]);
    expect(await refusal(read(key))).toEqual(["NoSuchKey", 404]);
    await s3.complete(key, id, [one, two]);
    expect(await read(key)).toHaveLength(PART + 3);
  });

  it("is over once it is completed or aborted", async () => {
    const key = newKey();
    const done = await s3.begin(key);
    const parts = [await s3.part(key, done, 1, bytes(4))];
    await s3.complete(key, done, parts);
    const aborted = await s3.begin(key);
    await s3.part(key, aborted, 1, bytes(5));
    await s3.client.send(new AbortMultipartUploadCommand({ Bucket, Key: key, UploadId: aborted }));
    expect(await refusal(s3.part(key, aborted, 2, bytes(4)))).toEqual(["NoSuchUpload", 404]);
    expect(await refusal(s3.complete(key, aborted, parts))).toEqual(["NoSuchUpload", 404]);
    expect(await refusal(s3.part(key, done, 2, bytes(4)))).toEqual(["NoSuchUpload", 404]);
    const list = s3.client.send(new ListPartsCommand({ Bucket, Key: key, UploadId: aborted }));
    expect(await refusal(list)).toEqual(["NoSuchUpload", 404]);
    expect((await read(key)).equals(bytes(4))).toBe(true);
  });

  it("belongs to its key", async () => {
    const id = await s3.begin(newKey());
    expect(await refusal(s3.part(newKey(), id, 1, bytes(4)))).toEqual(["NoSuchUpload", 404]);
  });

  it("does not replace an object when it must not", async () => {
    const key = newKey();
    await put(key, "first");
    const id = await s3.begin(key);
    const parts = [await s3.part(key, id, 1, bytes(4))];
    const refused = s3.complete(key, id, parts, { IfNoneMatch: "*" });
    expect(await refusal(refused)).toEqual(["PreconditionFailed", 412]);
    expect((await read(key)).toString()).toBe("first");
    await s3.client.send(new AbortMultipartUploadCommand({ Bucket, Key: key, UploadId: id }));
  });

  it("that is completed at the same time as others creates the object once", async () => {
    const key = newKey();
    const attempts = await Promise.all(
      [1, 2, 3].map(async (seed) => {
        const id = await s3.begin(key);
        return { id, body: bytes(4, seed), parts: [await s3.part(key, id, 1, bytes(4, seed))] };
      }),
    );
    const ends = await Promise.allSettled(
      attempts.map(({ id, parts }) => s3.complete(key, id, parts, { IfNoneMatch: "*" })),
    );
    const winners = attempts.filter((_, index) => ends[index]?.status === "fulfilled");
    expect(winners).toHaveLength(1);
    expect((await read(key)).equals(winners[0]?.body as Buffer)).toBe(true);
    for (const end of ends)
      if (end.status === "rejected") expect([409, 412]).toContain(end.reason.$metadata.httpStatusCode);
  });

  it("keeps the last upload of a part", async () => {
    const key = newKey();
    const id = await s3.begin(key);
    const old = await s3.part(key, id, 1, bytes(4, 1));
    const fresh = await s3.part(key, id, 1, bytes(5, 2));
    await s3.part(key, id, 1, bytes(5, 2));
    expect(await refusal(s3.complete(key, id, [old]))).toEqual(["InvalidPart", 400]);
    await s3.complete(key, id, [fresh]);
    expect((await read(key)).equals(bytes(5, 2))).toBe(true);
  });

  it("lists more than a thousand parts page by page, with their checksums", async () => {
    const key = newKey();
    const id = await s3.begin(key);
    const numbers = Array.from({ length: 1_005 }, (_, index) => index * 3 + 1);
    const waiting = numbers.slice();
    const work = async (): Promise<void> => {
      for (let number = waiting.pop(); number !== undefined; number = waiting.pop()) {
        await s3.part(key, id, number, bytes(number % 7, number));
      }
    };
    await Promise.all([work(), work(), work(), work()]);
    const input = { Bucket, Key: key, UploadId: id };
    const first = await s3.client.send(new ListPartsCommand(input));
    expect(first.Parts).toHaveLength(1_000);
    expect(first).toMatchObject({
      IsTruncated: true,
      NextPartNumberMarker: String(numbers[999]),
      ChecksumAlgorithm: "SHA256",
    });
    const rest = new ListPartsCommand({ ...input, PartNumberMarker: first.NextPartNumberMarker });
    const second = await s3.client.send(rest);
    expect(second.IsTruncated).toBe(false);
    const all = [...(first.Parts ?? []), ...(second.Parts ?? [])];
    expect(all.map(({ PartNumber, Size, ChecksumSHA256 }) => ({ PartNumber, Size, ChecksumSHA256 }))).toEqual(
      numbers.map((number) => ({
        PartNumber: number,
        Size: number % 7,
        ChecksumSHA256: sha256(bytes(number % 7, number)),
      })),
    );
    await s3.client.send(new AbortMultipartUploadCommand({ Bucket, Key: key, UploadId: id }));
  });

  it("is found by listing the open ones", async () => {
    const prefix = `${newKey()}/`;
    const ids = await Promise.all(["b", "a", "c"].map((name) => s3.begin(prefix + name)));
    const first = await s3.client.send(new ListMultipartUploadsCommand({ Bucket, Prefix: prefix, MaxUploads: 2 }));
    expect(first.Uploads?.map(({ Key, UploadId }) => [Key, UploadId])).toEqual([
      [`${prefix}a`, ids[1]],
      [`${prefix}b`, ids[0]],
    ]);
    const markers = { KeyMarker: first.NextKeyMarker, UploadIdMarker: first.NextUploadIdMarker };
    const next = await s3.client.send(new ListMultipartUploadsCommand({ Bucket, Prefix: prefix, ...markers }));
    expect(next.Uploads?.map(({ UploadId }) => UploadId)).toEqual([ids[2]]);
    await s3.client.send(new AbortMultipartUploadCommand({ Bucket, Key: `${prefix}a`, UploadId: ids[1] }));
    const after = await s3.client.send(new ListMultipartUploadsCommand({ Bucket, Prefix: prefix }));
    expect(after.Uploads).toHaveLength(2);
  });

  it("copies parts from another object, whole or a range, and tells their checksums", async () => {
    const [source, key] = [newKey(), newKey()];
    await s3.multipart(source, bodies);
    const id = await s3.begin(key);
    const place = { Bucket, Key: key, UploadId: id, CopySource: `${Bucket}/${source}` };
    const range = `bytes=${PART - 10}-${2 * PART}`;
    const one = await s3.client.send(new UploadPartCopyCommand({ ...place, PartNumber: 1, CopySourceRange: range }));
    const two = await s3.client.send(new UploadPartCopyCommand({ ...place, PartNumber: 2 }));
    const slice = whole.subarray(PART - 10, 2 * PART + 1);
    expect(one.CopyPartResult?.ChecksumSHA256).toBe(sha256(slice));
    const parts = [one, two].map(({ CopyPartResult: result }, index) => {
      return { PartNumber: index + 1, ETag: result?.ETag as string, ChecksumSHA256: result?.ChecksumSHA256 as string };
    });
    await s3.complete(key, id, parts);
    expect((await read(key)).equals(Buffer.concat([slice, whole]))).toBe(true);
  });
});

describe("a presigned part URL", () => {
  const body = bytes(1_000);
  const checksum = sha256(body);

  async function signedPart(): Promise<{ url: string; key: string; id: string; headers: Record<string, string> }> {
    const key = newKey();
    const id = await s3.begin(key);
    const headers = { "x-amz-checksum-sha256": checksum };
    const signed = { ...headers, "content-length": String(body.length) };
    const url = await s3.presign("PUT", key, { query: { partNumber: "1", uploadId: id }, headers: signed });
    return { url, key, id, headers };
  }

  it("takes the bytes that it was signed for", async () => {
    const { url, key, id, headers } = await signedPart();
    const response = await fetch(url, { method: "PUT", body, headers });
    expect(response.status).toBe(200);
    expect(response.headers.get("x-amz-checksum-sha256")).toBe(checksum);
    await s3.complete(key, id, [
      { PartNumber: 1, ETag: response.headers.get("etag") as string, ChecksumSHA256: checksum },
    ]);
    expect((await read(key)).equals(body)).toBe(true);
  });

  it("binds part number, upload, method, length and checksum", async () => {
    const { url, key, headers } = await signedPart();
    const longer = bytes(1_001);
    const tries: [string, RequestInit][] = [
      [url.replace("partNumber=1", "partNumber=2"), { method: "PUT", body, headers }],
      [url.replace(/uploadId=[^&]+/, `uploadId=${await s3.begin(key)}`), { method: "PUT", body, headers }],
      [url, { method: "POST", body, headers }],
      [url, { method: "PUT", body: longer, headers }],
      [url, { method: "PUT", body: longer, headers: { "x-amz-checksum-sha256": sha256(longer) } }],
      [url, { method: "PUT", body, headers: { "x-amz-checksum-sha256": sha256(longer) } }],
      [url, { method: "PUT", body }],
      [url.replace(encodeURIComponent(key).replaceAll("%2F", "/"), newKey()), { method: "PUT", body, headers }],
    ];
    for (const [address, init] of tries) {
      expect(await verdict(await fetch(address, init))).toMatchObject({ status: 403, code: "SignatureDoesNotMatch" });
    }
  });

  it("refuses other bytes of the same length", async () => {
    const { url, key, id, headers } = await signedPart();
    const response = await fetch(url, { method: "PUT", body: bytes(1_000, 2), headers });
    expect(await verdict(response)).toMatchObject({ status: 400, code: "BadDigest" });
    const listed = await s3.client.send(new ListPartsCommand({ Bucket, Key: key, UploadId: id }));
    expect(listed.Parts ?? []).toEqual([]);
  });

  it("whose checksum stands in the query has none", async () => {
    const key = newKey();
    const id = await s3.begin(key);
    const query = { partNumber: "1", uploadId: id, "x-amz-checksum-sha256": checksum };
    const response = await fetch(await s3.presign("PUT", key, { query }), { method: "PUT", body });
    expect(await verdict(response)).toMatchObject({ status: 400, code: "InvalidRequest" });
  });

  it("lets no x-amz header in that was not signed", async () => {
    const { url, headers } = await signedPart();
    const response = await fetch(url, { method: "PUT", body, headers: { ...headers, "x-amz-meta-a": "b" } });
    expect(await verdict(response)).toEqual({
      status: 403,
      code: "AccessDenied",
      message: "There were headers present in the request which were not signed",
    });
  });
});

describe("a presigned GET URL", () => {
  it("binds the version that it was signed for, and leaves the range open", async () => {
    const key = newKey();
    const etag = await put(key, "0123456789");
    const url = await s3.presign("GET", key, { headers: { "if-match": etag } });
    const found = await fetch(url, { headers: { "if-match": etag, range: "bytes=2-4" } });
    expect([found.status, found.headers.get("content-range"), await found.text()]).toEqual([
      206,
      "bytes 2-4/10",
      "234",
    ]);
    for (const headers of [{}, { "if-match": '"0123"' }, { "if-match": "*" }] as Record<string, string>[]) {
      expect(await verdict(await fetch(url, { headers }))).toMatchObject({
        status: 403,
        code: "SignatureDoesNotMatch",
      });
    }
    const replaced = await put(key, "abcdefghij");
    expect(replaced).not.toBe(etag);
    const stale = await fetch(url, { headers: { "if-match": etag } });
    expect(await verdict(stale)).toMatchObject({ status: 412, code: "PreconditionFailed" });
  });

  it("says so when it has expired", async () => {
    const key = newKey();
    await put(key, "x");
    const url = await s3.presign("GET", key, { expiresIn: 60, signingDate: new Date(Date.now() - 120_000) });
    const expected = { status: 403, code: "AccessDenied", message: "Request has expired" };
    expect(await verdict(await fetch(url))).toEqual(expected);
  });

  it("can't be made to live longer", async () => {
    const url = await s3.presign("GET", newKey(), { expiresIn: 60 });
    const longer = await fetch(url.replace("X-Amz-Expires=60", "X-Amz-Expires=600"));
    expect(await verdict(longer)).toMatchObject({ status: 403, code: "SignatureDoesNotMatch" });
    const tooLong = await fetch(url.replace("X-Amz-Expires=60", "X-Amz-Expires=604801"));
    expect(await verdict(tooLong)).toMatchObject({ status: 400, code: "AuthorizationQueryParametersError" });
  });
});

describe("a stranger", () => {
  it("gets nothing without a signature", async () => {
    const key = newKey();
    await put(key, "secret");
    const address = `${s3.target.endpoint}/${Bucket}/${key}`;
    for (const method of ["GET", "PUT", "DELETE", "POST"]) {
      expect(await verdict(await fetch(address, { method }))).toMatchObject({ status: 403, code: "AccessDenied" });
    }
    expect((await read(key)).toString()).toBe("secret");
  });

  it("gets nothing with another's secret, or an unknown key id", async () => {
    const { credentials } = s3.target;
    const forger = new S3Probe({ ...s3.target, credentials: { ...credentials, secretAccessKey: "guess" } });
    const unknown = new S3Probe({ ...s3.target, credentials: { ...credentials, accessKeyId: "AKIANOBODY0000000000" } });
    const get = new GetObjectCommand({ Bucket, Key: newKey() });
    expect(await refusal(forger.client.send(get))).toEqual(["SignatureDoesNotMatch", 403]);
    expect(await refusal(unknown.client.send(get))).toEqual(["InvalidAccessKeyId", 403]);
    forger.close();
    unknown.close();
  });

  it("finds no bucket that isn't there", async () => {
    const elsewhere = new S3Probe({ ...s3.target, bucket: `waybill-test-${randomUUID()}` });
    const list = elsewhere.client.send(new ListObjectsV2Command({ Bucket: elsewhere.target.bucket }));
    expect(await refusal(list)).toEqual(["NoSuchBucket", 404]);
    elsewhere.close();
  });
});
