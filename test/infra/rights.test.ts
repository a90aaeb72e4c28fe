import { randomBytes } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { handler as downloads } from "../../functions/downloads.ts";
import { manifestKey, noticeKey, payloadKey, type TransferRef } from "../../functions/keys.ts";
import { kmsRelayer } from "../../functions/kms.ts";
import { Objects } from "../../functions/objects.ts";
import { Publisher, handler as publisher } from "../../functions/publisher.ts";
import { Records, type TransferRecord } from "../../functions/records.ts";
import { Sweeper } from "../../functions/sweeper.ts";
import { handler as tasks } from "../../functions/tasks.ts";
import { handler as uploads } from "../../functions/uploads.ts";
import { routes } from "../../infra/routes.ts";
import type { Hex } from "../../lib/protocol/hex.ts";
import { transferId } from "../../lib/protocol/manifest.ts";
import { statementId } from "../../lib/protocol/statements.ts";
import { ApiWorld, type Caller, expectStatus } from "../support/api.ts";
import { addressOf, DAY, random32, type Task } from "../support/contract.ts";
import { eventOf } from "../support/drives.ts";
import { KmsStub, newKey } from "../support/kms.ts";
import { evaluate, type Graph } from "./support/graph.ts";
import { decide, type Request } from "./support/policy.ts";
import { NAMES, type Name, rightsIn } from "./support/promises/functions.ts";
import { scenes } from "./support/promises/promise.ts";
import { asksOfBucket, asksOfService, Watch } from "./support/requests.ts";

// Every request that the functions make on a trip which takes them everywhere, held against their roles and the bucket's
// policy as IAM would; and every right held against what was used.

/** Rights that no request of a function's own uses. */
const UNUSED: Readonly<Record<Name, readonly string[]>> = {
  uploads: [],
  downloads: [],
  tasks: [],
  // Lambda itself takes rings from the queue, in the publisher's name.
  publisher: ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"],
  sweeper: [],
};

let graph: Graph;
let api: ApiWorld;
let task: Task;
let sender: Caller;
let recipient: Caller;
let kms: KmsStub;
let queue: Server;
let watch: Watch;

beforeAll(async () => {
  graph = await evaluate(scenes.production);
  api = await ApiWorld.start();
  kms = await KmsStub.start();
  queue = createServer((request, response) => request.resume().on("end", () => response.end("{}")));
  await new Promise<void>((resolve) => queue.listen(0, "127.0.0.1", resolve));
  task = await api.task(4);
  [sender, recipient] = task.members.map((wallet) => api.caller(wallet)) as [Caller, Caller];
  await hireRelayer();
  stubLambda();
  watch = new Watch(api.s3.endpoint);
  watchDeletes();
  api.drive = drive;
  await trip();
});
afterAll(async () => {
  watch?.stop();
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  queue?.close();
  await kms?.stop();
  await api?.stop();
});

async function hireRelayer(): Promise<void> {
  const key = newKey();
  kms.hold(key);
  await api.world.provider.send("anvil_setBalance", [key.address, `0x${(10n ** 20n).toString(16)}`]);
}

/** The keys that are deleted together are in a request's body; so they are noted where the request is made. */
function watchDeletes(): void {
  const { delete: remove } = Objects.prototype;
  vi.spyOn(Objects.prototype, "delete").mockImplementation(function (this: Objects, keys) {
    watch.noteDeleted(keys);
    return remove.call(this, keys);
  });
}

function stubLambda(): void {
  const { config } = api.deps;
  const { credentials, endpoint } = api.s3;
  for (const [name, value] of Object.entries({
    WAYBILL_API_ORIGIN: config.apiOrigin,
    WAYBILL_CHAIN_ID: String(config.chainId),
    WAYBILL_CONTRACT: config.contract,
    WAYBILL_RPC: String(config.rpc),
    WAYBILL_CONFIRMATIONS: "0",
    WAYBILL_BLOCK_TIME: "100",
    WAYBILL_OWNERS: addressOf(task.owner),
    WAYBILL_BUCKET: config.bucket,
    WAYBILL_S3_ENDPOINT: endpoint,
    WAYBILL_QUEUE_URL: `http://127.0.0.1:${(queue.address() as AddressInfo).port}/123456789012/bell.fifo`,
    WAYBILL_RELAYER_KMS_KEY: "relayer",
    WAYBILL_MAX_FEE_PER_GAS: String(10n ** 12n),
    AWS_REGION: config.region,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    AWS_ENDPOINT_URL_KMS: kms.endpoint,
  }))
    vi.stubEnv(name, value);
}

/** A request to the function that the deployment's routes lead to. */
async function drive(request: globalThis.Request): Promise<Response> {
  const path = new URL(request.url).pathname;
  const matches = (routeKey: string): boolean => {
    const [method, pattern] = routeKey.split(" ") as [string, string];
    return method === request.method && new RegExp(`^${pattern.replaceAll(/\{\w+\}/g, "[^/]+")}$`).test(path);
  };
  const named = Object.entries(routes).find(([, own]) => Object.values(own).some(matches));
  const handler = { uploads, downloads, tasks }[named![0] as keyof typeof routes];
  const event = await eventOf(request);
  const answer = await watch.as(named![0], () => handler(event, {} as Parameters<typeof handler>[1]));
  const { statusCode, headers, body, isBase64Encoded } = answer as unknown as {
    statusCode: number;
    headers: Record<string, string>;
    body: string;
    isBase64Encoded: boolean;
  };
  return new Response(isBase64Encoded ? Buffer.from(body, "base64") : body, { status: statusCode, headers });
}

