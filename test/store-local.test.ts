/** What only our own store can show: its clock, its disk, its limits, and the pieces it is made of. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import {
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  HeadBucketCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { SignatureV4 } from "@smithy/signature-v4";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { Sha256 } from "../functions/sha256.ts";
import { compositeChecksum } from "../local/store/checksum.ts";
import { decodeChunked } from "../local/store/chunked.ts";
import { SortedKeys } from "../local/store/keys.ts";
import { Locks } from "../local/store/locks.ts";
import { parseRange, slicesOf } from "../local/store/ranges.ts";
import { type RequestLog, type Store, type StoreOptions, startStore } from "../local/store/store.ts";
import { readXml, writeXml } from "../local/store/xml.ts";
import { bytes, raw, refusal, S3Probe, sha256, verdict } from "./support/s3.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function open(options: StoreOptions = {}): Promise<{ s3: S3Probe; store: Store; Bucket: string }> {
  const store = await startStore(options);
  const s3 = new S3Probe(store);
  cleanups.push(store.stop, () => s3.close());
  return { s3, store, Bucket: store.bucket };
}

function temporaries(store: Store): string[] {
  return readdirSync(join(store.dir, "tmp"));
}

async function put({ s3, Bucket }: { s3: S3Probe; Bucket: string }, key: string, body: Uint8Array): Promise<void> {
  await s3.client.send(new PutObjectCommand({ Bucket, Key: key, Body: body }));
}

describe("a store's life", () => {
  it("leaves no folder behind, and may be stopped twice", async () => {
    const { store } = await open();
    expect(existsSync(store.dir)).toBe(true);
    await store.stop();
    await store.stop();
    expect(existsSync(store.dir)).toBe(false);
  });

  it("goes on where it was when its folder is kept", async () => {
    const dir = mkdtempSync(join(tmpdir(), "waybill-test-"));
    cleanups.push(() => rmSync(dir, { recursive: true }));
    const first = await open({ dir, minPartSize: 1 });
    const { credentials } = first.store;
    await put(first, "single", bytes(10));
    await first.s3.multipart("multi", [bytes(3, 1), bytes(3, 2)]);
    const id = await first.s3.begin("open");
    const part = await first.s3.part("open", id, 7, bytes(4));
    await first.store.stop();

    const { s3, Bucket } = await open({ dir, credentials });
    const listed = await s3.client.send(new ListObjectsV2Command({ Bucket }));
    expect(listed.Contents?.map(({ Key, Size }) => [Key, Size])).toEqual([
      ["multi", 6],
      ["single", 10],
    ]);
    const { Body } = await s3.client.send(new GetObjectCommand({ Bucket, Key: "multi" }));
    expect(Buffer.from((await Body?.transformToByteArray()) ?? [])).toEqual(Buffer.concat([bytes(3, 1), bytes(3, 2)]));
    const { Parts } = await s3.client.send(new ListPartsCommand({ Bucket, Key: "open", UploadId: id }));
    expect(Parts?.map(({ PartNumber, ChecksumSHA256 }) => [PartNumber, ChecksumSHA256])).toEqual([
      [7, part.ChecksumSHA256],
    ]);
    await s3.complete("open", id, [part]);
  });

  it("removes the bytes of what was deleted, replaced or aborted", async () => {
    const opened = await open({ minPartSize: 1 });
    const { s3, store, Bucket } = opened;
    const folder = join(store.dir, "buckets", Bucket);
    for (const seed of [1, 2, 3]) await put(opened, "k", bytes(10, seed));
    await s3.multipart("k", [bytes(3), bytes(3)]);
    expect(readdirSync(join(folder, "blobs"))).toEqual([]);
    expect(readdirSync(join(folder, "uploads"))).toHaveLength(1);
    await put(opened, "k", bytes(1));
    expect(readdirSync(join(folder, "uploads"))).toEqual([]);
    expect(readdirSync(join(folder, "blobs"))).toHaveLength(1);
  });

  it("gives a slow reader the object that it began with, although it is replaced meanwhile", async () => {
    const opened = await open();
    const body = bytes(32 * 2 ** 20);
    await put(opened, "k", body);
    const response = await fetch(await opened.s3.presign("GET", "k"));
    const reader = response.body?.getReader();
    const chunks = [(await reader?.read())?.value as Uint8Array];
    await put(opened, "k", bytes(5));
    for (let next = await reader?.read(); next?.value; next = await reader?.read()) chunks.push(next.value);
    expect(Buffer.concat(chunks).equals(body)).toBe(true);
    await put(opened, "j", bytes(1));
    const folder = join(opened.store.dir, "buckets", opened.Bucket, "blobs");
    await until(() => readdirSync(folder).length === 2);
  });

  it("says which address is taken", async () => {
    const { store } = await open();
    const port = Number(new URL(store.endpoint).port);
    await expect(startStore({ port })).rejects.toMatchObject({ code: "USAGE" });
  });
});

describe("a body that does not come as announced", () => {
  it("leaves nothing when the sender hangs up", async () => {
    const { s3, store, Bucket } = await open();
    const url = await s3.presign("PUT", "k");
    const sending = httpRequest(url, { method: "PUT", headers: { "content-length": 1_000_000 } });
    sending.on("error", () => {});
    sending.write(bytes(300_000));
    await until(() => temporaries(store).length === 1);
    sending.destroy();
    await until(() => temporaries(store).length === 0);
    expect(await refusal(s3.client.send(new GetObjectCommand({ Bucket, Key: "k" })))).toEqual(["NoSuchKey", 404]);
  });

  it("is refused when its SHA-256 is not the signed one, and never becomes visible", async () => {
    const { s3, store, Bucket } = await open();
    const response = await sendSigned(s3, "k", Buffer.from("hello"), Buffer.from("hallo"));
    expect(await verdict(response)).toMatchObject({ status: 400, code: "XAmzContentSHA256Mismatch" });
    expect(temporaries(store)).toEqual([]);
    expect(await refusal(s3.client.send(new GetObjectCommand({ Bucket, Key: "k" })))).toEqual(["NoSuchKey", 404]);
    expect((await sendSigned(s3, "k", Buffer.from("hello"), Buffer.from("hello"))).status).toBe(200);
  });

  it("is refused when its chunks hold more or less than was announced", async () => {
    const { s3, store } = await open();
    const coded = Buffer.from("5\r\nhello\r\n0\r\n\r\n");
    const send = (length: string) => sendSigned(s3, "k", "chunked", coded, { "x-amz-decoded-content-length": length });
    for (const length of ["4", "6"]) {
      expect(await verdict(await send(length))).toMatchObject({ status: 400, code: "IncompleteBody" });
    }
    expect(temporaries(store)).toEqual([]);
    expect((await send("5")).status).toBe(200);
  });

  it("is not asked for when the request is refused anyway", async () => {
    const { s3 } = await open();
    const good = await s3.presign("PUT", "k");
    const bad = good.replace(/X-Amz-Signature=.{8}/, "X-Amz-Signature=00000000");
    // Nobody can tell whether the body still comes, so the connection must not be used again.
    const send = (url: string) => raw(url, { method: "PUT", body: bytes(4), patient: true });
    expect(await send(bad)).toMatchObject({ continued: false, status: 403, headers: { connection: "close" } });
    expect(await send(good)).toMatchObject({ continued: true, status: 200 });
  });

  it("is heard out, so that the client reads why it was refused", async () => {
    const { s3 } = await open();
    const url = (await s3.presign("PUT", "k")).replace(/X-Amz-Signature=.{8}/, "X-Amz-Signature=00000000");
    const response = await fetch(url, { method: "PUT", body: bytes(8 * 2 ** 20) });
    expect(await verdict(response)).toMatchObject({ status: 403, code: "SignatureDoesNotMatch" });
  });

  it("may come in the SDK's chunks with a checksum behind them", async () => {
    const { store, s3, Bucket } = await open();
    const client = new S3Client({ ...store, forcePathStyle: true });
    cleanups.push(() => client.destroy());
    const body = bytes(200_000);
    const Body = Readable.from([body.subarray(0, 70_000), body.subarray(70_000)]);
    const input = { Bucket, Key: "k", Body, ContentLength: body.length, ContentEncoding: "identity" };
    await client.send(new PutObjectCommand({ ...input, ChecksumAlgorithm: "SHA256" }));
    const found = await s3.client.send(new GetObjectCommand({ Bucket, Key: "k", ChecksumMode: "ENABLED" }));
    expect(Buffer.from((await found.Body?.transformToByteArray()) ?? []).equals(body)).toBe(true);
    expect(found).toMatchObject({ ChecksumSHA256: sha256(body), ContentEncoding: "identity" });
  });
});

describe("a signature", () => {
  const minutes = 60_000;

  it("in a header is good for a quarter of an hour either way", async () => {
    let shift = 0;
    const { s3, Bucket } = await open({ now: () => Date.now() + shift });
    for (const [offset, fine] of [
      [-14, true],
      [14, true],
      [16, false],
      [-16, false],
    ] as const) {
      shift = offset * minutes;
      const sent = s3.client.send(new ListObjectsV2Command({ Bucket }));
      if (fine) expect((await sent).KeyCount).toBe(0);
      else expect(await refusal(sent)).toEqual(["RequestTimeTooSkewed", 403]);
    }
  });

  it("in a URL begins and ends when it says", async () => {
    let shift = 0;
    const opened = await open({ now: () => Date.now() + shift });
    await put(opened, "k", bytes(1));
    const url = await opened.s3.presign("GET", "k", { expiresIn: 600 });
    expect((await fetch(url)).status).toBe(200);
    shift = 11 * minutes;
    expect(await verdict(await fetch(url))).toMatchObject({ status: 403, message: "Request has expired" });
    shift = -16 * minutes;
    expect(await verdict(await fetch(url))).toMatchObject({ status: 403, message: "Request is not yet valid" });
  });

  it("is for the host that it names", async () => {
    const opened = await open();
    await put(opened, "k", bytes(1));
    const url = await opened.s3.presign("GET", "k");
    expect((await raw(url)).status).toBe(200);
    expect((await raw(url, { headers: { host: "other.example" } })).status).toBe(403);
  });

  it("is given once, in the header or in the query", async () => {
    const { s3 } = await open();
    const response = await fetch(await s3.presign("GET", "k"), { headers: { authorization: "AWS4-HMAC-SHA256 x" } });
    expect(await verdict(response)).toMatchObject({ status: 400, code: "InvalidArgument" });
  });

  it.each([
    "Bearer x",
    "AWS4-HMAC-SHA256 Credential=a",
    "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=00",
  ])("is not %s", async (authorization) => {
    const { store } = await open();
    const response = await fetch(`${store.endpoint}/waybill/k`, { headers: { authorization } });
    expect(await verdict(response)).toMatchObject({ status: 400, code: "AuthorizationHeaderMalformed" });
  });

  it("of another region is told the right one", async () => {
    const { store, Bucket } = await open({ region: "eu-north-1" });
    const elsewhere = new S3Probe({ ...store, region: "us-west-2" });
    cleanups.push(() => elsewhere.close());
    const sent = elsewhere.client.send(new GetObjectCommand({ Bucket, Key: "k" }));
    await expect(sent).rejects.toMatchObject({ message: expect.stringContaining("eu-north-1") });
  });

  it("never appears in the log, nor do the credentials", async () => {
    const log: RequestLog[] = [];
    const opened = await open({ onRequest: (entry) => log.push(entry) });
    await put(opened, "k", bytes(1));
    await until(() => log.length === 1);
    const url = await opened.s3.presign("GET", "k");
    await (await fetch(url)).arrayBuffer();
    await until(() => log.length === 2);
    await (await fetch(url.replace("X-Amz-Date", "X-Amz-Data"))).arrayBuffer();
    await until(() => log.length === 3);
    expect(log.map(({ operation, status, code }) => [operation, status, code])).toEqual([
      ["PutObject", 200, undefined],
      ["GetObject", 200, undefined],
      ["", 400, "AuthorizationQueryParametersError"],
    ]);
    const text = JSON.stringify(log);
    const { accessKeyId, secretAccessKey } = opened.store.credentials;
    const signature = new URL(url).searchParams.get("X-Amz-Signature") as string;
    for (const secret of [accessKeyId, secretAccessKey, signature, "X-Amz"]) expect(text).not.toContain(secret);
  });
});

describe("a hostile request", () => {
  it("never leaves the store's folder, whatever its key", async () => {
    const opened = await open();
    const parent = readdirSync(join(opened.store.dir, ".."));
    const keys = [
      "../../escape",
      "..",
      ".",
      "/",
      "//x",
      "a/../../../b",
      "C:\\x",
      "nul\0byte",
      "line\nfeed",
      "x".repeat(1_024),
    ];
    for (const [index, key] of keys.entries()) {
      const url = await opened.s3.presign("PUT", key);
      expect((await raw(dotted(url, key), { method: "PUT", body: bytes(3, index) })).status).toBe(200);
      const { body } = await raw(dotted(await opened.s3.presign("GET", key), key));
      expect(body).toEqual(bytes(3, index));
    }
    expect(readdirSync(join(opened.store.dir, "..")).filter((name) => !parent.includes(name))).not.toContain("escape");
    expect(readdirSync(opened.store.dir).sort()).toEqual(["buckets", "tmp"]);
  });

  it("gets S3's own words for what makes no sense", async () => {
    const { s3, store, Bucket } = await open();
    const doctype = '<!DOCTYPE a [<!ENTITY x "y">]><Delete><Object><Key>&x;</Key></Object></Delete>';
    const tries: [string, string, RequestInit, number, string][] = [
      [await s3.presign("GET", "x".repeat(1_025)), "", {}, 400, "KeyTooLongError"],
      [await s3.presign("PATCH", "k"), "", { method: "PATCH" }, 405, "MethodNotAllowed"],
      [await s3.presign("GET", "k", { query: { versionId: "1" } }), "", {}, 501, "NotImplemented"],
      [await s3.presign("GET", "", { query: { "list-type": "2", "max-keys": "-1" } }), "", {}, 400, "InvalidArgument"],
      [
        await s3.presign("GET", "", { query: { "list-type": "2", "continuation-token": "!" } }),
        "",
        {},
        400,
        "InvalidArgument",
      ],
      [await s3.presign("POST", "", { query: { delete: "" } }), doctype, { method: "POST" }, 400, "MalformedXML"],
      [await s3.presign("POST", "", { query: { delete: "" } }), "<Delete>", { method: "POST" }, 400, "MalformedXML"],
      [await s3.presign("POST", "", { query: { delete: "" } }), "<Delete/>", { method: "POST" }, 400, "MalformedXML"],
      [`${store.endpoint}/${Bucket}/%zz`, "", {}, 400, "InvalidURI"],
    ];
    for (const [url, body, init, status, code] of tries) {
      const response = await fetch(url, body === "" ? init : { ...init, body });
      expect(await verdict(response)).toMatchObject({ status, code });
    }
    const tagging = new PutObjectTaggingCommand({ Bucket, Key: "k", Tagging: { TagSet: [] } });
    expect(await refusal(s3.client.send(tagging))).toEqual(["NotImplemented", 501]);
    const crc = new CreateMultipartUploadCommand({ Bucket, Key: "k", ChecksumAlgorithm: "CRC32C" });
    expect(await refusal(s3.client.send(crc))).toEqual(["NotImplemented", 501]);
  });

  it("can't make a document that is too large or a bucket that is no name", async () => {
    const { s3 } = await open();
    const url = await s3.presign("POST", "", { query: { delete: "" } });
    const response = await fetch(url, { method: "POST", body: Buffer.alloc(9 * 2 ** 20, 32) });
    expect(await verdict(response)).toMatchObject({ status: 400, code: "MaxMessageLengthExceeded" });
    for (const Bucket of ["UPPER", "a..b", "ab", "-ab"]) {
      const create = s3.client.send(new CreateBucketCommand({ Bucket }));
      expect(await refusal(create)).toEqual(["InvalidBucketName", 400]);
    }
    await s3.client.send(new CreateBucketCommand({ Bucket: "second" }));
    await s3.client.send(new HeadBucketCommand({ Bucket: "second" }));
    const again = s3.client.send(new CreateBucketCommand({ Bucket: "second" }));
    expect(await refusal(again)).toEqual(["BucketAlreadyOwnedByYou", 409]);
  });
});

describe("a page in a browser", () => {
  const preflight = {
    "access-control-request-method": "PUT",
    "access-control-request-headers": "range,x-amz-checksum-sha256",
  };

  it("may ask, send and read what presigned URLs need", async () => {
    const opened = await open();
    await put(opened, "k", bytes(10));
    const url = await opened.s3.presign("GET", "k");
    const asked = await fetch(url, { method: "OPTIONS", headers: { origin: "https://a.example", ...preflight } });
    expect(asked.status).toBe(200);
    expect(asked.headers.get("access-control-allow-methods")).toBe("GET, PUT, HEAD");
    expect(asked.headers.get("access-control-allow-headers")).toContain("x-amz-checksum-sha256");
    const found = await fetch(url, { headers: { origin: "https://a.example", range: "bytes=0-1" } });
    expect(found.headers.get("access-control-allow-origin")).toBe("*");
    expect(found.headers.get("access-control-expose-headers")).toMatch(/ETag.*Content-Range.*x-amz-checksum-sha256/);
  });

  it("may not when its origin, method or header is not listed", async () => {
    const { s3 } = await open({ corsOrigins: ["https://a.example"] });
    const url = await s3.presign("GET", "k");
    const ask = (headers: Record<string, string>) => fetch(url, { method: "OPTIONS", headers });
    expect((await ask({ origin: "https://a.example", ...preflight })).status).toBe(200);
    expect((await ask({ origin: "https://b.example", ...preflight })).status).toBe(403);
    expect((await ask({ origin: "https://a.example", "access-control-request-method": "DELETE" })).status).toBe(403);
    const odd = { ...preflight, "access-control-request-headers": "x-amz-acl" };
    expect((await ask({ origin: "https://a.example", ...odd })).status).toBe(403);
    expect(
      (await fetch(url, { headers: { origin: "https://b.example" } })).headers.get("access-control-allow-origin"),
    ).toBeNull();
  });
});

describe("the pieces", () => {
  it("compose S3's own example of a composite checksum", () => {
    const parts = [
      "lcKa6Boe7a167tUCN5C4OaFygGSYD8MBnBARTrdL+1w=",
      "gHjhbUT4oo2tSCtSZJdlKi+jeNXJT+VImqdPXsXvkOc=",
      "4l9PQ3zOPZ0oGFvknFX+J4zZwE4WMzO+l3r8XrbWOeM=",
    ];
    expect(compositeChecksum(parts)).toBe("rVWtNbadtsaKXJAcgWPWjifHzJaXde/iV4jaJAOdivc=-3");
  });

  it("cut any range out of any files as if they were one", () => {
    const sizes = fc.array(fc.nat(6), { maxLength: 6 });
    fc.assert(
      fc.property(sizes, fc.nat(40), fc.nat(40), (sizes, from, to) => {
        const files = sizes.map((size, index) => ({ file: String(index), size }));
        const all = sizes.flatMap((size, index) => Array.from({ length: size }, (_, at) => `${index}:${at}`));
        const range = parseRange(`bytes=${from}-${to}`, all.length);
        const cut = (slices: ReturnType<typeof slicesOf>): string[] =>
          slices.flatMap(({ file, start, end }) =>
            Array.from({ length: end - start }, (_, at) => `${file}:${start + at}`),
          );
        const found = range === null || range === "unsatisfiable" ? range : cut(slicesOf(files, range));
        expect(found).toEqual(to < from ? null : from >= all.length ? "unsatisfiable" : all.slice(from, to + 1));
      }),
    );
  });

  it.each(["", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-3", "bytes=0-1,3-4", "items=0-1", "bytes 0-1"])(
    "ignore the range %j",
    (header) => expect(parseRange(header, 10)).toBeNull(),
  );

  it("keep keys in the order of their bytes", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string({ unit: "grapheme" })), fc.nat(), (keys, pick) => {
        const sorted = new SortedKeys();
        for (const key of [...keys, ...keys]) sorted.add(key);
        const gone = keys[pick % Math.max(keys.length, 1)];
        if (gone !== undefined) sorted.remove(gone);
        const expected = keys
          .filter((key) => key !== gone)
          .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
        expect([...sorted.from("")]).toEqual(expected);
      }),
    );
  });

  it("take aws-chunked apart wherever the network cut it", async () => {
    const pieces = fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(pieces, fc.integer({ min: 1, max: 9 }), async (pieces, step) => {
        const chunks = pieces.map((piece) =>
          Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from("\r\n")]),
        );
        const coded = Buffer.concat([...chunks, Buffer.from("0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n")]);
        const trailers = new Map<string, string>();
        expect(await gather(decodeChunked(inSteps(coded, step), trailers))).toEqual(Buffer.concat(pieces));
        expect([...trailers]).toEqual([["x-amz-checksum-crc32", "AAAAAA=="]]);
        for (const cut of [1, 5, coded.length - 1]) {
          await expect(gather(decodeChunked(inSteps(coded.subarray(0, cut), step), new Map()))).rejects.toThrow();
        }
      }),
    );
  });

  it("read back whatever text they write into XML", () => {
    // Trimmed of what no XML can hold: lone halves of a surrogate pair, and the characters that XML 1.0 excludes.
    const text = fc.string({ unit: "grapheme", minLength: 1 }).filter((value) => !/\p{Cc}/u.test(value));
    fc.assert(
      fc.property(text, (value) => {
        expect(readXml(writeXml("A", [["B", value]], null))).toMatchObject({ A: { B: value } });
      }),
    );
    expect(readXml(writeXml("A", [["B", "a\r\n\tb"]], null))).toMatchObject({ A: { B: "a\r\n\tb" } });
  });

  it("let one at a time through a lock, in order, and survive its failures", async () => {
    const locks = new Locks();
    const seen: string[] = [];
    const slow = locks.run("a", async () => {
      await new Promise((resolve) => setTimeout(resolve, 10));
      seen.push("slow");
      throw new Error("failed");
    });
    expect(locks.busy("a")).toBe(true);
    const quick = locks.run("a", async () => seen.push("quick"));
    const other = locks.run("b", async () => seen.push("other"));
    await expect(slow).rejects.toThrow("failed");
    await Promise.all([quick, other]);
    expect(seen).toEqual(["other", "slow", "quick"]);
    expect(locks.busy("a")).toBe(false);
  });
});

/** Waits for a fact; the test's own time limit ends it if it never comes. */
async function until(fact: () => boolean): Promise<void> {
  while (!fact()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** A PUT of `sent`, whose signature binds the digest of `signed`, or says that the body comes in chunks. */
async function sendSigned(
  { target, client }: S3Probe,
  key: string,
  signed: Buffer | "chunked",
  sent: Buffer,
  more: Record<string, string> = {},
): Promise<Response> {
  const hex = signed === "chunked" ? "STREAMING-UNSIGNED-PAYLOAD-TRAILER" : hexSha256(signed);
  const { credentials } = client.config;
  const options = { credentials, region: target.region, service: "s3", sha256: Sha256, uriEscapePath: false };
  const { host, hostname, protocol } = new URL(target.endpoint);
  const path = `/${target.bucket}/${key}`;
  const headers = { host, "x-amz-content-sha256": hex, ...more };
  const request = await new SignatureV4(options).sign({ method: "PUT", protocol, hostname, path, headers });
  const { host: _, ...rest } = request.headers;
  return fetch(target.endpoint + path, { method: "PUT", headers: rest, body: sent });
}

function hexSha256(body: Buffer): string {
  return Buffer.from(sha256(body), "base64").toString("hex");
}

/** `encodeURIComponent` leaves dots alone, as S3 clients do; the key stands in the path as it was signed. */
function dotted(url: string, key: string): string {
  expect(url).toContain(key.split("/").map(encodeURIComponent).join("/"));
  return url;
}

async function* inSteps(all: Buffer, step: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < all.length; at += step) yield all.subarray(at, at + step);
}

async function gather(from: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of from) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}
