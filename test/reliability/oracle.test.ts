import { Interface } from "ethers";
import { beforeAll, describe, expect, it } from "vitest";
import { invariantNames, judge } from "./oracle.ts";
import type { CallMade, Evidence, Exchange, RawLog, ReceiveMade, SendMade } from "./oracle-evidence.ts";
import { play } from "./soak-play.ts";

// The oracle must bite: one real world in which all is well, and forgeries of its evidence, each of which breaks one invariant.

const noticed = new Interface([
  "event Noticed(bytes32 indexed task, uint64 seq, uint64 prevBlock, address sender, uint16 page, uint256 recipients, bytes32 transfer, bytes32 manifest, uint48 deadline, bytes signature)",
]);

let world: Evidence;

beforeAll(async () => {
  const common = { wait: 0, task: 0, ms: 60_000 } as const;
  const sends = { ...common, do: "send", from: 0, all: true, as: "bytes" } as const;
  const receives = { ...common, do: "receive", from: [0] } as const;
  const round = await play({
    seed: 7,
    shape: { tasks: [{ members: 4, senders: 1 }], ownNode: [false, true, false, false] },
    steps: [
      { ...sends, to: [1, 2], tag: "to two", size: 150_000 },
      { ...receives, by: 1, tag: "to two", into: "path" },
      { ...receives, by: 2, tag: null, into: "bytes" },
      { ...sends, to: [1], tag: "to one", size: 10 },
      { ...receives, by: 1, tag: "to one", into: "dir" },
      { ...common, do: "post", by: 2, to: null },
    ],
  });
  expect(round.violations).toEqual([]);
  world = round.evidence;
}, 900_000);

/** A world in which some of the calls were otherwise. */
function withCalls(change: (call: CallMade) => CallMade): Evidence {
  return { ...world, calls: world.calls.map(change) };
}
const everySend = (change: (call: SendMade) => SendMade): Evidence =>
  withCalls((call) => (call.kind === "send" ? change(call) : call));
const everyReceive = (change: (call: ReceiveMade) => ReceiveMade): Evidence =>
  withCalls((call) => (call.kind === "receive" ? change(call) : call));
const withExchanges = (change: (exchange: Exchange) => Exchange): Evidence => ({
  ...world,
  exchanges: world.exchanges.map(change),
});
const withObject = (key: string, value: unknown): Evidence => {
  const objects = new Map([
    ...world.bucket.objects,
    [key, { bytes: Buffer.from(JSON.stringify(value)), etag: '"forged"' }],
  ]);
  return { ...world, bucket: { ...world.bucket, objects } };
};
const objectKey = (pattern: RegExp): string => [...world.bucket.objects.keys()].find((key) => pattern.test(key))!;
const objectAt = (key: string): Record<string, unknown> =>
  JSON.parse(Buffer.from(world.bucket.objects.get(key)!.bytes).toString()) as Record<string, unknown>;
const domainPath = (): string => `${world.domain.chainId}/${world.domain.contract}`;
const accountThatGot = (nth: number): string => world.calls.filter(({ kind }) => kind === "receive")[nth]!.by;
const isNoticed = ({ topics }: RawLog): boolean => topics[0] === noticed.getEvent("Noticed")!.topicHash;
const issues = ({ path }: Exchange): boolean => path.endsWith("/download");

/** The answer's URLs, changed. */
function withUrls(exchange: Exchange, change: (url: string) => string): Exchange {
  const answer = JSON.stringify(exchange.answer).replace(
    /"(http:[^"]*X-Amz-Signature[^"]*)"/g,
    (_, url: string) => `"${change(url)}"`,
  );
  return { ...exchange, answer: JSON.parse(answer) };
}

function withLog(at: number, change: (log: RawLog) => RawLog): Evidence {
  return { ...world, logs: world.logs.map((log, i) => (i === at ? change(log) : log)) };
}

/** The first notice again, over other bytes. */
function rebound(): Evidence {
  const first = world.logs.find(isNoticed)!;
  const values = [...noticed.parseLog({ topics: [...first.topics], data: first.data })!.args];
  values[7] = `0x${"ab".repeat(32)}`;
  const { data, topics } = noticed.encodeEventLog("Noticed", values);
  return { ...world, logs: [...world.logs, { ...first, data, topics, blockNumber: world.logs.at(-1)!.blockNumber }] };
}

