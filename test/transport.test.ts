import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { FetchTransport } from "../lib/transfer/fetch-http.ts";
import type { StoreRequest, StoreResponse, Transport } from "../lib/transfer/http.ts";
import { NodeTransport } from "../lib/transfer/node-http.ts";
import { rejection } from "./support/members.ts";
import { answering, type Script, WireServer, whole } from "./support/wire.ts";

// What every transport owes to the engine, whatever a server puts on the wire.

/** For what is silent on purpose. */
const STALL_MS = 400;
const PATIENT_MS = 10_000;

const transports: Record<string, (stallTimeout: number) => Transport> = {
  NodeTransport: (stallTimeout) => new NodeTransport({ stallTimeout }),
  FetchTransport: (stallTimeout) => new FetchTransport({ stallTimeout }),
};

/** Answers that are to be read, and their bodies. */
const sound: Record<string, [reply: string, body: string]> = {
  "a Content-Length": [whole("hello world"), "hello world"],
  "nothing after it": ["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""],
  chunks: [
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n",
    "hello world",
  ],
  "chunks with extensions and trailers": [
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n00b;a=b\r\nhello world\r\n0\r\nX-Sum: 1\r\n\r\n",
    "hello world",
  ],
  "early hints before it": [`HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n${whole("hello")}`, "hello"],
  "no reason phrase": ["HTTP/1.1 206\r\nContent-Length: 2\r\n\r\nab", "ab"],
  "204": ["HTTP/1.1 204 No Content\r\n\r\n", ""],
};

/** Answers that end before their time, or can't be read. */
const broken: Record<string, Script> = {
  "a body that ends early": answering("HTTP/1.1 206 OK\r\nContent-Length: 100\r\n\r\nhello", (socket) => socket.end()),
  "a body that is reset": answering("HTTP/1.1 206 OK\r\nContent-Length: 100\r\n\r\nhello", (socket) =>
    setTimeout(() => socket.resetAndDestroy(), 20),
  ),
  "chunks that end early": answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello", (socket) =>
    socket.end(),
  ),
  "chunks without their end": answering(
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    (socket) => socket.end(),
  ),
  "a chunk that is longer than it says": answering(
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n",
  ),
  "a chunk of no size": answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nhello\r\n0\r\n\r\n"),
  "a connection that ends without a word": (socket) => socket.once("data", () => socket.end()),
  "a reset": (socket) => socket.once("data", () => socket.resetAndDestroy()),
  "something else than HTTP": answering("SSH-2.0-OpenSSH_9.6\r\n"),
  "half a head": answering("HTTP/1.1 200 OK\r\nContent-Le", (socket) => socket.end()),
  "two lengths": answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
  "a length that is none": answering("HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello"),
  "a length and chunks": answering(
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
  ),
  "NUL in a field": answering("HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 5\r\n\r\nhello"),
  "an endless head": answering(`HTTP/1.1 200 OK\r\n${"X-Filler: 0123456789\r\n".repeat(10_000)}`),
};

async function text(response: StoreResponse, room = 1000): Promise<string> {
  const memory = Buffer.alloc(room);
  return memory.toString("latin1", 0, await response.read(memory));
}

