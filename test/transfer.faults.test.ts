import { createHash, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compositeChecksum, type Manifest } from "../lib/protocol/manifest.ts";
import { type DownloadJob, download } from "../lib/transfer/download.ts";
import { NodeTransport } from "../lib/transfer/node-http.ts";
import { sourceOf } from "../lib/transfer/source.ts";
import { type UploadJob, upload } from "../lib/transfer/upload.ts";

// Servers that misbehave in every way that a store, a proxy or a wire can. Each path is one test's own server.

type Handler = (request: IncomingMessage, response: ServerResponse, nth: number) => void;

/** For what is silent on purpose; everything else has the usual patience, so that a busy machine is no fault. */
const STALL_MS = 1_000;
const PART = 1000;
const bytes = randomBytes(3 * PART + 7);
const sha256 = (data: Uint8Array): string => createHash("sha256").update(data).digest("base64");
const partsOf = (data: Uint8Array): string[] =>
  [0, 1, 2, 3].map((i) => sha256(data.subarray(i * PART, Math.min(data.length, (i + 1) * PART))));
const manifest: Manifest = {
  version: 1,
  tag: "x",
  size: bytes.length,
  partSize: PART,
  parts: partsOf(bytes),
  checksum: compositeChecksum(partsOf(bytes)),
  contentType: "a/b",
};

const handlers = new Map<string, { handle: Handler; asked: number; sockets: Set<unknown> }>();
let server: Server;
let origin: string;
const transport = new NodeTransport();
const hasty = new NodeTransport({ stallTimeout: STALL_MS });
const transportFor = (name: string) => (name.startsWith("silence") ? hasty : transport);

