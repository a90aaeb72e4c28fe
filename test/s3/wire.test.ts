/** What Waybill relies on in an S3: how its answers come over HTTP. */
import { Agent } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FetchTransport } from "../../lib/transfer/fetch-http.ts";
import type { StoreResponse, Transport } from "../../lib/transfer/http.ts";
import { NodeTransport } from "../../lib/transfer/node-http.ts";
import { bytes, raw, sha256 } from "../support/s3.ts";
import { Place } from "../support/s3-place.ts";

let place: Place;
let s3: Place["s3"];

beforeAll(async () => {
  place = await Place.open();
  ({ s3 } = place);
});
afterAll(() => place?.close());

describe("an answer", () => {
  it("has a date, and a length or chunks", async () => {
    const key = place.key();
    await s3.put(key, bytes(1000));
    const answers = [
      await raw(await s3.presign("GET", key)),
      await raw(await s3.presign("GET", key), { headers: { range: "bytes=1-10" } }),
      await raw(await s3.presign("GET", "", { query: { "list-type": "2", prefix: key } })),
      await raw(await s3.presign("GET", place.key())),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 206, 200, 404]);
    for (const { headers, body } of answers) {
      expect(Math.abs(Date.parse(headers.date ?? "") - Date.now())).toBeLessThan(60_000);
      if (headers["transfer-encoding"] !== "chunked") expect(headers["content-length"]).toBe(String(body.length));
      expect(headers["content-encoding"]).toBeUndefined();
    }
    expect(answers.slice(0, 2).map(({ headers }) => headers["content-length"])).toEqual(["1000", "10"]);
  });

  it("to HEAD tells length, ETag and checksum, and to PUT the ETag", async () => {
    const key = place.key();
    const checksum = sha256(bytes(7));
    const headers = { "x-amz-checksum-sha256": checksum };
    const put = await raw(await s3.presign("PUT", key, { headers }), { method: "PUT", headers, body: bytes(7) });
    const mode = { "x-amz-checksum-mode": "ENABLED" };
    const head = await raw(await s3.presign("HEAD", key, { headers: mode }), { method: "HEAD", headers: mode });
    expect(head.headers).toMatchObject({ "content-length": "7", etag: put.headers.etag, ...headers });
    expect(head.body).toHaveLength(0);
  });

  it("leaves its connection open for the next request", async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const key = place.key();
    await s3.put(key, "x");
    const url = await s3.presign("GET", key);
    const ports = new Set<unknown>();
    agent.on("free", (socket) => ports.add((socket as { localPort?: number }).localPort));
    for (let i = 0; i < 5; i++) expect((await raw(url, { agent })).status).toBe(200);
    agent.destroy();
    expect(ports.size).toBe(1);
  });
});

describe("a body", () => {
  it("is asked for by 100 Continue, or taken without", async () => {
    const url = await s3.presign("PUT", place.key());
    const { status, continued } = await raw(url, { method: "PUT", body: bytes(1000), patient: true });
    expect([status, continued]).toEqual([200, true]);
  });

  it("is not asked for by who refuses it anyway", async () => {
    const url = (await s3.presign("PUT", place.key())).replace(/X-Amz-Signature=.{8}/, "X-Amz-Signature=00000000");
    const { status, continued } = await raw(url, { method: "PUT", body: bytes(1000), patient: true });
    expect([status, continued]).toEqual(place.expected("100 Continue to who is refused", [403, false]));
  });
});

const transports: readonly [string, () => Transport][] = [
  ["Node's sockets", () => new NodeTransport()],
  ["fetch", () => new FetchTransport()],
];
describe.each(transports)("the engine, over %s,", (_name, open) => {
  it("sends a part, reads its ranges and hears of refusals", async () => {
    const transport = open();
    const { signal } = new AbortController();
    const [key, body] = [place.key(), bytes(3_000_000)];
    const uploadId = await place.store.createUpload(key, "application/octet-stream");
    const part = { number: 1, length: body.length, sha256: sha256(body) };
    const [put] = (await place.store.presignParts(key, uploadId, [part])).urls;
    const sent = await transport.request({ method: "PUT", ...put!, body, signal });
    expect([sent.status, await textOf(sent)]).toEqual([200, ""]);
    const held = (await place.store.listParts(key, uploadId))!;
    expect(await place.store.complete(key, uploadId, held)).toBe("done");
    const { etag } = (await place.store.head(key))!;
    const get = await place.store.presignGet(key, etag);
    for (const [start, length] of [
      [0, 3_000_000],
      [1_234_567, 1_000_000],
      [2_999_999, 1],
    ] as const) {
      const range = `bytes=${start}-${start + length - 1}`;
      const found = await transport.request({
        method: "GET",
        url: get.url,
        headers: { ...get.headers, range },
        signal,
      });
      expect(found.status).toBe(206);
      expect(found.header("content-range")).toBe(`bytes ${start}-${start + length - 1}/3000000`);
      const into = new Uint8Array(length + 1);
      expect(await found.read(into)).toBe(length);
      expect(Buffer.compare(into.subarray(0, length), body.subarray(start, start + length))).toBe(0);
    }
    const late = await triedAgain(() => transport.request({ method: "PUT", ...put!, body, signal }));
    expect([late.status, /<Code>NoSuchUpload</.test(await textOf(late))]).toEqual([404, true]);
    transport.close();
  });
});

/** As often as the engine does: who refuses a body and hangs up may cut off what it said. */
async function triedAgain(request: () => Promise<StoreResponse>, tries = 6): Promise<StoreResponse> {
  try {
    return await request();
  } catch (error) {
    if (tries === 1) throw error;
    return triedAgain(request, tries - 1);
  }
}

async function textOf(response: StoreResponse): Promise<string> {
  const into = new Uint8Array(10_000);
  const count = await response.read(into);
  response.discard();
  return Buffer.from(into.subarray(0, count)).toString();
}
