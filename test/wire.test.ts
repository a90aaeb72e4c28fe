import { request } from "node:http";
import type { Socket } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NodeTransport } from "../lib/transfer/node-http.ts";
import { Reply } from "../lib/transfer/wire/reply.ts";
import { headOf } from "../lib/transfer/wire/request.ts";
import { Scratch } from "../lib/transfer/wire/scratch.ts";
import { WireServer } from "./support/wire.ts";

// How responses are read, judged by how Node's own parser reads the same bytes.

interface Read {
  readonly status: number;
  readonly range: string | null;
  readonly body: string;
}
/** What a reader made of an answer, or why it rejected it. */
type Outcome = Read | { readonly rejected: string };

/** The answer that the server gives to the path /<n>. */
const answers: Buffer[][] = [];
let server: WireServer;
const transport = new NodeTransport();

beforeAll(async () => {
  server = await WireServer.start((socket) =>
    socket.once("data", (head: Buffer) => {
      const nth = Number(/^GET \/(\d+) /.exec(head.toString("latin1"))?.[1]);
      void say(socket, answers[nth]!);
    }),
  );
});
afterAll(async () => {
  transport.close();
  await server.stop();
});

/** Says an answer in its pieces, then ends the connection. */
async function say(socket: Socket, pieces: readonly Buffer[]): Promise<void> {
  for (const piece of pieces) {
    socket.write(piece);
    await new Promise(setImmediate);
  }
  socket.end();
}

async function ours(url: string): Promise<Outcome> {
  try {
    const response = await transport.request({
      ...{ method: "GET", url, headers: {}, signal: new AbortController().signal },
      fresh: true,
    });
    const memory = Buffer.alloc(400_000);
    const body = memory.toString("latin1", 0, await response.read(memory));
    return { status: response.status, range: response.header("content-range"), body };
  } catch (error) {
    return { rejected: (error as Error).message };
  }
}

/** What node:http reads; an error after the last byte of the body comes too late to count. */
function nodes(url: string): Promise<Outcome> {
  return new Promise((resolve) => {
    let rejected = "nothing came";
    let read: Read | null = null;
    const asking = request(url, { agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", () => {});
      response.on("end", () => {
        const range = rawField(response.rawHeaders, "content-range");
        if (response.complete)
          read = { status: response.statusCode!, range, body: Buffer.concat(chunks).toString("latin1") };
      });
    });
    asking.on("error", (error) => {
      rejected = error.message;
    });
    asking.on("close", () => setImmediate(() => resolve(read ?? { rejected })));
    asking.end();
  });
}

function rawField(raw: readonly string[], name: string): string | null {
  const values = raw.filter((_, at) => at % 2 === 1 && raw[at - 1]!.toLowerCase() === name);
  return values.length > 0 ? values.join(", ") : null;
}

async function both(pieces: readonly Buffer[]): Promise<[ours: Outcome, nodes: Outcome]> {
  const url = `${server.origin}/${answers.push([...pieces]) - 1}`;
  return Promise.all([ours(url), nodes(url)]);
}

/** Cuts bytes at fractions of their length. */
function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const ends = [...new Set(at.map((share) => Math.floor(share * bytes.length))), bytes.length].sort((a, b) => a - b);
  return ends.map((end, nth) => bytes.subarray(ends[nth - 1] ?? 0, end)).filter((piece) => piece.length > 0);
}

/** Evenly spread, unlike fast-check's doubles. */
const share = fc.noBias(fc.nat(9_999)).map((part) => part / 10_000);
const cuts = fc.array(share, { maxLength: 5 });
const token = fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,12}$/).map((name) => `x-${name}`);
const value = fc.stringMatching(/^([!-~]([\t -~]{0,20}[!-~])?)?$/);
const blank = fc.constantFrom("", " ", "\t", "  \t ");
const field = fc
  .oneof(
    fc.tuple(token, blank, value, blank),
    fc.tuple(fc.constantFrom("Content-Range", "content-range"), blank, value, blank),
  )
  .map(([name, before, text, after]) => `${name}:${before}${text}${after}\r\n`);
