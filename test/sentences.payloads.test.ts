import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Destination, type Payload, type Progress, type ReceiptEvent, WaybillError } from "../lib/index.ts";
import { type Cast, coded, parcel, readings, rejection, Scene } from "./support/members.ts";
import { bytes } from "./support/s3.ts";

// Design §8, from "Ids come back ..." to "One error base". What payloads and times may not be is in channel.test.ts, "bad input";
// `accept`, streams out, the status and maxBytes of streams in channel.state.test.ts; the kinds of messages in
// channel.handlers.test.ts; batchReceiveStream's ids in channel.batch.test.ts.

let scene: Scene;
let cast: Cast;
let dir: string;
beforeAll(async () => {
  scene = await Scene.start();
  cast = await scene.cast(3);
  dir = await mkdtemp(join(tmpdir(), "waybill-test-payloads-"));
});
afterAll(async () => {
  await scene?.stop();
  await rm(dir, { recursive: true, force: true });
});

const upper = (id: string): string => `0x${id.slice(2).toUpperCase()}`;

describe.each(readings)("%s", (_name, reading) => {
  it.concurrent("ids come back as the caller wrote them, and comparison ignores case", async () => {
    const cast = await scene.cast(3, reading);
    const [alice, bob, carol] = cast.accounts as [string, string, string];
    const { tag, dataStream } = parcel();
    const receipts: ReceiptEvent[] = [];
    const target = [upper(bob), carol.toLowerCase()];
    const [sent, [from], refused] = await Promise.all([
      rejection(
        cast.process(0).channel.batchSendStream({
          ...{ source: upper(alice), target, dataStream, tag, ensureAllSucc: true },
          onReceipt: (event) => receipts.push(event),
        }),
      ),
      cast.process(1).channel.receiveStream({ receiver: bob.toLowerCase(), source: [carol, upper(alice)], tag }),
      rejection(cast.process(2).channel.receiveStream({ receiver: upper(carol), source: alice, tag, maxBytes: 1 })),
    ]);
    const failed = { [target[1]!]: "TOO_LARGE" };
    expect(sent).toEqual(coded("NOT_ALL_RECEIVED", { received: [target[0]], failed }));
    expect(from).toBe(upper(alice));
    expect(refused).toEqual(coded("TOO_LARGE"));
    expect(receipts.map(({ recipient, outcome }) => [recipient, outcome]).toSorted()).toEqual(
      [
        [target[0], "VERIFIED"],
        [target[1], "TOO_LARGE"],
      ].toSorted(),
    );
  });
});

it.each(["source", "receiver"] as const)("%s, when given, must be the signer", async (name) => {
  const [, bob, carol] = cast.accounts as [string, string, string];
  const { channel } = cast.process(0);
  const calls =
    name === "source"
      ? [
          () => channel.sendStream({ source: carol, target: bob, ...parcel() }),
          () => channel.batchSendStream({ source: carol, target: [bob], ...parcel() }),
        ]
      : [
          () => channel.receiveStream({ receiver: carol, source: bob }),
          () => channel.batchReceiveStream({ receiver: carol, sourceList: [bob] }),
        ];
  for (const call of calls) expect(await rejection(call())).toEqual(coded("USAGE"));
});

const content = bytes(3_000, 7);
const payloads: Record<string, () => Promise<Payload>> = {
  "a Uint8Array": async () => new Uint8Array(content),
  "a Blob": async () => new Blob([content]),
  "{ path }": async () => {
    const path = join(dir, "out");
    await writeFile(path, content);
    return { path };
  },
  "a stream": async () => new Blob([content]).stream(),
};
const destinations: Record<string, () => Promise<Destination>> = {
  bytes: async () => "bytes",
  "{ path }": async () => ({ path: join(await mkdtemp(join(dir, "path-")), "in") }),
  "{ dir }": async () => ({ dir: await mkdtemp(join(dir, "dir-")) }),
  stream: async () => "stream",
};
const pairs = Object.keys(payloads).map((give, i) => [give, Object.keys(destinations)[i]!] as const);

