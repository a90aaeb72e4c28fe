import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { Outbox } from "../functions/outbox.ts";
import { Store } from "../functions/store.ts";
import { type Store as Bucket, startStore } from "../local/store/store.ts";
import { Task, World } from "./support/contract.ts";

/** Anvil's own account 6. */
const KEY = "0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e";
const SQS = {
  Records: [
    {
      messageId: "2e1424d4-f796-459a-8184-9c92662be6da",
      receiptHandle: "AQEB",
      body: "ring",
      attributes: { ApproximateReceiveCount: "1", MessageGroupId: "31337" },
      messageAttributes: {},
      eventSource: "aws:sqs",
      eventSourceARN: "arn:aws:sqs:eu-central-1:123456789012:bell.fifo",
      awsRegion: "eu-central-1",
    },
  ],
};
const SCHEDULE = { "detail-type": "Scheduled Event", source: "aws.events", time: "2026-11-22T12:00:00Z", detail: {} };
const context = { getRemainingTimeInMillis: () => 60_000 };

let world: World;
let bucket: Bucket;
let store: Store;
let outbox: Outbox;
let stdout: string;

beforeAll(async () => {
  world = await World.start();
  bucket = await startStore();
  const { endpoint: s3Endpoint, bucket: name, region, credentials: s3Credentials } = bucket;
  store = new Store({ bucket: name, region, s3Endpoint, s3Credentials });
  outbox = new Outbox(store, world.domain);
});
afterAll(async () => {
  store.close();
  await bucket.stop();
  await world.stop();
});
beforeEach(() => {
  vi.resetModules();
  stdout = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    stdout += String(text);
    return true;
  });
  const env = {
    AWS_ACCESS_KEY_ID: bucket.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: bucket.credentials.secretAccessKey,
    AWS_REGION: bucket.region,
    WAYBILL_S3_ENDPOINT: bucket.endpoint,
    WAYBILL_BUCKET: bucket.bucket,
    WAYBILL_API_ORIGIN: "https://waybill.example.org",
    WAYBILL_CHAIN_ID: String(world.domain.chainId),
    WAYBILL_CONTRACT: world.domain.contract,
    WAYBILL_RPC: world.rpc,
    WAYBILL_CONFIRMATIONS: "0",
    WAYBILL_BLOCK_TIME: "1000",
    WAYBILL_OWNERS: `0x${"01".repeat(20)}`,
    WAYBILL_RELAYER_KEY: KEY,
    WAYBILL_MAX_FEE_PER_GAS: "100000000000",
  };
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

/** The lines of the function's log, and those with its metrics. */
const told = (): Record<string, unknown>[] =>
  stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

/** The function as a cold start loads it. */
const load = async () => (await import("../functions/publisher.ts")).handler;

it("publishes what is in the outbox when the queue or the schedule rings, and acknowledges", async () => {
  const handler = await load();
  const task = await Task.opened(world, 2);
  for (const event of [SQS, SCHEDULE, SQS]) {
    const id = await outbox.post(await task.message());
    expect(await handler(event, context)).toBeUndefined();
    expect(await outbox.state(id)).toMatchObject({ state: "settled" });
  }
  expect(stdout).not.toMatch(/"level":"(WARN|ERROR)"/);
});

it("empties an outbox that takes several transactions in one call, while its time lasts", async () => {
  const task = Task.draft(world, 2);
  await outbox.post(await task.sign(task.owner, task.open)); // what follows and doesn't fit beside it waits for it
  const payload = `0x${"00".repeat(4096)}` as const;
  for (let i = 0; i < 35; i++) await outbox.post(await task.message({ payload }));
  const handler = await load();
  await handler(SQS, { getRemainingTimeInMillis: () => 5_000 });
  expect(await outbox.pending()).not.toEqual([]);
  await handler(SQS, context);
  expect(await outbox.pending()).toEqual([]);
});

it("says which transaction carries a request's statement, when it settled, and in numbers what it did", async () => {
  const task = await Task.opened(world, 2);
  const requestId = "0123456789abcdef".repeat(2);
  const statement = await outbox.post(await task.message(), requestId);
  await (await load())(SQS, context);
  const { transaction, block } = (await outbox.state(statement)) as { transaction: string; block: number };
  const ours = { service: "publisher", level: "INFO", requestId, statement, transaction };
  expect(told().filter((line) => line.statement === statement)).toEqual([
    expect.objectContaining({ ...ours, message: "claimed", attempt: 0 }),
    expect.objectContaining({ ...ours, message: "settled", block }),
  ]);
  const [{ _aws: emf, ...values }] = told().filter((line) => "_aws" in line) as [Record<string, unknown>];
  expect(emf).toMatchObject({ CloudWatchMetrics: [{ Namespace: "Waybill", Dimensions: [["service"]] }] });
  const gas = Number((await world.provider.getTransactionReceipt(transaction))!.gasUsed);
  expect(values).toMatchObject({ service: "publisher", OutboxDepth: 0, StatementsSettled: 1, GasUsed: gas });
  expect(values.RelayerBalance).toBeCloseTo(10_000, 0);
});

it("acknowledges also when it can't work, says why to the operator, and tells no secret", async () => {
  vi.stubEnv("WAYBILL_RPC", "http://127.0.0.1:1/v2/sekrit-0a1b2c3d");
  expect(await (await load())(SQS, context)).toBeUndefined();
  expect(stdout).toContain("UNAVAILABLE");
  expect(stdout).not.toContain("sekrit");
});

it.each([
  ["WAYBILL_RELAYER_KEY", ""],
  ["WAYBILL_RELAYER_KEY", "sekrit"],
  ["WAYBILL_MAX_FEE_PER_GAS", "a lot"],
  ["WAYBILL_RPC", ""],
])("names %s and not its value when that is %j", async (name, value) => {
  vi.stubEnv(name, value);
  expect(await (await load())(SCHEDULE, context)).toBeUndefined();
  const [line, { PublisherFailures: failures }] = told() as [Record<string, unknown>, Record<string, unknown>];
  expect(line).toMatchObject({
    level: "ERROR",
    alarm: "MISCONFIGURED",
    code: "USAGE",
    detail: expect.stringContaining(name),
  });
  expect(failures).toBe(1);
  expect(stdout).not.toContain(value || KEY);
});
