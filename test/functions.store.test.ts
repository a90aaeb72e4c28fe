import { createHash, randomBytes } from "node:crypto";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Store } from "../functions/store.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import { compositeChecksum } from "../lib/protocol/manifest.ts";
import { type Store as LocalStore, startStore } from "../local/store/store.ts";
import { type Fault, Faulty } from "./support/faulty.ts";

// The bucket as the functions see it, when something goes wrong; the rest is in s3/functions.test.ts, for any server.

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

/** A server that answers as it is told to, and what it was asked. */
async function answering(answer: (response: ServerResponse, nth: number) => void) {
  const asked: { method: string; url: string; headers: IncomingHttpHeaders }[] = [];
  let connections = 0;
  const server = createServer((message, response) => {
    asked.push({ method: message.method ?? "", url: message.url ?? "", headers: message.headers });
    message.resume().once("end", () => answer(response, asked.length));
  });
  server.on("connection", () => connections++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = () => {
    server.close();
    server.closeAllConnections();
  };
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { origin, asked, connections: () => connections, stop };
}

describe("a small object's request", () => {
  const never: Fault = { after: () => new Promise<void>(() => {}) };
  const faults: [string, Fault][] = [
    ["is answered with a 500", { status: 500, body: "" }],
    ["is answered with a 503 SlowDown", { status: 503, body: "<Error><Code>SlowDown</Code></Error>" }],
    ["is answered and the answer lost", "lost"],
    ["is not answered", never],
  ];

  it.each(faults)("that %s is made again", async (_why, fault) => {
    const front = await Faulty.start(s3.endpoint);
    const through = open({ s3Endpoint: front.origin });
    const key = `again/${randomBytes(8).toString("hex")}`;
    front.break("PUT", /again/, fault);
    const written = await through.putJson(key, 1);
    front.break("GET", /again/, fault);
    expect(await through.getJson(key)).toEqual({ value: 1, etag: written!.etag });
    front.break("DELETE", /again/, fault);
    await through.delete(key);
    front.break("GET", /again/, fault);
    expect(await through.getJson(key)).toBeNull();
    front.break("PUT", /again/, fault);
    const once = await through.putJson(key, 2, { ifNoneMatch: true });
    if (once === null) expect(fault).not.toHaveProperty("status"); // its own write was carried out the first time
    expect((await through.getJson(key))?.value).toBe(2);
    through.close();
    front.stop();
  });

  it.each([
    ["NoSuchKey", null],
    ["SomethingElse", null],
    ["NoSuchBucket", "UNAVAILABLE"],
  ])("that is answered with 404 %s is judged as the SDK does", async (code, expected) => {
    const server = await answering((response) => response.writeHead(404).end(`<Error><Code>${code}</Code></Error>`));
    const through = open({ s3Endpoint: server.origin });
    const answer = await through.getJson("k").catch((error: unknown) => (error as WaybillError).code);
    expect(answer).toBe(expected);
    through.close();
    server.stop();
  });

  it("that is redirected goes nowhere else", async () => {
    const elsewhere = await answering((response) => response.writeHead(200, { etag: '"1"' }).end("{}"));
    const server = await answering((response) =>
      response.writeHead(307, { location: `${elsewhere.origin}/b/k` }).end(),
    );
    const through = open({ s3Endpoint: server.origin });
    await expect(through.getJson("k")).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await expect(through.putJson("k", 1)).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await expect(through.delete("k")).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(elsewhere.asked).toEqual([]);
    through.close();
    for (const one of [elsewhere, server]) one.stop();
  });

  it("that is answered without a version was neither read nor written, whatever the status says", async () => {
    const server = await answering((response) => response.writeHead(200).end("<html>Please log in</html>"));
    const through = open({ s3Endpoint: server.origin });
    await expect(through.getJson("k")).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await expect(through.putJson("k", 1)).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await expect(through.putJson("k", 1, { ifNoneMatch: true })).rejects.toMatchObject({ code: "UNAVAILABLE" });
    through.close();
    server.stop();
  });

  it("that is answered by another protocol ends, and is made again", async () => {
    const server = await answering((response, nth) => {
      if (nth > 1) response.writeHead(200, { etag: '"1"' }).end("{}");
      else response.socket!.end("HTTP/1.1 101 Switching Protocols\r\nUpgrade: none\r\nConnection: upgrade\r\n\r\n");
    });
    const through = open({ s3Endpoint: server.origin });
    expect((await through.getJson("k"))?.value).toEqual({});
    expect(server.asked).toHaveLength(2);
    through.close();
    server.stop();
  });

  it("whose body is cut off is made again", async () => {
    const server = await answering((response, nth) => {
      response.writeHead(200, { "content-length": 14, etag: '"1"' });
      if (nth > 1) response.end('{"whole":true}');
      else response.write('{"whole"', () => response.destroy());
    });
    const through = open({ s3Endpoint: server.origin });
    expect((await through.getJson("k"))?.value).toEqual({ whole: true });
    expect(server.asked).toHaveLength(2);
    through.close();
    server.stop();
  });

  it("carries the token of temporary credentials, signed, over one connection for many", async () => {
    const server = await answering((response) => response.writeHead(200, { etag: '"1"' }).end("{}"));
    const s3Credentials = { accessKeyId: "id", secretAccessKey: "secret", sessionToken: "the-token" };
    const through = new Store({ bucket: "bucket", region: "eu-west-1", s3Endpoint: server.origin, s3Credentials });
    for (let i = 0; i < 5; i++) await through.putJson("k", 1, i % 2 ? { ifMatch: '"1"' } : { ifNoneMatch: true });
    for (let i = 0; i < 5; i++) await through.getJson("k");
    expect(server.connections()).toBe(1);
    expect(server.asked).toHaveLength(10);
    for (const { method, url, headers } of server.asked) {
      expect(url).toBe("/bucket/k"); // and none of what the SDK's own client adds
      expect(headers["x-amz-security-token"]).toBe("the-token");
      const signed = /SignedHeaders=([^,]*)/.exec(String(headers.authorization))![1]!.split(";");
      const conditions = Object.keys(headers).filter((name) => name.startsWith("if-"));
      expect(conditions).toHaveLength(method === "PUT" ? 1 : 0);
      expect(signed).toEqual(expect.arrayContaining(["host", "x-amz-security-token", ...conditions]));
    }
    through.close();
    server.stop();
  });
});

describe("many objects", () => {
  const refusals: [string, Fault | null, number][] = [
    ["of two thousand with two requests", null, 0],
    [
      "one by one by a store without DeleteObjects",
      { status: 501, body: "<Error><Code>NotImplemented</Code></Error>" },
      3,
    ],
    [
      "one by one if some were refused together",
      { status: 200, body: "<DeleteResult><Error><Key>a</Key><Code>InternalError</Code></Error></DeleteResult>" },
      3,
    ],
  ];
  it.each(refusals)("are deleted %s", async (_how, fault, count) => {
    const front = await Faulty.start(s3.endpoint);
    const through = open({ s3Endpoint: front.origin });
    const there = Array.from({ length: 3 }, (_, i) => `many/${i}`);
    const missing = Array.from({ length: count === 0 ? 1_997 : 2 }, (_, i) => `many/not-there-${i}`);
    for (const key of [...there, "many-more"]) await store.putJson(key, 0);
    const methods: string[] = [];
    front.rule = ({ method }) => {
      methods.push(method);
      return method === "POST" ? fault : null;
    };
    await through.delete([...there, ...missing]);
    expect(await store.list("many")).toMatchObject([{ key: "many-more" }]);
    if (!fault) expect(methods).toEqual(["POST", "POST"]);
    await through.delete([]);
    through.close();
    front.stop();
  });

  it("that can't be deleted are UNAVAILABLE", async () => {
    const front = await Faulty.start(s3.endpoint);
    const through = open({ s3Endpoint: front.origin });
    front.rule = () => ({ status: 403, body: "<Error><Code>AccessDenied</Code></Error>" });
    await expect(through.delete(["a", "b"])).rejects.toMatchObject({ code: "UNAVAILABLE" });
    through.close();
    front.stop();
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
