import { createHash, randomBytes } from "node:crypto";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compositeChecksum, type Manifest } from "../lib/protocol/manifest.ts";
import { type Part, partsOf } from "../lib/protocol/plan.ts";
import { type DownloadJob, download, downloadTraffic } from "../lib/transfer/download.ts";
import { FetchTransport } from "../lib/transfer/fetch-http.ts";
import { NodeTransport } from "../lib/transfer/node-http.ts";
import { type Run, Runs } from "../lib/transfer/runs.ts";

// One request for several parts in a row: who gets which, and what happens when an answer goes wrong in its middle.

const MiB = 2 ** 20;
const sha256 = (data: Uint8Array): string => createHash("sha256").update(data).digest("base64");
const numbers = (run: Run | null): number[] => {
  const found: number[] = [];
  for (let part = run?.begin(); part; part = run?.begin()) found.push(part.number);
  return found;
};
const plan = (count: number, partSize = 8 * MiB): Part[] => partsOf({ size: count * partSize, partSize });

describe("runs", () => {
  it("are equal shares for as many requests as there will be", () => {
    const runs = new Runs(plan(64), 8 * MiB);
    const taken = Array.from({ length: 8 }, () => runs.take(8)!);
    expect(taken.map(({ waiting }) => waiting)).toEqual([8, 8, 8, 8, 8, 8, 8, 8]);
    expect(taken.flatMap(numbers)).toEqual(plan(64).map(({ number }) => number));
  });

  it("are shares of the rest later, but worth their request, and no longer than a slow connection should have", () => {
    const runs = new Runs(plan(200), 8 * MiB);
    expect([runs.take(2)!.waiting, runs.take(2)!.waiting]).toEqual([32, 32]);
    for (let left = 200 - 64; left > 0; ) {
      const { waiting } = runs.take(2)!;
      expect(waiting).toBe(Math.min(left, 32, Math.max(8, Math.ceil(left / 2))));
      left -= waiting;
    }
  });

  it("never bridge a gap", () => {
    const runs = new Runs(
      plan(10).filter(({ number }) => number !== 3 && number !== 7),
      8 * MiB,
    );
    expect([1, 1, 1, 1].map((lanes) => numbers(runs.take(lanes)))).toEqual([[1, 2], [4, 5, 6], [8, 9, 10], []]);
  });

  it("that have most to do lose half of it when nothing else is left, but no part that has begun or soon will", () => {
    const runs = new Runs(plan(8), 8 * MiB);
    const all = runs.take(1)!;
    all.begin();
    const half = runs.take(2)!;
    expect([all.waiting, half.waiting]).toEqual([3, 4]);
    expect(numbers(half)).toEqual([5, 6, 7, 8]);
    expect(numbers(runs.take(2))).toEqual([3, 4]);
    all.moved(5 * MiB);
    expect(runs.take(2)).toBe(null);
    expect(numbers(all)).toEqual([2]);
  });

  it("of one part each are all that is left when longer ones don't work", () => {
    const runs = new Runs(plan(8), 8 * MiB);
    runs.keepShort();
    expect([runs.take(1)?.waiting, runs.take(1)?.waiting]).toEqual([1, 1]);
  });

  it("bring every part once, whatever ends early", async () => {
    const { signal } = new AbortController();
    const steps = fc.array(
      fc.record({ which: fc.nat(), what: fc.constantFrom("take", "begin", "end"), lanes: fc.nat(40) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 300 }), fc.nat(), steps, async (count, gaps, script) => {
        const parts = plan(count).filter(({ number }) => (number * (gaps % 97)) % 5 !== 1);
        const runs = new Runs(parts, 8 * MiB);
        const open: Run[] = [];
        const begun: number[] = [];
        const step = (what: string, which: number, lanes: number): void => {
          const run = open[which % Math.max(1, open.length)];
          if (what === "take" || !run) open.push(...[runs.take(lanes + 1)].filter((one) => one !== null));
          else if (what === "begin") begun.push(...[run.begin()?.number ?? []].flat());
          else runs.end(...(open.splice(open.indexOf(run), 1) as [Run]));
        };
        for (const { what, which, lanes } of script) step(what, which, lanes);
        for (const run of open) runs.end(run);
        while (await runs.ready(signal)) {
          const run = runs.take(4)!;
          begun.push(...numbers(run));
          runs.end(run);
        }
        expect(begun.toSorted((a, b) => a - b)).toEqual(parts.map(({ number }) => number));
      }),
    );
  });
});