const bytesOf = (minLength: number, maxLength: number): fc.Arbitrary<string> =>
  fc.uint8Array({ minLength, maxLength }).map((bytes) => Buffer.from(bytes).toString("latin1"));
/** Sometimes more than a connection holds before its reader's memory is used. */
const payload = fc.oneof(
  { weight: 9, arbitrary: bytesOf(0, 300) },
  { weight: 1, arbitrary: bytesOf(100, 300).map((text) => text.repeat(1000)) },
);
const status = fc.constantFrom("200 OK", "206 Partial Content", "403", "404 ", "503 Slow Down", "204 No", "304 Same");

const chunked = fc
  .tuple(fc.array(bytesOf(1, 80), { maxLength: 5 }), fc.constantFrom("", ";a=b"), fc.array(field, { maxLength: 2 }))
  .map(([chunks, extension, trailers]) => ({
    fields: "Transfer-Encoding: chunked\r\n",
    body: `${chunks.map((chunk) => `${chunk.length.toString(16)}${extension}\r\n${chunk}\r\n`).join("")}0\r\n${trailers.join("")}\r\n`,
  }));
const framed = fc.oneof(
  payload.map((body) => ({ fields: `Content-Length: ${body.length}\r\n`, body })),
  chunked,
  payload.map((body) => ({ fields: "", body })),
);
/** What a server should say. */
const proper = fc
  .record({
    interim: fc.constantFrom("", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
    minor: fc.constantFrom("1", "1", "1", "0"),
    status,
    before: fc.array(field, { maxLength: 4 }),
    after: fc.array(field, { maxLength: 4 }),
    framed,
  })
  .filter(({ minor, framed: { fields } }) => minor === "1" || !fields.startsWith("T"))
  .map(({ interim, minor, status, before, after, framed: { fields, body } }) => {
    const bodyless = /^(204|304)/.test(status);
    const head = `${interim}HTTP/1.${minor} ${status}\r\n${before.join("")}${fields}${after.join("")}\r\n`;
    return Buffer.from(`${head}${bodyless ? "" : body}`, "latin1");
  });

/** What tends to be read in two ways. */
const poison = fc.constantFrom(
  ..."\r|\n|\0|\x7f| |\t|:|\r\n|\r\n\r\n|\n\n|0|-|+5|,|;|HTTP/1.1 200 OK\r\n|Content-Length: 3\r\n|Content-Length: 3, 3\r\n".split(
    "|",
  ),
  ..."Transfer-Encoding: chunked\r\n|Transfer-Encoding: gzip, chunked\r\n|Connection: close\r\n| folded\r\n|0\r\n\r\n|\xff|fffffffff".split(
    "|",
  ),
);
const broken = fc
  .tuple(proper, fc.array(fc.tuple(share, fc.nat(3), poison), { minLength: 1, maxLength: 2 }))
  .map(([bytes, edits]) =>
    edits.reduce((text, [share, gone, put]) => {
      const at = Math.floor(share * text.length);
      return Buffer.concat([text.subarray(0, at), Buffer.from(put, "latin1"), text.subarray(at + gone)]);
    }, bytes),
  );

describe("an answer", () => {
  it("that is proper is read as Node reads it, however it is cut", async () => {
    await fc.assert(
      fc.asyncProperty(proper, cuts, async (bytes, at) => {
        const [mine, node] = await both(cut(bytes, at));
        expect(mine).toEqual(node);
        expect(mine).toHaveProperty("body");
      }),
      { numRuns: 300 },
    );
  });

  it("that is broken is never read otherwise than Node reads it, nor where Node refuses", async () => {
    let [read, refused] = [0, 0];
    await fc.assert(
      fc.asyncProperty(broken, cuts, async (bytes, at) => {
        const [mine, node] = await both(cut(bytes, at));
        if ("rejected" in mine) refused += 1;
        else {
          read += 1;
          expect(mine).toEqual(node);
        }
      }),
      { numRuns: 700 },
    );
    expect(Math.min(read, refused)).toBeGreaterThan(50); // or it would prove nothing
  });

  it.each([
    ["an empty line before it", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"],
    [
      "another coding before chunked",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    ],
    ["a coding that is not chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab"],
    ["bytes after its end", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabcd"],
    ["a status below 100", "HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nab"],
    ["over a hundred fields", `HTTP/1.1 200 OK\r\n${"X: y\r\n".repeat(101)}Content-Length: 2\r\n\r\nab`],
    [
      "nine interim answers",
      `${"HTTP/1.1 100 Continue\r\n\r\n".repeat(9)}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab`,
    ],
  ])("with %s is refused, though Node reads it", async (_name, text) => {
    const [mine, node] = await both([Buffer.from(text, "latin1")]);
    expect(node).toHaveProperty("body");
    expect(mine).toEqual({ rejected: expect.stringContaining("no proper HTTP") });
  });
});

describe("a reply", () => {
  /** Reads one from memory, in pieces that land where it says. Null when more came along with it. */
  async function read(pieces: readonly Uint8Array[], ends: boolean): Promise<string | null> {
    let [told, surplus] = ["", false];
    const memory = Buffer.alloc(400_000);
    const reply: Reply = new Reply("GET", new Scratch(), {
      onContinue: () => {},
      onHead: ({ status }) => {
        told += `${status} `;
        reply.read(memory).then(
          (count) => {
            told += memory.toString("latin1", 0, count);
          },
          () => {
            told += "rejected";
          },
        );
      },
      onEnd: () => {},
      onFault: (fault) => {
        if (/more bytes than it announces/.test(fault.message)) surplus = true;
        told ||= "rejected";
      },
      onReader: () => {},
    });
    for (const piece of pieces)
      for (let at = 0; at < piece.length; ) {
        const room = reply.room();
        const some = piece.subarray(at, at + room.length);
        room.set(some);
        reply.landed(some.length);
        at += some.length;
      }
    if (ends) reply.closed();
    await new Promise(setImmediate);
    return surplus ? null : told;
  }

  it("is the same however its bytes are cut", async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(proper, broken), cuts, fc.boolean(), async (bytes, at, ends) => {
        const [whole, parts] = [await read([bytes], ends), await read(cut(bytes, at), ends)];
        if (whole !== null) expect(parts).toBe(whole);
      }),
      { numRuns: 1000 },
    );
  });
});

describe("a request", () => {
  const sound = { method: "PUT", target: "/key?a=b", headers: { host: "a" }, body: Buffer.alloc(3), expect: true };

  it("says how long its body is and whether it waits, and nothing else of its own", () => {
    expect(headOf(sound).toString()).toBe(
      "PUT /key?a=b HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n",
    );
    expect(headOf({ ...sound, method: "GET", body: undefined }).toString()).toBe(
      "GET /key?a=b HTTP/1.1\r\nhost: a\r\n\r\n",
    );
  });

  it.each([
    { headers: { "x-amz-a": "1\r\nx: 2" } },
    { headers: { "x-amz-a": "1\n2" } },
    { headers: { "x-amz-a": "\0" } },
    { headers: { "x-amz-a": "\u{1F600}" } },
    { headers: { "x: y\r\nz": "1" } },
    { headers: { "": "1" } },
    { target: "/a b" },
    { target: "/a\r\n" },
  ])("with %j is never sent, and its error repeats nothing of it", (wrong) => {
    expect(() => headOf({ ...sound, ...wrong } as typeof sound)).toThrow(/^A header can't be sent\.$/);
  });
});