const forgeries: readonly (readonly [what: string, invariant: number, forge: () => Evidence])[] = [
  [
    "a call returns other bytes",
    1,
    () => everyReceive((call) => ({ ...call, delivered: call.delivered.map((one) => ({ ...one, sha256: "00" })) })),
  ],
  ["a call returns another tag's payload", 1, () => everyReceive((call) => ({ ...call, tag: call.tag && "another" }))],
  [
    "a call fails with an error that is none of ours",
    1,
    () => everyReceive((call) => ({ ...call, end: { state: "rejected", code: null, words: "TypeError" } })),
  ],
  [
    "a call fails and leaves a file",
    1,
    () => ({
      ...everyReceive((call) => ({ ...call, delivered: [], end: { state: "rejected", code: "TIMEOUT", words: "" } })),
      exchanges: [],
    }),
  ],
  [
    "a file holds half a payload",
    1,
    () => everyReceive((call) => ({ ...call, files: call.files.map((file) => ({ ...file, sha256: "00" })) })),
  ],
  [
    "a send counts somebody who said nothing",
    2,
    () => everySend((call) => ({ ...call, received: [...call.targets, `0x${"11".repeat(20)}`] })),
  ],
  ["a sender's manifest is not the one on the chain", 2, () => withObject(objectKey(/manifest\.json$/), {})],
  [
    "an accepted statement is nowhere",
    3,
    () =>
      withExchanges((exchange) => {
        const { message } = (exchange.asked ?? {}) as { message?: object };
        return message ? { ...exchange, asked: { message: { ...message, salt: `0x${"22".repeat(32)}` } } } : exchange;
      }),
  ],
  [
    "a statement on the chain is listed as refused",
    3,
    () => withObject(objectKey(/^settled\//), { state: "refused", reason: "EXPIRED" }),
  ],
  [
    "what is said to be settled is nowhere",
    3,
    () =>
      withObject(`settled/${domainPath()}/0x${"33".repeat(32)}.json`, {
        state: "settled",
        transaction: null,
        block: 1,
      }),
  ],
  ["a statement stands twice", 3, () => ({ ...world, logs: [...world.logs, world.logs.at(-1)!] })],
  ["an event is missing", 4, () => ({ ...world, logs: world.logs.filter((_, i) => i !== 1) })],
  [
    "a signature is another's",
    4,
    () => withLog(1, (log) => ({ ...log, data: log.data.replace(/1[bc](0{62})$/, "1d$1") })),
  ],
  [
    "a receipt comes after the deadline",
    4,
    () => ({ ...world, times: new Map([...world.times.keys()].map((block) => [block, 2 ** 40])) }),
  ],
  ["the members were never enrolled", 4, () => ({ ...world, logs: world.logs.slice(1) })],
  [
    "a URL goes to a stranger",
    5,
    () => withExchanges((one) => (issues(one) ? { ...one, account: `0x${"44".repeat(20)}` } : one)),
  ],
  [
    "a URL goes to a member whom no notice names",
    5,
    () =>
      withExchanges((one) =>
        issues(one) ? { ...one, account: world.calls.find(({ kind }) => kind === "send")!.by } : one,
      ),
  ],
  [
    "a URL goes out before its notice stands",
    5,
    () => withExchanges((one) => (issues(one) ? { ...one, from: 0, to: 1 } : one)),
  ],
  [
    "a URL is good for an hour",
    5,
    () => withExchanges((one) => withUrls(one, (url) => url.replace(/Expires=\d+/, "Expires=3600"))),
  ],
  [
    "a URL is for another key",
    5,
    () => withExchanges((one) => withUrls(one, (url) => url.replace(/payload\/0x../, "payload/0xff"))),
  ],
  [
    "a URL does not bind what it should",
    5,
    () => withExchanges((one) => withUrls(one, (url) => url.replace(/%3Bif-match/, ""))),
  ],
  [
    "a part's URL is for another part",
    5,
    () => withExchanges((one) => withUrls(one, (url) => url.replace(/partNumber=\d+/, "partNumber=9"))),
  ],
  ["a transfer is bound to a second digest", 6, rebound],
  [
    "a record names another digest",
    6,
    () =>
      withObject(objectKey(/record\.json$/), {
        ...objectAt(objectKey(/record\.json$/)),
        digest: `0x${"55".repeat(32)}`,
      }),
  ],
  ["a payload is stored with other bytes", 6, () => withObject(objectKey(/^payload\//), "other bytes")],
  ["a receipt goes out without a download", 7, () => ({ ...world, served: [] })],
  [
    "a receipt goes out after half a download",
    7,
    () => ({
      ...world,
      served: world.served.filter(({ from }) => from === 0).map((one) => ({ ...one, length: Math.min(one.length, 5) })),
    }),
  ],
  [
    "of two who verified only one got the bytes",
    7,
    () => ({
      ...world,
      served: world.served.filter(
        ({ from, key }, i, all) => all.findIndex((one) => one.key === key && one.from === from) === i,
      ),
    }),
  ],
  [
    "a receipt goes out before the file stands",
    7,
    () => withExchanges((one) => (one.file === undefined ? one : { ...one, file: null })),
  ],
  ["a sender doesn't count who verified", 8, () => everySend((call) => ({ ...call, received: [] }))],
  [
    "a sender counts somebody to whom it was never given",
    8,
    () => everyReceive((call) => ({ ...call, delivered: call.by === accountThatGot(1) ? [] : call.delivered })),
  ],
  [
    "a call says LATE of what stands",
    8,
    () => everyReceive((call) => ({ ...call, delivered: [], end: { state: "rejected", code: "LATE", words: "" } })),
  ],
  [
    "a call resolves without its receipt on the chain",
    8,
    () => everyReceive((call) => ({ ...call, by: world.calls.find(({ kind }) => kind === "send")!.by })),
  ],
  ["a call hangs", 9, () => withCalls((call) => ({ ...call, end: { state: "unfinished" } }))],
  [
    "a call fails although nothing is wrong",
    9,
    () => withCalls((call) => ({ ...call, calm: true, end: { state: "rejected", code: "BAD_SERVER", words: "" } })),
  ],
  [
    "what was sent never reaches everybody",
    9,
    () =>
      everySend((call) => ({
        ...call,
        end: call.calm ? { state: "rejected", code: "NOT_ALL_RECEIVED", words: "" } : call.end,
      })),
  ],
  [
    "a statement is forgotten in the outbox",
    9,
    () => withObject(`outbox/${domainPath()}/0000000000001-7-0x${"66".repeat(32)}.json`, {}),
  ],
  [
    "a line tells a URL's signature",
    10,
    () => ({
      ...world,
      lines: [
        ...world.lines,
        `GET /x?y=${new URL(JSON.stringify(world.exchanges.find(issues)!.answer).match(/http:[^"]*Signature[^"]*/)![0]).searchParams.get("X-Amz-Signature")}`,
      ],
    }),
  ],
  ["a line tells a member's key", 10, () => ({ ...world, lines: [...world.lines, `key ${world.secrets.at(-1)}`] })],
  [
    "a line tells an authorizing header",
    10,
    () => ({ ...world, lines: [...world.lines, "signature: eth=:AAAAAAAAAAAAAAAAAAAAAAAA:"] }),
  ],
  ["a recipient's folder keeps a temporary file", 11, () => ({ ...world, leftovers: ["model.bin.part"] })],
  ["the store keeps a stray file", 11, () => ({ ...world, bucket: { ...world.bucket, strays: ["tmp/1"] } })],
  [
    "an upload has lain open for two days",
    11,
    () => ({
      ...world,
      bucket: { ...world.bucket, uploads: [{ key: "payload/x", id: "1", moved: world.now - 2 * world.sweepAge }] },
    }),
  ],
  [
    "a payload has no record",
    11,
    () => withObject(`payload/0x${"77".repeat(32)}/0x${"77".repeat(20)}/0x${"77".repeat(32)}`, {}),
  ],
];

describe("the oracle", () => {
  it("finds nothing in a world in which all is well, and has judged something by each invariant", () => {
    const { violations, facts } = judge(world);
    expect(violations).toEqual([]);
    expect(Object.keys(facts)).toEqual(invariantNames);
    for (const [name, count] of Object.entries(facts)) expect(count, name).toBeGreaterThan(0);
  });

  it.each(forgeries)("sees that %s", (_what, invariant, forge) => {
    const broken = judge(forge()).violations.map((violation) => violation.invariant);
    expect(broken).toContain(invariant);
  });

  it("has a forgery for each invariant", () => {
    expect(new Set(forgeries.map(([, invariant]) => invariant)).size).toBe(invariantNames.length);
  });
});