describe.each(Object.entries(transports))("%s", (_name, make) => {
  const open: { stop(): Promise<void> | void }[] = [];
  let transport: Transport;
  let hasty: Transport;
  beforeAll(() => {
    transport = make(PATIENT_MS);
    hasty = make(STALL_MS);
  });
  afterEach(async () => {
    for (const server of open.splice(0)) await server.stop();
  });
  afterAll(() => {
    transport.close();
    hasty.close();
  });

  async function serve(script: Script): Promise<WireServer> {
    const server = await WireServer.start(script);
    open.push(server);
    return server;
  }

  function get({ origin }: WireServer, more: Partial<StoreRequest> = {}): StoreRequest {
    return { method: "GET", url: `${origin}/key?a=b`, headers: {}, signal: new AbortController().signal, ...more };
  }

  const put = (server: WireServer, body: Uint8Array, more: Partial<StoreRequest> = {}): StoreRequest =>
    get(server, { method: "PUT", body, ...more });

  it.each(Object.entries(sound))(
    "reads an answer with %s, in one piece and byte by byte",
    async (_name, [reply, body]) => {
      expect(await text(await transport.request(get(await serve(answering(reply)))))).toBe(body);
      const dribbling: Script = (socket) =>
        socket.once("data", async () => {
          for (const byte of Buffer.from(reply)) {
            if (!socket.write(Buffer.of(byte))) await once(socket, "drain");
            await new Promise(setImmediate);
          }
        });
      expect(await text(await transport.request(get(await serve(dribbling))))).toBe(body);
    },
  );

  it("reads what has no length until the connection ends", async () => {
    const endless = await serve(answering("HTTP/1.0 200 OK\r\n\r\nhello world", (socket) => socket.end()));
    expect(await text(await transport.request(get(endless)))).toBe("hello world");
  });

  it.each(Object.entries(broken))("rejects %s", async (_name, script) => {
    const server = await serve(script);
    const read = async (): Promise<string> => text(await transport.request(get(server)));
    expect(await rejection(read())).toBeInstanceOf(Error);
  });

  it("gives a body in the portions that its reader wants, and then no more", async () => {
    const bytes = randomBytes(300_000);
    const head = `HTTP/1.1 206 Partial\r\nContent-Length: ${bytes.length}\r\n\r\n`;
    const server = await serve(answering(Buffer.concat([Buffer.from(head), bytes])));
    const response = await transport.request(get(server));
    const got = Buffer.alloc(400_000);
    let at = 0;
    for (const portion of [1, 2, 99_997, 100_000]) {
      expect(await response.read(got.subarray(at, at + portion))).toBe(portion);
      at += portion;
    }
    expect(await response.read(got.subarray(at))).toBe(100_000);
    expect(Buffer.compare(got.subarray(0, bytes.length), bytes)).toBe(0);
    expect(await response.read(got)).toBe(0);
  });

  it("reads into memory that threads share, and sends from it", async () => {
    const shared = (): Uint8Array => new Uint8Array(new SharedArrayBuffer(2_000_000));
    const [bytes, got] = [shared(), shared()];
    bytes.set(randomBytes(bytes.length));
    const server = await serve((socket) =>
      server.onRequest(socket, async (head, body) => {
        if (/^expect/im.test(head)) socket.write("HTTP/1.1 100 Continue\r\n\r\n");
        const echo = await body;
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${echo.length}\r\n\r\n`);
        socket.write(echo);
      }),
    );
    const response = await transport.request(put(server, bytes));
    expect(await response.read(got)).toBe(bytes.length);
    expect(Buffer.compare(got, bytes)).toBe(0);
  });

  it("shows status and fields, follows no redirect and sends what it was told", async () => {
    const elsewhere = await serve(answering(whole("elsewhere")));
    const reply = `HTTP/1.1 307 Go\r\nLocation: ${elsewhere.origin}\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n`;
    const server = await serve((socket) => server.onRequest(socket, () => socket.write(reply)));
    const { status, header } = await transport.request(get(server, { headers: { range: "bytes=0-5" } }));
    expect([status, header("etag"), header("ETAG"), header("none")]).toEqual([307, '"x"', '"x"', null]);
    expect(elsewhere.connections).toBe(0);
    expect(server.heads[0]).toMatch(/^GET \/key\?a=b HTTP\/1\.1\r\n/);
    expect(server.heads[0]).toMatch(new RegExp(`^host: 127\\.0\\.0\\.1:${server.port}\r$`, "im"));
    expect(server.heads[0]).toMatch(/^range: bytes=0-5\r$/im);
  });

  it("shows an encoding, and a 200 where a range was asked for, to whoever must judge them", async () => {
    const reply = "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 5\r\n\r\nhello";
    const response = await transport.request(get(await serve(answering(reply))));
    expect([response.status, response.header("content-encoding")]).toEqual([200, "br"]);
    response.discard();
  });

  it("sends a body whole, and none when there is none", async () => {
    const bodies: Buffer[] = [];
    const server = await serve((socket) =>
      server.onRequest(socket, async (head, body) => {
        if (/^expect: 100-continue\r$/im.test(head)) socket.write("HTTP/1.1 100 Continue\r\n\r\n");
        bodies.push(await body);
        socket.write(whole(""));
      }),
    );
    const bytes = randomBytes(3_000_000);
    for (const body of [bytes, new Uint8Array(), bytes.subarray(0, 10)])
      expect((await transport.request(put(server, body))).status).toBe(200);
    expect(bodies.map((body) => body.length)).toEqual([3_000_000, 0, 10]);
    expect(Buffer.compare(bodies[0]!, bytes)).toBe(0);
    expect(server.heads.map((head) => /^content-length: (\d+)\r$/im.exec(head)?.[1])).toEqual(["3000000", "0", "10"]);
  });

  it("hears a refusal that comes before the body has gone", async () => {
    const server = await serve((socket) => {
      socket.once("readable", () => socket.write(whole("<Error/>", "403 Forbidden"))); // and reads no more
    });
    const response = await transport.request(put(server, randomBytes(30_000_000)));
    expect([response.status, await text(response)]).toEqual([403, "<Error/>"]);
    response.discard();
  });

  it("asks again over the same connection when the answer allows it, and only then", async () => {
    const kept = await serve(answering(whole("hello")));
    const left = await serve(
      answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", (socket) => socket.end()),
    );
    for (let turn = 0; turn < 3; turn++)
      for (const server of [kept, left]) {
        expect(await text(await transport.request(get(server)))).toBe("hello");
        await new Promise(setImmediate);
      }
    expect([kept.connections, left.connections]).toEqual([1, 3]);
  });

  it("gives up when nothing comes: no answer, half a head, half a body", async () => {
    const silences = ["", "HTTP/1.1 200 O", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"];
    const ends = silences.map(async (reply) => {
      const server = await serve(answering(reply));
      return rejection(hasty.request(get(server)).then((response) => text(response)));
    });
    for (const end of ends) expect(await end).toMatchObject({ code: "STALLED" });
  });

  it("has patience with a reader that is slow, and with a server that is slow but not silent", async () => {
    const server = await serve((socket) =>
      socket.once("data", async () => {
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        for (const byte of "0123456789") {
          await new Promise((resolve) => setTimeout(resolve, STALL_MS / 5));
          socket.write(byte);
        }
      }),
    );
    const response = await hasty.request(get(server));
    await new Promise((resolve) => setTimeout(resolve, 2 * STALL_MS));
    expect(await text(response, 3)).toBe("012");
    await new Promise((resolve) => setTimeout(resolve, 2 * STALL_MS));
    expect(await text(response)).toBe("3456789");
  });

  it("lets no more come than its reader takes", async () => {
    let sent = 0;
    const server = await serve((socket) =>
      socket.once("data", () => {
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        const block = Buffer.alloc(1_000_000);
        const more = (): void => {
          while (!socket.destroyed) {
            sent += block.length;
            if (!socket.write(block)) return void socket.once("drain", more);
          }
        };
        more();
      }),
    );
    const response = await transport.request(get(server));
    expect(await response.read(new Uint8Array(1000))).toBe(1000);
    let before = -1;
    for (; before !== sent; await new Promise((resolve) => setTimeout(resolve, 200))) before = sent;
    expect(sent).toBeLessThan(50_000_000); // what the system's own buffers hold
    response.discard();
  });

  it.each([
    ["before it begins", null],
    ["before the answer", ""],
    ["in the middle of the body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"],
  ])("ends with its signal's reason %s, and lets its memory go", async (_name, reply) => {
    const controller = new AbortController();
    const { signal } = controller;
    if (reply === null) controller.abort(new Error("enough"));
    let late = (): void => {};
    const server = await serve((socket) =>
      socket.once("data", () => {
        late = () => void socket.write("LATE!");
        socket.write(reply ?? "", () => setTimeout(() => controller.abort(new Error("enough")), 50));
      }),
    );
    const memory = Buffer.alloc(10);
    const reading = transport.request(get(server, { signal })).then((response) => response.read(memory));
    expect(await rejection(reading)).toMatchObject({ message: "enough" });
    late();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(memory.includes("LATE")).toBe(false);
  });

  it("ends the connection of an answer that nobody wants to read", async () => {
    let gone = (): void => {};
    const closed = new Promise<void>((resolve) => {
      gone = resolve;
    });
    const server = await serve((socket) => {
      socket.on("close", gone);
      answering("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhello")(socket, 1);
    });
    const response = await transport.request(get(server));
    response.discard();
    response.discard();
    await closed;
  });

  it("ends all requests when it is closed", async () => {
    const silent = await serve(answering(""));
    const closing = make(PATIENT_MS);
    const waiting = rejection(closing.request(get(silent)));
    while (silent.connections === 0) await new Promise(setImmediate);
    closing.close();
    expect(await waiting).toMatchObject({ message: "The transport was closed." });
    expect(await rejection(closing.request(get(silent)))).toBeInstanceOf(Error);
  });

  it("of a server that is not there rejects with the system's code", async () => {
    const server = await WireServer.start(() => {});
    const request = get(server);
    await server.stop();
    const error = (await rejection(transport.request(request))) as { code?: unknown; cause?: { code?: unknown } };
    expect(error.code ?? error.cause?.code).toBe("ECONNREFUSED");
  });
});