beforeAll(async () => {
  server = createServer((request, response) => {
    const found = handlers.get(request.url ?? "");
    if (!found) return void response.writeHead(404).end();
    found.sockets.add(request.socket);
    found.handle(request, response, ++found.asked);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  transport.close();
  hasty.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function mount(handle: Handler): { url: string; asked: () => number; sockets: () => number } {
  const path = `/${handlers.size}`;
  const entry = { handle, asked: 0, sockets: new Set() };
  handlers.set(path, entry);
  return { url: `${origin}${path}`, asked: () => entry.asked, sockets: () => entry.sockets.size };
}

function rangeOf(request: IncomingMessage): { start: number; end: number; headers: Record<string, string | number> } {
  const [, start, end] = /^bytes=(\d+)-(\d+)$/.exec(String(request.headers.range))!.map(Number) as number[];
  const headers = { "content-range": `bytes ${start}-${end}/${bytes.length}`, "content-length": end! - start! + 1 };
  return { start: start!, end: end! + 1, headers };
}

const serve: Handler = (request, response) => {
  const { start, end, headers } = rangeOf(request);
  response.writeHead(206, headers).end(bytes.subarray(start, end));
};

async function fetchFrom(url: string, more: Partial<DownloadJob> = {}): Promise<Uint8Array> {
  const target = new Uint8Array(bytes.length);
  const answer = { url, headers: { "if-match": '"1"' }, expiresIn: 60_000 };
  await download({
    manifest,
    sink: { memory: ({ start, length }) => target.subarray(start, start + length), write: async () => {} },
    url: answer,
    issued: performance.now(),
    refresh: async () => answer,
    transport,
    storeOrigin: origin,
    ...more,
  });
  return target;
}

const code = async (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => "nothing",
    (error: { code?: unknown }) => error.code,
  );

const flipped = (start: number, end: number): Buffer => {
  const copy = Buffer.from(bytes.subarray(start, end));
  copy[0]! ^= 1;
  return copy;
};

/** Bad answers to a range; a good one must follow. */
const badAnswers: Record<string, Handler> = {
  "the whole instead of a range": (_, response) => response.writeHead(200).end(bytes),
  "another range": (request, response) => {
    const { start, end, headers } = rangeOf(request);
    response
      .writeHead(206, { ...headers, "content-range": `bytes ${start + 1}-${end}/${bytes.length}` })
      .end(bytes.subarray(start, end));
  },
  "another total": (request, response) => {
    const { start, end, headers } = rangeOf(request);
    response
      .writeHead(206, { ...headers, "content-range": `bytes ${start}-${end - 1}/${bytes.length + 1}` })
      .end(bytes.subarray(start, end));
  },
  "no Content-Range": (request, response) => {
    const { start, end } = rangeOf(request);
    response.writeHead(206).end(bytes.subarray(start, end));
  },
  "fewer bytes than announced": (request, response) => {
    const { start, end, headers } = rangeOf(request);
    response.writeHead(206, headers);
    response.write(bytes.subarray(start, end - 3), () => response.destroy());
  },
  "fewer bytes, announced as such": (request, response) => {
    const { start, end, headers } = rangeOf(request);
    response.writeHead(206, { ...headers, "content-length": end - start - 1 }).end(bytes.subarray(start, end - 1));
  },
  "fewer bytes of no announced length": (request, response) => {
    const { start, end, headers } = rangeOf(request);
    response.writeHead(206, { "content-range": String(headers["content-range"]) }).end(bytes.subarray(start, end - 1));
  },
  "more bytes of no announced length": (request, response) => {
    const { start, end, headers } = rangeOf(request);
    response.writeHead(206, { "content-range": String(headers["content-range"]) });
    response.write(bytes.subarray(start, end));
    response.end("and more");
  },
  "an encoding": (request, response) => {
    const { start, end, headers } = rangeOf(request);
    response.writeHead(206, { ...headers, "content-encoding": "gzip" }).end(bytes.subarray(start, end));
  },
  "a flipped bit": (request, response) => {
    const { start, end, headers } = rangeOf(request);
    response.writeHead(206, headers).end(flipped(start, end));
  },
  "a reset": (request) => request.socket.resetAndDestroy(),
  "a reset in the middle": (request, response) => {
    const { start, end, headers } = rangeOf(request);
    response.writeHead(206, headers);
    response.write(bytes.subarray(start, end - 3), () => request.socket.resetAndDestroy());
  },
  silence: () => {},
  "silence in the middle": (request, response) => {
    const { start, headers } = rangeOf(request);
    response.writeHead(206, headers).write(bytes.subarray(start, start + 2));
  },
  "503": (_, response) => response.writeHead(503, { "retry-after": "0" }).end("<Error><Code>SlowDown</Code></Error>"),
  "429": (_, response) => response.writeHead(429).end(),
  "500 with an endless body": (_, response) => {
    response.writeHead(500);
    const more = () => {
      while (!response.destroyed && response.write("x".repeat(10_000)));
    };
    response.on("drain", more);
    more();
  },
  "no HTTP": (request) => request.socket.end("hello\r\n\r\n"),
};

describe.concurrent("a download", () => {
  it.each(Object.entries(badAnswers))("that gets %s asks again and ends with the right bytes", async (name, bad) => {
    const { url, asked } = mount((request, response, nth) => (nth <= 2 ? bad : serve)(request, response, nth));
    expect(Buffer.compare(await fetchFrom(url, { transport: transportFor(name) }), bytes)).toBe(0);
    expect(asked()).toBe(6);
  });

  it("that gets wrong bytes twice is CORRUPT, and the second time came over a new connection", async () => {
    const wrong = mount((request, response) => badAnswers["a flipped bit"]!(request, response, 1));
    expect(
      await code(fetchFrom(wrong.url, { manifest: { ...manifest, size: PART, parts: [manifest.parts[0]!] } })),
    ).toBe(
      "BAD_SERVER", // the total is not the manifest's: not one byte of it is believed
    );
    const one = { ...manifest, size: 4 * PART - 993, partSize: 64_000, parts: [sha256(bytes)] };
    const lying = mount((request, response) => {
      const { headers } = rangeOf(request);
      response.writeHead(206, headers).end(flipped(0, bytes.length));
    });
    expect(await code(fetchFrom(lying.url, { manifest: one }))).toBe("CORRUPT");
    expect(lying.asked()).toBe(2);
    expect(lying.sockets()).toBe(2);
  });

  it("takes no network error for corruption: one wrong digest among faults is not CORRUPT", async () => {
    const one = { ...manifest, partSize: 64_000, parts: [sha256(bytes)] };
    const { url } = mount((request, response, nth) => {
      if (nth < 6) return void response.writeHead(503).end();
      const { headers } = rangeOf(request);
      response.writeHead(206, headers).end(flipped(0, bytes.length));
    });
    expect(await code(fetchFrom(url, { manifest: one }))).toBe("BAD_SERVER");
  });

  it.each([
    ["a redirect", 302, {}, "", "BAD_SERVER"],
    ["an object that was replaced", 412, {}, "<Error><Code>PreconditionFailed</Code></Error>", "CONFLICT"],
    ["an object that is gone", 404, {}, "<Error><Code>NoSuchKey</Code></Error>", "GONE"],
    ["a refusal", 403, {}, "<Error><Code>AccessDenied</Code></Error>", "BAD_SERVER"],
  ] as const)("that meets %s ends at once", async (_name, status, headers, text, expected) => {
    const elsewhere = mount(serve);
    const { url, asked } = mount((_, response) =>
      response.writeHead(status, { location: elsewhere.url, ...headers }).end(text),
    );
    expect(await code(fetchFrom(url, { manifest: { ...manifest, partSize: 64_000, parts: [sha256(bytes)] } }))).toBe(
      expected,
    );
    expect([asked(), elsewhere.asked()]).toEqual([1, 0]);
  });

  it.each([
    ["Request has expired", 403, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"],
    ["ExpiredToken", 400, "<Error><Code>ExpiredToken</Code></Error>"],
  ])("whose URL the store calls expired (%s) gets a new one", async (_name, status, text) => {
    const old = mount((_, response) => response.writeHead(status).end(text));
    const fresh = mount(serve);
    let refreshed = 0;
    const refresh = async () => {
      refreshed += 1;
      return { url: fresh.url, headers: {}, expiresIn: 60_000 };
    };
    expect(Buffer.compare(await fetchFrom(old.url, { refresh }), bytes)).toBe(0);
    expect(refreshed).toBe(1);
  });

  it("gives up on URLs that are always dead on arrival", async () => {
    const { url } = mount((_, response) => response.writeHead(400).end("<Code>ExpiredToken</Code>"));
    expect(await code(fetchFrom(url))).toBe("BAD_SERVER");
  });

  it("asks no other host than the pinned store's, and sends no header that it does not know", async () => {
    const { url, asked } = mount(serve);
    expect(await code(fetchFrom(url, { storeOrigin: "http://127.0.0.1:1" }))).toBe("BAD_SERVER");
    const odd = { url, headers: { host: "elsewhere" }, expiresIn: 60_000 };
    expect(await code(fetchFrom(url, { url: odd }))).toBe("BAD_SERVER");
    const two = { ...odd, headers: { "x-amz-a": "1\r\nhost: elsewhere" } };
    expect(await code(fetchFrom(url, { url: two }))).toBe("BAD_SERVER");
    expect(asked()).toBe(0);
  });

  it("of a store that is not there is UNREACHABLE, after its tries, and tells no URL", async () => {
    const url = "http://127.0.0.1:1/secret?X-Amz-Signature=abc";
    const error = await fetchFrom(url, { storeOrigin: "http://127.0.0.1:1" }).catch((found: Error) => found);
    expect(error).toMatchObject({ code: "UNREACHABLE", retryable: true });
    expect(JSON.stringify([error, (error as Error).stack, String((error as Error).cause)])).not.toMatch(/secret|abc/);
  });

  it("ends with its signal's reason, and leaves no request behind", async () => {
    const end = new AbortController();
    const { url } = mount(() => setTimeout(() => end.abort(new Error("enough")), 10));
    await expect(fetchFrom(url, { signal: end.signal })).rejects.toThrow("enough");
  });
});

async function sendTo(url: string, more: Partial<UploadJob> = {}): Promise<void> {
  const reader = await (await sourceOf(bytes.subarray(0, 5000))).open();
  await upload({
    reader,
    plan: { size: bytes.length, partSize: 64_000 },
    stored: new Map(),
    sign: async (parts) => ({
      urls: parts.map(({ number, sha256 }) => ({ number, url, headers: { "x-amz-checksum-sha256": sha256 } })),
      expiresIn: 60_000,
    }),
    transport,
    storeOrigin: origin,
    ...more,
  });
}

/** A store that takes what it gets. */
const take: Handler = (request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const whole = Buffer.concat(chunks);
    const right = sha256(whole) === request.headers["x-amz-checksum-sha256"] && whole.length === bytes.length;
    response.writeHead(right ? 200 : 400, { etag: '"1"' }).end();
  });
};

const badTakers: Record<string, Handler> = {
  "500": (_, response) => response.writeHead(500).end("<Error><Code>InternalError</Code></Error>"),
  "503": (_, response) => response.writeHead(503).end("<Error><Code>SlowDown</Code></Error>"),
  "a reset": (request) => request.socket.resetAndDestroy(),
  silence: () => {},
  BadDigest: (_, response) => response.writeHead(400).end("<Error><Code>BadDigest</Code></Error>"),
  RequestTimeout: (_, response) => response.writeHead(400).end("<Error><Code>RequestTimeout</Code></Error>"),
  "another checksum": (_, response) =>
    response.writeHead(200, { "x-amz-checksum-sha256": sha256(bytes.subarray(1)) }).end(),
};

describe.concurrent("an upload", () => {
  it.each(Object.entries(badTakers))("that meets %s sends the part again", async (name, bad) => {
    const { url, asked } = mount((request, response, nth) => (nth <= 2 ? bad : take)(request, response, nth));
    await sendTo(url, { transport: transportFor(name) });
    expect(asked()).toBe(3);
  });

  it("whose bytes the caller changed meanwhile is SOURCE_CHANGED", async () => {
    const mine = randomBytes(PART);
    const { url } = mount((_, response) => {
      mine[0]! ^= 1;
      response.writeHead(400).end("<Error><Code>BadDigest</Code></Error>");
    });
    const reader = await (await sourceOf(mine)).open();
    expect(await code(sendTo(url, { reader, plan: { size: PART, partSize: PART } }))).toBe("SOURCE_CHANGED");
  });

  it("over a link that is slower than a part per stall timeout goes through at the first try", async () => {
    const big = randomBytes(12 * 2 ** 20);
    let got = 0;
    const { url, asked } = mount((request, response) => {
      request.on("data", (chunk: Buffer) => {
        got += chunk.length;
        if (got < big.length) request.pause();
        setTimeout(() => request.resume(), 10);
      });
      request.on("end", () => response.writeHead(200).end());
    });
    const reader = await (await sourceOf(big)).open();
    const began = performance.now();
    await sendTo(url, { reader, plan: { size: big.length, partSize: 64 * 2 ** 20 }, transport: hasty });
    expect(asked()).toBe(1);
    expect(performance.now() - began).toBeGreaterThan(STALL_MS);
  });

  it("that is redirected or refused ends at once", async () => {
    for (const status of [307, 403]) {
      const { url, asked } = mount((_, response) => response.writeHead(status, { location: origin }).end());
      expect(await code(sendTo(url))).toBe("BAD_SERVER");
      expect(asked()).toBe(1);
    }
  });

  it("stops for a store that never recovers, after six tries", async () => {
    const { url, asked } = mount((_, response) => response.writeHead(503).end());
    expect(await code(sendTo(url))).toBe("UNAVAILABLE");
    expect(asked()).toBe(6);
  });
});