it.concurrent.each(pairs)("a payload given as %s comes out as %s", async (give, take) => {
  const [alice, bob] = cast.accounts as [string, string];
  const tag = `${give} to ${take}`;
  const to = (await destinations[take]!()) as "bytes";
  const [sent, [, data]] = await Promise.all([
    cast.process(0).channel.sendStream({ target: bob, dataStream: await payloads[give]!(), tag }),
    cast.process(1).channel.receiveStream({ source: alice, tag, to }),
  ]);
  expect(sent).toBe(bob);
  expect(Buffer.compare(await all(data), content)).toBe(0);
});

async function all(data: Uint8Array | string | ReadableStream<Uint8Array>): Promise<Buffer> {
  if (typeof data === "string") return readFile(data);
  return data instanceof Uint8Array ? Buffer.from(data) : Buffer.from(await new Response(data).arrayBuffer());
}

it.concurrent("onProgress tells of bytes and parts, up and down, until all are there", async () => {
  const [alice, bob] = cast.accounts as [string, string];
  const part = 5 * 2 ** 20; // the least that the store takes
  const dataStream = bytes(2 * part + 1, 3);
  const seen: Record<"up" | "down", Progress[]> = { up: [], down: [] };
  await Promise.all([
    cast.process(0).channel.sendStream({
      ...{ target: bob, dataStream, tag: "progress", partSize: part },
      onProgress: (progress) => seen.up.push(progress),
    }),
    cast.process(1).channel.receiveStream({
      ...{ source: alice, tag: "progress" },
      onProgress: (progress) => seen.down.push(progress),
    }),
  ]);
  for (const steps of [seen.up, seen.down]) {
    expect(steps.at(-1)).toEqual({
      ...{ transferredBytes: dataStream.length, totalBytes: dataStream.length, partsDone: 3, partsTotal: 3 },
    });
    expect(steps.map(({ partsDone }) => partsDone)).toEqual(steps.map(({ partsDone }) => partsDone).toSorted());
  }
});

it.concurrent("onReceipt tells of each answer once it stands on the chain, in which transaction and of which notice", async () => {
  const cast = await scene.cast(3);
  const [alice, bob, carol] = cast.accounts as [string, string, string];
  const { tag, dataStream } = parcel();
  const told: ReceiptEvent[] = [];
  const sender = cast.process(0);
  const sending = sender.channel.batchSendStream({
    ...{ target: [bob, carol], dataStream, tag },
    onReceipt: (event) => told.push(event),
  });
  await Promise.all([1, 2].map((i) => cast.process(i).channel.receiveStream({ source: alice, tag })));
  await sending;
  expect(told).toHaveLength(2);
  for (const { recipient, notice, transaction } of told) {
    const { recipients } = await sender.contractor.status(notice);
    const answer = recipients.find(({ account }) => account === recipient.toLowerCase());
    expect(answer).toMatchObject({ state: "verified", outcome: "VERIFIED", transaction });
    expect(await scene.blockOf(transaction)).toBeGreaterThan(0);
  }
});

it.concurrent("every error is a WaybillError with a code, whether to try again, and a cause when there is one", async () => {
  const [, bob] = cast.accounts as [string, string];
  const enough = new Error("enough");
  const fetch = (): Promise<Response> => Promise.reject(new TypeError("fetch failed"));
  const errors = await Promise.all([
    rejection(cast.process(0).channel.sendStream({ target: bob, ...parcel(), timeout: 1 })),
    rejection(cast.process(0).channel.receiveStream({ source: bob, signal: AbortSignal.abort(enough) })),
    rejection(cast.process(0, { fetch }).contractor.members()),
  ]);
  for (const error of errors) expect(error).toBeInstanceOf(WaybillError);
  expect(errors).toMatchObject([
    { code: "USAGE", retryable: false },
    { code: "ABORTED", retryable: false, cause: enough },
    { code: "UNREACHABLE", retryable: true, cause: { message: "fetch failed" } },
  ]);
});
