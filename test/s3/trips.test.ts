/** Whole trips through the functions, the publisher and the sweeper, with the tried server's bucket. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type BaseWallet, Wallet } from "ethers";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { payloadKey, recordKey, type TransferRef } from "../../functions/keys.ts";
import type { Store, UploadedPart } from "../../functions/store.ts";
import { Sweeper } from "../../functions/sweeper.ts";
import { ChainReader } from "../../lib/chain/reader.ts";
import { SharedFileDataChannel, TaskContractor } from "../../lib/index.ts";
import type { Deployment } from "../../lib/protocol/deployment.ts";
import type { Address, Hex } from "../../lib/protocol/hex.ts";
import { transferId } from "../../lib/protocol/manifest.ts";
import { type Stack, startStack } from "../../local/stack.ts";
import { type Compiled, compileSources } from "../support/compiled.ts";
import { watching } from "../support/members.ts";
import type { OwnBucket } from "../support/s3-bucket.ts";
import { Place } from "../support/s3-place.ts";

const MiB = 2 ** 20;
const PART = 5 * MiB;

let place: Place;
let bucket: OwnBucket;
let store: Store;
let stack: Stack;
let deployment: Deployment;
let compiled: Compiled;
let home: string;
let task: Hex;
const wallets = Array.from({ length: 3 }, () => Wallet.createRandom());
const accounts = wallets.map(({ address }) => address);
const contractors: TaskContractor[] = [];
const children: ChildProcess[] = [];

beforeAll(async () => {
  place = await Place.open();
  const { endpoint, region, credentials } = place.target;
  bucket = await place.ownBucket(); // what another chain's life has left in it would disturb
  const config = { bucket: bucket.bucket, region, s3Endpoint: endpoint, s3Credentials: credentials };
  stack = await startStack({ config });
  store = place.open(endpoint, bucket.bucket);
  deployment = { ...stack.deployment, storeOrigin: endpoint };
  const opened = await TaskContractor.open({ signer: wallets[0]!, members: accounts, deployment });
  await opened.close();
  ({ task } = opened);
  compiled = compileSources();
  home = await mkdtemp(join(tmpdir(), "waybill-test-s3-"));
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const contractor of contractors.splice(0)) await contractor.close();
});
afterAll(async () => {
  await stack?.stop();
  store?.close();
  await bucket?.remove();
  await place?.close();
  compiled?.remove();
  if (home) await rm(home, { recursive: true, force: true });
});

/** A new process of a member, which knows nothing yet. */
function channel(index: number, more: { fetch?: typeof fetch } = {}): SharedFileDataChannel {
  const contractor = new TaskContractor({ task, signer: wallets[index] as BaseWallet, deployment, ...more });
  contractors.push(contractor);
  return new SharedFileDataChannel(contractor);
}

function refOf(tag: string): TransferRef {
  return { task, sender: accounts[0]!.toLowerCase() as Address, transfer: transferId(tag) };
}