const PART = 1000;
const COUNT = 100;
const bytes = randomBytes(COUNT * PART - 7);
const digests = partsOf({ size: bytes.length, partSize: PART }).map(({ start, length }) =>
  sha256(bytes.subarray(start, start + length)),
);
const manifest: Manifest = {
  ...{ version: 1, tag: "x", contentType: "a/b", size: bytes.length, partSize: PART },
  ...{ parts: digests, checksum: compositeChecksum(digests) },
};

/** A request for parts `first` to `last`, counted from 1. */
interface Asked {
  readonly first: number;
  readonly last: number;
  readonly nth: number;
  readonly query: string;
  readonly socket: Socket;
  readonly response: ServerResponse;
  /** The right head. */
  head(more?: Record<string, string | number>): void;
  /** The right bytes of parts, counted from this answer's first; to its end without. */
  body(parts?: number, more?: number): Buffer;
}

type Rule = (asked: Asked) => void;

const right: Rule = ({ head, body, response }) => {
  head();
  response.end(body());
};

let server: Server;
let origin: string;
const places: { rule: Rule; asked: Asked[] }[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    const [path, query = ""] = request.url!.slice(1).split("?");
    const { rule, asked } = places[Number(path)]!;
    const [start, end] = /^bytes=(\d+)-(\d+)$/.exec(String(request.headers.range))!.slice(1).map(Number) as [
      number,
      number,
    ];
    const headers = { "content-range": `bytes ${start}-${end}/${bytes.length}`, "content-length": end - start + 1 };
    const one: Asked = {
      ...{ first: start / PART + 1, last: Math.ceil((end + 1) / PART), nth: asked.length + 1, query },
      ...{ socket: request.socket, response },
      head: (more = {}) => void response.writeHead(206, { ...headers, ...more }),
      body: (parts = COUNT, more = 0) =>
        Buffer.from(bytes.subarray(start, Math.min(end + 1, start + parts * PART + more))),
    };
    asked.push(one);
    rule(one);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

/** What is stored at a place of its own. */
function place(rule: Rule): { url: string; asked: Asked[] } {
  const asked: Asked[] = [];
  const at = places.push({ rule, asked }) - 1;
  return { url: `${origin}/${at}?old`, asked };
}

/** Fetches it over so many connections, and notes who was asked for what although it was there already. */
async function fetchFrom(
  url: string,
  { lanes = 1, ...more }: Partial<DownloadJob> & Pick<DownloadJob, "transport"> & { lanes?: number },
): Promise<{ got: Uint8Array; written: number[] }> {
  const got = new Uint8Array(bytes.length);
  const written: number[] = [];
  const answer = { url, headers: {}, expiresIn: 60_000 };
  await download({
    ...{ manifest, url: answer, issued: performance.now(), refresh: async () => answer, storeOrigin: origin },
    sink: {
      memory: () => null,
      write: async ({ number, start }, part) => {
        got.set(part, start);
        written.push(number);
      },
    },
    traffic: downloadTraffic(lanes),
    ...more,
  });
  return { got, written };
}

/** The first answer goes wrong in its fourth part, when three are there. */
const breaks: Record<string, Rule> = {
  "is cut": ({ head, body, response, socket }) => {
    head();
    response.write(body(3, 10), () => setTimeout(() => socket.resetAndDestroy(), 50));
  },
  "ends too early": ({ head, body, response }) => {
    head({ connection: "close" });
    response.write(body(3, 10), () => setTimeout(() => response.socket?.end(), 50));
  },
  "ends too early, in chunks": ({ body, response }) => {
    response.writeHead(206, { "content-range": `bytes 0-${bytes.length - 1}/${bytes.length}` }).end(body(3, 10));
  },
  "falls silent": ({ head, body, response }) => {
    head();
    response.write(body(3, 10));
  },
  "has a flipped bit": ({ head, body, response }) => {
    const whole = body();
    whole[3 * PART + 10]! ^= 1;
    head();
    response.end(whole);
  },
};

/** Answers that are no beginning. */
const refusals: Record<string, Rule> = {
  "503": ({ response }) => void response.writeHead(503).end("<Error><Code>SlowDown</Code></Error>"),
  "500": ({ response }) => void response.writeHead(500).end(),
  "a shorter range": ({ first, response, body }) => {
    const short = body(2);
    const start = (first - 1) * PART;
    const range = `bytes ${start}-${start + short.length - 1}/${bytes.length}`;
    response.writeHead(206, { "content-range": range, "content-length": short.length }).end(short);
  },
  "the whole": ({ response }) => void response.writeHead(200, { "content-length": bytes.length }).end(bytes),
  "a range of another object": ({ head, body, response }) => {
    head({ "content-range": `bytes 0-${bytes.length - 1}/${bytes.length + 1}` });
    response.end(body());
  },
};

describe.concurrent.each([
  ["sockets", (stallTimeout: number) => new NodeTransport({ stallTimeout })],
  ["fetch", (stallTimeout: number) => new FetchTransport({ stallTimeout })],
])("an answer with many parts, over %s,", (_name, make) => {
  const patient = make(60_000);
  const hasty = make(1_000);
  afterAll(() => {
    patient.close();
    hasty.close();
  });

  it("is all that is needed over one connection", async () => {
    const { url, asked } = place(right);
    const { got, written } = await fetchFrom(url, { transport: patient });
    expect(Buffer.compare(got, bytes)).toBe(0);
    expect(asked.map(({ first, last }) => [first, last])).toEqual([[1, COUNT]]);
    expect(written).toHaveLength(COUNT);
  });

  it.each(Object.entries(breaks))(
    "that %s is gone on with, and nothing verified is fetched again",
    async (name, rule) => {
      const { url, asked } = place((one) => (one.nth === 1 ? rule : right)(one));
      const { got, written } = await fetchFrom(url, { transport: name === "falls silent" ? hasty : patient });
      expect(Buffer.compare(got, bytes)).toBe(0);
      expect(written.toSorted((a, b) => a - b)).toEqual(digests.map((_, i) => i + 1));
      const again = asked.slice(1);
      expect(Math.min(...again.map(({ first }) => first))).toBe(4);
      expect(again.find(({ first }) => first === 4)).toMatchObject({ first: 4, last: 4 });
      expect(asked.length).toBeLessThanOrEqual(4);
    },
  );

  it("whose part is wrong has it fetched over a new connection, and is CORRUPT when that is wrong again", async () => {
    const { url, asked } = place(({ first, head, body, response }) => {
      const whole = body();
      if (first <= 4) whole[(4 - first) * PART]! ^= 1;
      head();
      response.end(whole);
    });
    await expect(fetchFrom(url, { transport: patient })).rejects.toMatchObject({ code: "CORRUPT" });
    const four = asked.filter(({ first }) => first === 4);
    expect(four).toHaveLength(1);
    if (patient instanceof NodeTransport) expect(four[0]!.socket).not.toBe(asked[0]!.socket);
  });

  it.each(Object.entries(refusals))("instead of which %s comes is asked for again", async (_name, rule) => {
    const { url, asked } = place((one) => (one.nth === 1 ? rule : right)(one));
    const { got } = await fetchFrom(url, { transport: patient });
    expect(Buffer.compare(got, bytes)).toBe(0);
    expect(asked.find(({ nth, first }) => nth > 1 && first === 1)).toMatchObject({ last: 1 });
  });

  it("is not asked for again where long ranges don't work", async () => {
    const { url, asked } = place((one) => (one.last > one.first ? refusals["a shorter range"]! : right)(one));
    const { got } = await fetchFrom(url, { transport: patient, lanes: 4 });
    expect(Buffer.compare(got, bytes)).toBe(0);
    expect(asked.filter(({ first, last }) => last > first).length).toBeLessThanOrEqual(8);
  });

  it.each([
    [416, "BAD_SERVER"],
    [412, "CONFLICT"],
    [404, "GONE"],
  ])("that is refused with %i ends all", async (status, code) => {
    const { url, asked } = place(({ response }) => void response.writeHead(status).end());
    await expect(fetchFrom(url, { transport: patient })).rejects.toMatchObject({ code });
    expect(asked.length).toBe(1);
  });

  it("whose object is replaced in its middle is CONFLICT: the next request's If-Match fails", async () => {
    const { url, asked } = place((one) => {
      if (one.nth > 1) return void one.response.writeHead(412).end();
      one.head();
      one.response.write(one.body(50), () => setTimeout(() => one.socket.resetAndDestroy(), 100));
    });
    await expect(fetchFrom(url, { transport: patient })).rejects.toMatchObject({ code: "CONFLICT" });
    expect(asked.length).toBeGreaterThan(1);
  });

  it("goes on when its URL expires in its middle; only the next request needs a new one", async () => {
    const { url, asked } = place((one) => {
      if (one.query === "old" && one.nth > 1) return void one.response.writeHead(403).end("Request has expired");
      if (one.nth > 1) return right(one);
      one.head();
      one.response.write(one.body(50), () => setTimeout(() => one.socket.resetAndDestroy(), 100));
    });
    const refresh = async () => ({ url: url.replace("old", "new"), headers: {}, expiresIn: 60_000 });
    const old = { url, headers: {}, expiresIn: 50 };
    const { got } = await fetchFrom(url, { transport: patient, url: old, refresh });
    expect(Buffer.compare(got, bytes)).toBe(0);
    expect(Math.min(...asked.slice(1).map(({ first }) => first))).toBe(51);
  });

  it("that comes slowly loses what has not begun to faster ones", async () => {
    const { url, asked } = place(async (one) => {
      if (one.nth > 1) return right(one);
      one.head();
      for (let at = 0; !one.response.destroyed; at++) {
        one.response.write(one.body().subarray(at * 100, (at + 1) * 100));
        await delay(20);
      }
    });
    const { got } = await fetchFrom(url, { transport: patient, lanes: 4 });
    expect(Buffer.compare(got, bytes)).toBe(0);
    const [slow] = asked;
    expect(slow!.last - slow!.first).toBeGreaterThan(10);
    expect(asked.slice(1).some(({ first, last }) => first <= slow!.last && slow!.last <= last)).toBe(true);
  });
});

it("an answer that waits for memory is not read meanwhile, and that is no stall", async () => {
  const size = 5 * 40 * MiB;
  const large = new Uint8Array(size);
  const parts = partsOf({ size, partSize: 40 * MiB }).map(({ length }) => sha256(large.subarray(0, length)));
  const about = { ...manifest, size, partSize: 40 * MiB, parts, checksum: compositeChecksum(parts) };
  let asked = 0;
  const store = createServer((_, response) => {
    asked += 1;
    response.writeHead(206, { "content-range": `bytes 0-${size - 1}/${size}`, "content-length": size }).end(large);
  });
  await new Promise<void>((resolve) => store.listen(0, "127.0.0.1", resolve));
  const storeOrigin = `http://127.0.0.1:${(store.address() as AddressInfo).port}`;
  const url = { url: `${storeOrigin}/x`, headers: {}, expiresIn: 60_000 };
  const transport = new NodeTransport({ stallTimeout: 2_000 });
  const traffic = downloadTraffic(1);
  let most = 0;
  const write = async (): Promise<void> => {
    most = Math.max(most, traffic.memory.used);
    await delay(2_500);
  };
  const common = { url, issued: performance.now(), refresh: async () => url, storeOrigin, transport, traffic };
  await download({ manifest: about, sink: { memory: () => null, write }, ...common });
  transport.close();
  store.closeAllConnections();
  expect(asked).toBe(1);
  expect(most).toBeLessThanOrEqual(128 * MiB);
});