const refOf = (tag: string): TransferRef => ({ task: task.id, sender: sender.account, transfer: transferId(tag) });
const bytes = (): Uint8Array => randomBytes(100);
const context = { getRemainingTimeInMillis: () => 20_000 };
const publish = (): Promise<void> => watch.as("publisher", () => publisher({}, context));

/** Everywhere that the functions go, also where somebody was there before or nobody is any more. */
async function trip(): Promise<void> {
  await sendAndReceive();
  await resumeAndGiveUp();
  await lookForWhatIsGone();
  await publishUnderWay();
  await sweepAll();
}

async function sendAndReceive(): Promise<void> {
  const published = await sender.published(task, "sent", bytes(), [1]);
  await sender.begin(task, "sent", 100);
  const path = `/v1/tasks/${task.id}/notices/${published.id}`;
  const { url, headers } = expectStatus(await recipient.post(`${path}/download`), 200);
  expect((await fetch(String(url), { headers: headers as Record<string, string> })).status).toBe(200);
  expectStatus(await sender.get(path), 200); // nobody has reported anything
  expectStatus(await recipient.send("PUT", `${path}/progress`, { bytes: 1, state: "downloading" }), 200);
  expectStatus(await sender.get(path), 200);
  await replay(sender, sender.transfers(task), { transfer: random32(), size: 1 });
  await replay(recipient, `${path}/download`);
  const receipt = await task.sign(recipient.wallet, task.receipt(published.signed.notice));
  await replay(recipient, `/v1/tasks/${task.id}/receipts`, {
    ...{ notice: published.id, outcome: "VERIFIED", signature: receipt.signature },
  });
  await publish();
  const statement = statementId(receipt.statement, recipient.account);
  expect((await recipient.get(`/v1/tasks/${task.id}/statements/${statement}`)).json).toMatchObject({
    state: "settled",
  });
}

/** Makes a request, and once more just as it was. */
async function replay(caller: Caller, target: string, body?: unknown): Promise<void> {
  const request = await caller.sign("POST", target, body);
  expect((await drive(request.clone())).ok).toBe(true);
  expect((await drive(request)).status).toBe(401);
}

async function resumeAndGiveUp(): Promise<void> {
  const stored = await sender.upload(task, "cut off", bytes());
  const path = `${sender.transfers(task)}/${stored.transfer}`;
  expectStatus(await sender.get(`${path}/parts`), 200);
  await completeBehind(stored.transfer);
  expect(await sender.begin(task, "cut off", 100)).toMatchObject({ state: "stored" });
  expectStatus(await sender.finish(task, stored.transfer, { manifest: stored.text, notices: [] }), 200);

  const { transfer } = await sender.upload(task, "lost", bytes());
  const { uploadId } = await recordOf(transfer);
  await api.deps.store.abort(payloadKey(refOf("lost")), uploadId);
  expect(await sender.begin(task, "lost", 100)).toMatchObject({ state: "open" });
  expectStatus(await sender.delete(`${sender.transfers(task)}/${transfer}`), 200);
}

async function lookForWhatIsGone(): Promise<void> {
  const { store } = api.deps;
  const unrecorded = await sender.published(task, "unrecorded", bytes(), [1]);
  await store.delete(noticeKey(task.id, unrecorded.id));
  await sender.begin(task, "unrecorded", 100);
  expect((await recipient.download(task, unrecorded.id)).status).toBe(404);
  expect((await sender.get(`/v1/tasks/${task.id}/notices/${unrecorded.id}`)).status).toBe(404);

  const emptied = await sender.published(task, "emptied", bytes(), [1]);
  await store.delete([manifestKey(refOf("emptied")), payloadKey(refOf("emptied"))]);
  expect((await recipient.download(task, emptied.id)).status).toBe(410);
  expect((await sender.get(`/v1/tasks/${task.id}/notices/${emptied.id}`)).status).toBe(410);
  expect((await sender.get(`${sender.transfers(task)}/${random32()}/parts`)).status).toBe(404);
  expectStatus(await sender.get(`/v1/tasks/${task.id}/statements/${random32()}`), 200);
}

/** What was broadcast and is not mined yet, and what is refused. */
async function publishUnderWay(): Promise<void> {
  const { provider } = api.world;
  const { outbox } = api.deps;
  await outbox.post({ ...(await task.message()), author: sender.account });
  await provider.send("evm_setAutomine", [true]); // out of the mixed mode
  await provider.send("evm_setAutomine", [false]);
  await publish();
  await stepAfresh();
  await provider.send("evm_setAutomine", [true]);
  await provider.send("evm_mine", []);
  const late = await task.message({ deadline: (await api.world.now()) - 1 });
  await outbox.post({ ...late, author: sender.account });
  await stepAfresh();
  await outbox.post({ ...late, author: sender.account });
  await publish();
  expect(await api.posted()).toEqual([]);
}