/** A process of its own that makes this call, and stands still for ever when so many parts are done. */
async function stopped(index: number, call: "sendStream" | "receiveStream", options: object, parts: number) {
  const program = `
    import { writeSync } from "node:fs";
    import { Wallet } from "ethers";
    import { SharedFileDataChannel, TaskContractor } from ${JSON.stringify(compiled.path("lib/index.js"))};
    const { task, deployment, key, call, options, parts } = JSON.parse(process.env.ORDER);
    const onProgress = ({ partsDone }) => {
      if (partsDone < parts) return;
      writeSync(1, "stopped\\n");
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    };
    const contractor = new TaskContractor({ task, signer: new Wallet(key), deployment });
    await new SharedFileDataChannel(contractor)[call]({ ...options, onProgress });`;
  const order = { task, deployment, key: wallets[index]!.privateKey, call, options, parts };
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    env: { ...process.env, NODE_OPTIONS: process.env.WAYBILL_TEST_PRELOAD ?? "", ORDER: JSON.stringify(order) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  const said = once(createInterface({ input: child.stdout! }), "line");
  const ended = once(child, "close").then(() => Promise.reject(new Error("It ended too soon.")));
  ended.catch(() => {}); // later it is killed
  await Promise.race([said, ended]);
  return async () => {
    child.kill("SIGKILL");
    await once(child, "close");
  };
}

/** A file of random bytes, and their digest. */
async function file(name: string, size: number): Promise<{ path: string; digest: string }> {
  const path = join(home, name);
  const bytes = randomBytes(size);
  await writeFile(path, bytes);
  return { path, digest: digestOf(bytes) };
}

function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

describe("a payload", () => {
  it.each([0, 1, PART + 1])("of %i bytes reaches its recipient", async (size) => {
    const [bytes, tag] = [randomBytes(size), `size/${size}`];
    const [, [, data]] = await Promise.all([
      channel(0).sendStream({ target: accounts[1]!, dataStream: bytes, tag, partSize: PART }),
      channel(1).receiveStream({ source: accounts[0]!, tag }),
    ]);
    expect(Buffer.compare(data, bytes)).toBe(0);
  });

  it("goes from a file to the files of two, and every receipt stands on the chain", async () => {
    const { path, digest } = await file("batch", 3 * PART + 17);
    const [tag, targets] = ["batch", accounts.slice(1)];
    const [received, ...paths] = await Promise.all([
      channel(0).batchSendStream({ target: targets, dataStream: { path }, tag, partSize: PART }),
      ...[1, 2].map(async (index) => {
        const to = { path: join(home, `batch-${index}`) };
        return (await channel(index).receiveStream({ source: accounts[0]!, tag, to }))[1];
      }),
    ]);
    expect(new Set(received)).toEqual(new Set(targets));
    for (const where of paths) expect(digestOf(await readFile(where))).toBe(digest);
    // The publisher has cleared up behind them.
    await expect.poll(() => store.list("outbox/")).toEqual([]);
    expect((await store.list("settled/")).length).toBeGreaterThan(3);
  });

  it("whose sender was killed is sent on from where it was", async () => {
    const { path, digest } = await file("sent", 11 * PART + 1);
    const tag = "killed sender";
    const options = { target: accounts[1]!, dataStream: { path }, tag, partSize: PART };
    const kill = await stopped(0, "sendStream", options, 1);
    await kill();
    const record = (await store.getJson(recordKey(refOf(tag))))!.value as { uploadId: string };
    const held = (await store.listParts(payloadKey(refOf(tag)), record.uploadId))!;
    expect(held.length).toBeGreaterThanOrEqual(1); // and up to all of them, as quick as they were
    await new Promise((resolve) => setTimeout(resolve, 1_100)); // stores date parts by whole seconds
    let all: UploadedPart[] = [];
    const looked = watching(async (path) => {
      if (path.endsWith("/finish")) all = (await store.listParts(payloadKey(refOf(tag)), record.uploadId)) ?? all;
    });
    const [, [, data]] = await Promise.all([
      channel(0, { fetch: looked }).sendStream(options),
      channel(1).receiveStream({ source: accounts[0]!, tag }),
    ]);
    expect(digestOf(data)).toBe(digest);
    expect(all).toHaveLength(12);
    expect(all).toEqual(expect.arrayContaining(held)); // none of them was sent again
    expect(await store.listParts(payloadKey(refOf(tag)), record.uploadId)).toBeNull();
  });

  it("whose recipient was killed is fetched on from where it was", async () => {
    const { path, digest } = await file("fetched", 11 * PART + 1);
    const tag = "killed recipient";
    const sent = channel(0).sendStream({ target: accounts[2]!, dataStream: { path }, tag, partSize: PART });
    const options = { source: accounts[0]!, tag, to: { path: join(home, "target") } };
    const kill = await stopped(2, "receiveStream", options, 1);
    await kill();
    let first: number | undefined;
    const onProgress = ({ partsDone }: { partsDone: number }): void => {
      first ??= partsDone;
    };
    const [, where] = await channel(2).receiveStream({ ...options, onProgress });
    expect(await sent).toBe(accounts[2]);
    expect(first).toBeGreaterThanOrEqual(1);
    expect(digestOf(await readFile(where))).toBe(digest);
    expect((await readdir(home)).filter((name) => /\.part|\.journal/.test(name))).toEqual([]);
  });
});

describe("the sweeper", () => {
  it("frees the bucket of what nobody needs, after which the same payload can be sent again", async () => {
    const [bytes, tag] = [randomBytes(1000), "swept"];
    const send = (target: number) =>
      Promise.all([
        channel(0).sendStream({ target: accounts[target]!, dataStream: bytes, tag }),
        channel(target).receiveStream({ source: accounts[0]!, tag }),
      ]);
    await send(1);
    const stray = { key: payloadKey({ ...refOf("nobody's"), transfer: `0x${"ab".repeat(32)}` }) };
    const uploadId = await store.createUpload(stray.key, "text/plain");
    const chain = new ChainReader({ ...deployment, rpc: stack.rpc });
    const later = Date.now() + 40 * 86_400_000;
    const report = await new Sweeper({ store, chain, retention: 0, clock: () => later }).sweep();
    chain.close();
    expect(report.fault).toBeNull();
    expect(await store.list("payload/")).toEqual([]);
    const aborted = (await store.listParts(stray.key, uploadId)) === null;
    expect(aborted).toBe(place.expected("a stray upload is swept", true));
    expect((await store.getJson(recordKey(refOf(tag))))?.value).toMatchObject({ state: "swept" });
    const [, [, data]] = await send(2);
    expect(Buffer.compare(data, bytes)).toBe(0);
    expect((await store.list("payload/")).map(({ key }) => key)).toEqual([payloadKey(refOf(tag), 1)]);
    if (!aborted) await store.abort(stray.key, uploadId);
  });
});
