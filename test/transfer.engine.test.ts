import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { compositeChecksum, type Manifest } from "../lib/protocol/manifest.ts";
import { partsOf } from "../lib/protocol/plan.ts";
import type { PartRequest } from "../lib/protocol/requests.ts";
import { type DownloadJob, download, downloadTraffic } from "../lib/transfer/download.ts";
import { FetchTransport } from "../lib/transfer/fetch-http.ts";
import { NodeTransport } from "../lib/transfer/node-http.ts";
import { sourceOf } from "../lib/transfer/source.ts";
import { type Digested, type UploadJob, upload } from "../lib/transfer/upload.ts";

// How many requests run, which are made twice, who waits for whom: seen from the server's side of real sockets.

const MiB = 2 ** 20;
const sha256 = (data: Uint8Array): string => createHash("sha256").update(data).digest("base64");

/** One request to the store. */
interface Asked {
  /** Of the (first) part, from 0. */
  readonly index: number;
  /** Parts that it is for. */
  readonly parts: number;
  /** How often this part has been asked for, from 1. */
  readonly nth: number;
  readonly at: number;
  readonly socket: Socket;
  /** Answers as a store does. @param bytes Other bytes than the right ones. */
  readonly answer: (bytes?: Uint8Array) => void;
  readonly refuse: (status: number, headers?: Record<string, string>) => void;
  readonly gone: () => boolean;
}

/** A payload at a store of its own, whose answers a test decides on. */
class Place {
  readonly asked: Asked[] = [];
  /** Requests without an answer. */
  open = 0;
  most = 0;
  readonly bytes: Uint8Array;
  readonly partSize: number;
  readonly manifest: Manifest;
  readonly rule: (asked: Asked) => void;
  readonly #counts = new Map<number, number>();
  #waiting: (() => void)[] = [];
  url = "";

  constructor(bytes: Uint8Array, partSize: number, rule: (asked: Asked) => void) {
    this.bytes = bytes;
    this.partSize = partSize;
    this.rule = rule;
    const plan = { size: bytes.length, partSize };
    const parts = partsOf(plan).map(({ start, length }) => sha256(bytes.subarray(start, start + length)));
    this.manifest = { version: 1, tag: "x", ...plan, parts, checksum: compositeChecksum(parts), contentType: "a/b" };
  }

