import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { afterEach, describe, expect, it } from "vitest";
import { FetchTransport } from "../lib/transfer/fetch-http.ts";
import type { StoreRequest, StoreResponse } from "../lib/transfer/http.ts";
import { rejection } from "./support/members.ts";

// The transport of runtimes without Node's sockets, against a real server.

let server: Server | undefined;
const transports: FetchTransport[] = [];
afterEach(async () => {
  for (const transport of transports.splice(0)) transport.close();
  server?.closeAllConnections();
  await new Promise((resolve) => (server ? server.close(resolve) : resolve(null)));
  server = undefined;
});

async function serve(answer: (request: IncomingMessage, response: ServerResponse) => unknown): Promise<string> {
  server = createServer((request, response) => void answer(request, response)).listen(0, "127.0.0.1");
  await once(server, "listening");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/key`;
}

function transport(stallTimeout = 5_000): FetchTransport {
  const made = new FetchTransport({ stallTimeout });
  transports.push(made);
  return made;
}

const get = (url: string, more: Partial<StoreRequest> = {}): StoreRequest => ({
  ...{ method: "GET", url, headers: {}, signal: new AbortController().signal },
  ...more,
});

async function read(response: StoreResponse): Promise<string> {
  const memory = Buffer.alloc(1000);
  return memory.toString("utf8", 0, await response.read(memory));
}

describe("FetchTransport", () => {
  it("sends method, headers and bytes, and gives back status, headers and bytes", async () => {
    const seen: unknown[] = [];
    const url = await serve(async (request, response) => {
      const { method, headers } = request;
      seen.push([method, headers.range, headers["content-length"], (await buffer(request)).toString()]);
      response.writeHead(206, { etag: '"x"' }).end("answer");
    });
    const got = await transport().request(get(url, { headers: { range: "bytes=0-5" } }));
    expect([got.status, got.header("ETag"), got.header("none"), await read(got)]).toEqual([206, '"x"', null, "answer"]);
    const headers = { "content-length": "4" };
    const put = await transport().request(get(url, { method: "PUT", headers, body: Buffer.from("body") }));
    put.discard();
    expect(seen).toEqual([
      ["GET", "bytes=0-5", undefined, ""],
      ["PUT", undefined, "4", "body"],
    ]);
  });

  it("follows no redirect", async () => {
    const url = await serve((_, response) => response.writeHead(302, { location: "/other" }).end());
    const { status } = await transport().request(get(url));
    expect(status === 302 || status === 0).toBe(true);
  });

  it("gives up when nothing comes, before the answer and in the middle of it, but not while its reader is busy", async () => {
    const url = await serve((request, response) => {
      if (request.headers.range === "none") return;
      response.writeHead(200, { "content-length": "10" }).write("12345");
      if (request.headers.range === "all") setTimeout(() => response.end("67890"), 20);
    });
    const stalled = expect.objectContaining({ code: "STALLED" });
    expect(await rejection(transport(300).request(get(url, { headers: { range: "none" } })))).toEqual(stalled);
    expect(await rejection(read(await transport(300).request(get(url))))).toEqual(stalled);
    const slow = await transport(300).request(get(url, { headers: { range: "all" } }));
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(await read(slow)).toBe("1234567890");
  });

  it("gives a large body the time that a slow link needs", async () => {
    const url = await serve(async (request, response) => {
      await new Promise((resolve) => setTimeout(resolve, 600));
      await buffer(request);
      response.end();
    });
    const body = Buffer.alloc(60_000); // ten seconds of the slowest link
    const { status } = await transport(200).request(get(url, { method: "PUT", body }));
    expect(status).toBe(200);
  });

  it("ends with the signal's reason, and with its own end", async () => {
    const url = await serve(() => {});
    const mine = new Error("mine");
    const end = new AbortController();
    const waiting = rejection(transport().request(get(url, { signal: end.signal })));
    end.abort(mine);
    expect(await waiting).toBe(mine);
    const closed = transport();
    const other = rejection(closed.request(get(url)));
    closed.close();
    expect(await other).toMatchObject({ message: "The transport was closed." });
  });

  it("lets an answer go that nobody wants to read", async () => {
    let gone = (): void => {};
    const closed = new Promise<void>((resolve) => {
      gone = resolve;
    });
    const url = await serve((_, response) => {
      response.on("close", gone);
      response.writeHead(200, { "content-length": "1000000" }).write("x");
    });
    (await transport().request(get(url))).discard();
    await closed;
  });
});