/** A turn of a publisher that has just been started. */
async function stepAfresh(): Promise<void> {
  await watch.as("publisher", async () => {
    const { config, store } = api.deps;
    const relayer = await kmsRelayer("relayer", { region: config.region });
    const fees = { kind: "market", maxFeePerGas: 10n ** 12n } as const;
    const fresh = new Publisher({ ...config, blockTime: 100, store, relayer, fees });
    await fresh.step();
    fresh.close();
  });
}

async function sweepAll(): Promise<void> {
  await sender.upload(task, "stale", bytes());
  await api.deps.store.createUpload(payloadKey(refOf("nobody's")), "text/plain");
  await sweepIn(3 * DAY); // the chain says: not yet
  const { keepUntil } = await recordOf(transferId("sent"));
  await api.world.provider.send("evm_setNextBlockTimestamp", [keepUntil + DAY]);
  await api.world.provider.send("evm_mine", []);
  await sweepIn(3 * DAY);
  expect(await recordOf(transferId("sent"))).toMatchObject({ state: "swept" });
  expect(await recordOf(transferId("stale"))).toMatchObject({ state: "aborted" });
  expect(await api.deps.store.head(payloadKey(refOf("sent")))).toBeNull();
}

function sweepIn(seconds: number): Promise<unknown> {
  const { config, store, chain } = api.deps;
  const clock = (): number => Date.now() + seconds * 1000;
  return watch.as("sweeper", () => new Sweeper({ store, chain, retention: config.retention, clock }).sweep());
}

async function recordOf(transfer: Hex): Promise<TransferRecord> {
  return (await new Records(api.deps.store).read({ task: task.id, sender: sender.account, transfer }))!.record;
}

/** Completes an upload as a finish does that is cut off then. */
async function completeBehind(transfer: Hex): Promise<void> {
  const { uploadId } = await recordOf(transfer);
  const key = payloadKey({ task: task.id, sender: sender.account, transfer });
  const held = await api.deps.store.listParts(key, uploadId);
  expect(await api.deps.store.complete(key, uploadId, held!)).toBe("done");
}

/** What IAM was asked about a function, each with the words of the rights' table that it comes under. */
function asksOf(name: Name): { asked: Request; right: string }[] {
  const bucket = `arn:aws:s3:::${graph.one("aws:s3/bucketPolicy:BucketPolicy").inputs.bucket}`;
  const bell = String(graph.one("aws:lambda/eventSourceMapping:EventSourceMapping").inputs.eventSourceArn);
  const hosts = {
    [new URL(api.s3.endpoint).host]: bucket,
    [new URL(kms.endpoint).host]: keyArn(),
    [queueHost()]: bell,
  };
  const requests = watch.made
    .filter(({ by, host }) => by === name && host in hosts)
    .flatMap((made) =>
      hosts[made.host] === bucket ? asksOfBucket(made, bucket) : [asksOfService(made, hosts[made.host]!)],
    );
  const deletes = watch.deleted
    .filter(({ by }) => by === name)
    .flatMap(({ keys }) => keys.map((key) => ({ action: "s3:DeleteObject", resource: `${bucket}/${key}` })));
  return [...requests, ...deletes].map((asked) => ({ asked, right: rightOf(asked, bucket) }));
}

function rightOf({ action, resource, context }: Request, bucket: string): string {
  if (!resource.startsWith(bucket)) return action;
  const key = resource === bucket ? context?.["s3:prefix"] : resource.slice(bucket.length + 1);
  return key === undefined || action === "s3:ListBucketMultipartUploads" ? action : `${action} ${key.split("/")[0]}/*`;
}

const queueHost = (): string => `127.0.0.1:${(queue.address() as AddressInfo).port}`;
const keyArn = (): string => graph.environmentOf("publisher").WAYBILL_RELAYER_KMS_KEY!;

/** A function's rights, one by one, in the same words. */
function given(name: Name): string[] {
  return Object.entries(rightsIn(graph, name)).flatMap(([action, objects]) => {
    const keys = objects.match(/\w+\/\*/g) ?? [];
    return keys.length === 0 ? [action] : keys.map((key) => `${action} ${key}`);
  });
}

describe.each(NAMES)("the function %s", (name) => {
  it("may do everything that it does", () => {
    const statements = [...graph.rightsOf(name), ...graph.bucketPolicy];
    const asks = asksOf(name);
    expect(asks.length).toBeGreaterThan(0);
    const refused = asks.filter(({ asked }) => decide(statements, asked) !== "allowed");
    expect(refused).toEqual([]);
  });

  it("may do nothing that it does not do", () => {
    const used = new Set(asksOf(name).map(({ right }) => right));
    expect(
      given(name)
        .filter((right) => !used.has(right))
        .sort(),
    ).toEqual(UNUSED[name]);
  });
});