  /** Resolves as soon as so many requests have come. */
  async come(count: number): Promise<void> {
    while (this.asked.length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  of(index: number): Asked[] {
    return this.asked.filter((asked) => asked.index <= index && index < asked.index + asked.parts);
  }

  async take(request: IncomingMessage, response: ServerResponse, number: number | null): Promise<void> {
    const [start, end] = (/^bytes=(\d+)-(\d+)$/.exec(String(request.headers.range)) ?? []).slice(1).map(Number);
    const index = number === null ? start! / this.partSize : number - 1;
    const parts = number === null ? Math.ceil((end! + 1 - start!) / this.partSize) : 1;
    const nth = (this.#counts.get(index) ?? 0) + 1;
    this.#counts.set(index, nth);
    this.most = Math.max(this.most, ++this.open);
    response.once("close", () => {
      this.open -= 1;
    });
    const digest = await digestOf(request);
    const answer = (bytes = this.bytes.subarray(start, end! + 1)): void => {
      if (number !== null) return void response.writeHead(200, { "x-amz-checksum-sha256": digest }).end();
      const range = `bytes ${start}-${end}/${this.bytes.length}`;
      response.writeHead(206, { "content-range": range, "content-length": bytes.length }).end(bytes);
    };
    const refuse = (status: number, headers = {}): void => void response.writeHead(status, headers).end();
    const { socket } = request;
    const asked = { index, parts, nth, at: performance.now(), socket, answer, refuse, gone: () => socket.destroyed };
    this.asked.push(asked);
    for (const wake of this.#waiting.splice(0)) wake();
    this.rule(asked);
  }
}

async function digestOf(request: IncomingMessage): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of request) hash.update(chunk as Buffer);
  return hash.digest("base64");
}

const places: Place[] = [];
/** So patient that nothing here is done again because a busy machine was slow. */
const transport = new NodeTransport({ stallTimeout: 60_000 });
let server: Server;
let origin: string;

beforeAll(async () => {
  server = createServer((request, response) => {
    const [, place, number] = request.url!.split("/");
    void places[Number(place)]!.take(request, response, number ? Number(number) : null).catch(() => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  transport.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function place(bytes: Uint8Array, partSize: number, rule: (asked: Asked) => void): Place {
  const made = new Place(bytes, partSize, rule);
  made.url = `${origin}/${places.push(made) - 1}`;
  return made;
}

async function fetchFrom({ manifest, url }: Place, more: Partial<DownloadJob> = {}): Promise<Uint8Array> {
  const target = new Uint8Array(manifest.size);
  const answer = { url, headers: {}, expiresIn: 900_000 };
  await download({
    manifest,
    sink: { memory: () => null, write: async ({ start }, bytes) => target.set(bytes, start) },
    url: answer,
    issued: performance.now(),
    refresh: async () => answer,
    transport,
    storeOrigin: origin,
    ...more,
  });
  return target;
}

/** Like the functions. */
const signFor =
  ({ url }: Place, seen: (parts: PartRequest[]) => void = () => {}): UploadJob["sign"] =>
  async (parts) => {
    seen(parts);
    const sign = ({ number, sha256 }: PartRequest) => ({
      number,
      url: `${url}/${number}`,
      headers: { "x-amz-checksum-sha256": sha256 },
    });
    return { urls: parts.map(sign), expiresIn: 900_000 };
  };

async function sendTo(to: Place, more: Partial<UploadJob> = {}): Promise<Digested> {
  return upload({
    reader: await (await sourceOf(to.bytes)).open(),
    plan: { size: to.bytes.length, partSize: to.partSize },
    stored: new Map(),
    sign: signFor(to),
    transport,
    storeOrigin: origin,
    ...more,
  });
}

/** A rule by which one request gets no answer until another for the same part comes; then `act` decides. */
function lateOne(act: (first: Asked, second: Asked) => void): { rule: Place["rule"]; both: () => [Asked, Asked] } {
  let first: Asked | undefined;
  let second: Asked | undefined;
  const rule: Place["rule"] = (asked) => {
    if (!first && asked.index <= 7 && 7 < asked.index + asked.parts) first = asked;
    else if (!second && asked.index === first?.index) {
      second = asked;
      act(first, asked);
    } else asked.answer();
  };
  return { rule, both: () => [first!, second!] };
}

/** Both ways, and with how many requests they begin; they end with what the payload is. */
const ways: [string, number, (to: Place, more?: { signal: AbortSignal }) => Promise<void>][] = [
  [
    "a download",
    8,
    async (from, more) => {
      expect(Buffer.compare(await fetchFrom(from, more), from.bytes)).toBe(0);
    },
  ],
  [
    "an upload",
    4,
    async (to, more) => {
      expect((await sendTo(to, more)).parts).toEqual(to.manifest.parts);
    },
  ],
];

const PART = 1000;
/** So few that each has a request of its own. */
const FEW = 32;
const small = (parts: number): Uint8Array => randomBytes(parts * PART - 7);

describe.concurrent.each(ways)("%s", (_way, first, run) => {
  it("begins with a few requests, and has no more as long as nothing moves", async () => {
    const held: Asked[] = [];
    let holding = true;
    const to = place(small(FEW), PART, (asked) => (holding ? held.push(asked) : asked.answer()));
    const done = run(to);
    await to.come(first);
    await delay(300);
    expect(to.asked).toHaveLength(first);
    holding = false;
    for (const { answer } of held) answer();
    await done;
    expect(to.asked).toHaveLength(FEW);
  });

  it("that is told to wait by one answer starts nothing before that time is over, and then goes on", async () => {
    let storm = first;
    let told = 0;
    const held: Asked[] = [];
    const to = place(small(FEW), PART, (asked) => {
      if (storm === 0) return asked.answer();
      held.push(asked);
      if (--storm > 0) return;
      told = performance.now();
      for (const one of held) one.refuse(503, { "retry-after": "1" });
    });
    await run(to);
    const next = to.asked.slice(first).map(({ at }) => at - told);
    expect(Math.min(...next)).toBeGreaterThan(990);
    expect(to.asked.length).toBeLessThanOrEqual(FEW + first);
  });

  it("goes through a storm of 503 by itself, within six tries of each part", async () => {
    let refused = 0;
    const to = place(small(16), PART, ({ nth, answer, refuse }) => {
      if (nth > 3) return answer();
      refused += 1;
      refuse(503);
    });
    await run(to);
    expect(refused).toBeGreaterThanOrEqual(16);
    expect(to.asked.length).toBeLessThanOrEqual(6 * 16);
  });

  it("of which one part in a hundred fails at first makes hardly more requests than these again", async () => {
    const broken = new Set<number>();
    const to = place(small(300), PART, (asked) => {
      const bad = [50, 150, 250].find((index) => to.of(index).includes(asked) && !broken.has(index));
      if (bad === undefined) return asked.answer();
      broken.add(bad);
      asked.socket.resetAndDestroy();
    });
    await run(to);
    for (const index of [50, 150, 250]) expect(to.of(index).length).toBeGreaterThanOrEqual(2);
    expect(to.asked.length).toBeLessThanOrEqual(303 + 15); // on a busy machine one in twenty may seem to straggle
  });

  it("asks once more for a part that takes much longer than the others, over a new connection", async () => {
    const late = lateOne((_first, second) => second.answer());
    const to = place(small(60), PART, late.rule);
    await run(to);
    const [first, second] = late.both();
    const before = to.asked.slice(0, to.asked.indexOf(second)).map(({ socket }) => socket);
    expect(before).not.toContain(second.socket);
    await expect.poll(first.gone).toBe(true); // nobody waits for it any more
  });

  it("takes the first request's answer when that comes before the second's", async () => {
    const late = lateOne((first) => first.answer());
    await run(place(small(60), PART, late.rule));
    const [, second] = late.both();
    await expect.poll(second.gone).toBe(true);
  });

  it("lets the first request go on when the second fails", async () => {
    const late = lateOne((first, second) => {
      second.refuse(404);
      setTimeout(() => first.answer(), 100);
    });
    await run(place(small(60), PART, late.rule));
    expect(late.both()).toHaveLength(2);
  });

  it("of few parts makes one request twice, however many are slow", async () => {
    const slow: Asked[] = [];
    const to = place(small(12), PART, (asked) => {
      if (asked.index < 9 || asked.nth > 1) asked.answer();
      else slow.push(asked);
    });
    const done = run(to);
    await to.come(13);
    await delay(1200); // two of them are still late, and nothing else is under way
    expect(to.asked).toHaveLength(13);
    for (const { answer } of slow) answer();
    await done;
    expect(to.asked).toHaveLength(13);
  });

  it("that is ended while a request runs twice leaves neither behind", async () => {
    const end = new AbortController();
    const late = lateOne(() => end.abort(new Error("enough")));
    await expect(run(place(small(60), PART, late.rule), { signal: end.signal })).rejects.toThrow("enough");
    for (const { gone } of late.both()) await vi.waitUntil(gone, { timeout: 60_000 });
  });
});

describe.each(ways)("%s of large parts", (_way, _first, run) => {
  it("has no more than 128 MiB in flight, whatever the size of its parts", async () => {
    const to = place(new Uint8Array(256 * MiB), 64 * MiB, ({ answer }) => void setTimeout(answer, 50));
    await run(to);
    expect(to.most).toBeLessThanOrEqual(2);
  });
});

describe("a download", () => {
  it("believes no second request that brings wrong bytes", async () => {
    const late = lateOne((first, second) => {
      second.answer(randomBytes(PART));
      setTimeout(() => first.answer(), 100);
    });
    const from = place(small(60), PART, late.rule);
    expect(Buffer.compare(await fetchFrom(from), from.bytes)).toBe(0);
    expect(late.both()).toHaveLength(2);
  });

  it("shares its requests with those that run beside it", async () => {
    const traffic = downloadTraffic();
    const held: Asked[] = [];
    let holding = true;
    const rule = (asked: Asked): void => {
      if (holding) held.push(asked);
      else asked.answer();
    };
    const [one, two] = [place(small(20), PART, rule), place(small(20), PART, rule)];
    const both = [one, two].map((from) => fetchFrom(from, { traffic }));
    await expect.poll(() => held.length).toBe(8);
    await delay(300);
    expect(held).toHaveLength(8);
    holding = false;
    for (const { answer } of held) answer();
    const [a, b] = await Promise.all(both);
    expect([Buffer.compare(a!, one.bytes), Buffer.compare(b!, two.bytes)]).toEqual([0, 0]);
  });

  it("that fails gives back what it had of what it shares", async () => {
    const traffic = downloadTraffic();
    const broken = place(small(FEW), PART, ({ refuse }) => refuse(404));
    for (let i = 0; i < 5; i++) await expect(fetchFrom(broken, { traffic })).rejects.toMatchObject({ code: "GONE" });
    expect([traffic.lanes.used, traffic.memory.used]).toEqual([0, 0]);
    const whole = place(small(FEW), PART, ({ answer }) => answer());
    await fetchFrom(whole, { traffic });
    expect([traffic.lanes.used, traffic.memory.used]).toEqual([0, 0]);
  });
});

describe("an upload", () => {
  it.each(["bytes", "a stream"])("of %s reads, hashes and signs what comes next while it sends", async (kind) => {
    const held: Asked[] = [];
    let holding = true;
    const to = place(small(FEW), PART, (asked) => (holding ? void held.push(asked) : asked.answer()));
    const signed: PartRequest[] = [];
    const payload = kind === "bytes" ? to.bytes : new Blob([to.bytes as Uint8Array<ArrayBuffer>]).stream();
    const reader = await (await sourceOf(payload)).open();
    const done = sendTo(to, { reader, sign: signFor(to, (parts) => signed.push(...parts)) });
    await to.come(4);
    await expect.poll(() => signed.length).toBe(FEW);
    expect(to.asked).toHaveLength(4);
    holding = false;
    for (const { answer } of held) answer();
    await done;
  });

  it("reads a stream no further ahead than memory allows", async () => {
    let read = 0;
    async function* stream(): AsyncGenerator<Uint8Array> {
      for (; read < 512; read++) yield new Uint8Array(MiB);
    }
    const held: Asked[] = [];
    const to = place(new Uint8Array(512 * MiB), 16 * MiB, (asked) => void held.push(asked));
    const reader = await (await sourceOf(stream())).open();
    const done = sendTo(to, { reader, plan: { size: null, partSize: 16 * MiB } });
    let most = 0;
    for (let served = 0; served < 32; served++) {
      await to.come(served + 1);
      await delay(5);
      most = Math.max(most, read - 16 * served);
      held.shift()!.answer();
    }
    await done;
    expect(most).toBeLessThanOrEqual(128 + 1);
    expect(most).toBeGreaterThan(64);
  });
});

describe("memory that threads share", () => {
  it.each([
    ["sockets", () => new NodeTransport()],
    ["fetch", () => new FetchTransport()],
  ])("goes up and comes down over %s, from and to files", async (_name, make) => {
    const transport = make();
    const dir = await mkdtemp(join(tmpdir(), "waybill-test-engine-"));
    try {
      const path = join(dir, "source");
      const to = place(randomBytes(5 * MiB + 3), 2 * MiB, ({ answer }) => answer());
      await writeFile(path, to.bytes);
      const reader = await (await sourceOf({ path })).open();
      expect((await sendTo(to, { reader, transport })).parts).toEqual(to.manifest.parts);
      await reader.close();
      expect(Buffer.compare(await fetchFrom(to, { transport }), to.bytes)).toBe(0);
    } finally {
      transport.close();
      await rm(dir, { recursive: true });
    }
  });

  const permission = process.allowedNodeEnvironmentFlags.has("--permission")
    ? "--permission"
    : "--experimental-permission";
  it.each([
    ["by threads that keep no process alive", []],
    ["where threads are forbidden", [permission, "--allow-fs-read=*"]],
  ])("is hashed like any other, %s", async (_name, flags) => {
    const root = fileURLToPath(new URL("../dist/lib/transfer/", import.meta.url));
    const program = `
      const { sha256, sharable } = await import(${JSON.stringify(`${root}hash.js`)});
      const memory = sharable(8 * 2 ** 20).fill(7);
      if (!(memory.buffer instanceof SharedArrayBuffer)) throw new Error("not shared");
      const digests = await Promise.all([1, 2, 3, 4, 5, 6].map(() => sha256(memory)));
      console.log(new Set(digests).size, digests[0]);`;
    const env = { ...process.env, NODE_OPTIONS: "" }; // who may not write can't keep what it says for the run's check either
    const child = spawn(process.execPath, [...flags, "--input-type=module", "-e", program], { env });
    const out = await text(child.stdout);
    const [code] = child.exitCode === null ? await once(child, "exit") : [child.exitCode];
    expect([code, out]).toEqual([0, `1 ${sha256(new Uint8Array(8 * MiB).fill(7))}\n`]);
  });
});

describe("ten thousand parts", () => {
  const bytes = randomBytes(10_000 * 16);
  const store = (): Place => place(bytes, 16, ({ answer }) => answer());

  /** An array that counts how often it is looked at. */
  function counted<T>(items: readonly T[]): { items: readonly T[]; reads: () => number } {
    let reads = 0;
    const get = (target: readonly T[], key: string | symbol): unknown => {
      if (typeof key === "string" && /^\d+$/.test(key)) reads += 1;
      return Reflect.get(target, key);
    };
    return { items: new Proxy(items, { get }), reads: () => reads };
  }

  it("are fetched in few requests, with one look at the manifest and one progress each", async () => {
    const from = store();
    const parts = counted(from.manifest.parts);
    let told = 0;
    const url = { url: from.url, headers: {}, expiresIn: 900_000 };
    let got = 0;
    await download({
      manifest: { ...from.manifest, parts: parts.items as string[] },
      sink: {
        memory: () => null,
        write: async (_, part) => {
          got += part.length;
        },
      },
      url,
      issued: performance.now(),
      refresh: async () => url,
      transport,
      storeOrigin: origin,
      onProgress: () => told++,
    });
    expect([parts.reads(), told, got]).toEqual([10_000, 10_001, bytes.length]);
    expect(from.asked.length).toBeLessThan(1_000);
    expect(from.most).toBeLessThanOrEqual(32);
  });

  it("are fetched no further ahead than a hundred and some of what is written", async () => {
    const from = store();
    const url = { url: from.url, headers: {}, expiresIn: 900_000 };
    let ahead = 0;
    let most = 0;
    const sink = {
      memory: () => {
        most = Math.max(most, ++ahead);
        return null;
      },
      write: async () => {
        await delay(0); // a disk that is slower than the line
        ahead -= 1;
      },
    };
    const job = { manifest: from.manifest, sink, url, issued: performance.now(), refresh: async () => url };
    await download({ ...job, transport, storeOrigin: origin });
    expect(most).toBeLessThanOrEqual(128);
  });

  it("are sent with one URL and one request each, signed in batches and never many ahead", async () => {
    const to = store();
    const calls: number[] = [];
    let signed = 0;
    let ahead = 0;
    const sign = signFor(to, (parts) => {
      calls.push(parts.length);
      signed += parts.length;
      ahead = Math.max(ahead, signed - to.asked.length);
    });
    const digested = await sendTo(to, { sign });
    expect(digested.parts).toEqual(to.manifest.parts);
    expect([to.asked.length, signed]).toEqual([10_000, 10_000]);
    expect(calls.length).toBeLessThan(1_000);
    expect(ahead).toBeLessThanOrEqual(128);
    expect(to.most).toBeLessThanOrEqual(64);
  });

  it("of which the store has all but ten are compared, and ten are sent", async () => {
    const to = store();
    const stored = new Map(to.manifest.parts.map((part, i) => [i + 1, part] as const).filter(([i]) => i % 1000 !== 0));
    const digested = await sendTo(to, { stored });
    expect(digested.parts).toEqual(to.manifest.parts);
    expect(to.asked).toHaveLength(10);
  });

  it("get new URLs when theirs are near their end, each part at most once more", async () => {
    const to = store();
    let signed = 0;
    const sign = signFor(to, (parts) => {
      signed += parts.length;
    });
    const shortly: UploadJob["sign"] = async (parts, signal) => ({ ...(await sign(parts, signal)), expiresIn: 40 });
    await sendTo(to, { sign: shortly });
    expect(to.asked).toHaveLength(10_000);
    expect(signed).toBeLessThanOrEqual(20_000);
  });
});
