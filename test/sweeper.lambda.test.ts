import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { payloadKey } from "../functions/keys.ts";
import { Records } from "../functions/records.ts";
import { transferId } from "../lib/protocol/manifest.ts";
import { ApiWorld, type Caller } from "./support/api.ts";
import type { Task } from "./support/contract.ts";

// The sweeper as the schedule calls it.

const SCHEDULE = { "detail-type": "Scheduled Event", source: "aws.scheduler", detail: {} };
const context = { getRemainingTimeInMillis: () => 600_000 };

let api: ApiWorld;
let task: Task;
let sender: Caller;
let stdout: string;

beforeAll(async () => {
  api = await ApiWorld.start();
  task = await api.task(2);
  sender = api.caller(task.members[0]!);
});
afterAll(() => api?.stop());
beforeEach(() => {
  vi.resetModules();
  stdout = "";
  const write = (text: unknown) => {
    stdout += String(text);
    return true;
  };
  vi.spyOn(process.stdout, "write").mockImplementation(write);
  vi.spyOn(console, "log").mockImplementation((text: unknown) => void write(`${String(text)}\n`));
  const { s3, world } = api;
  const env = {
    AWS_ACCESS_KEY_ID: s3.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: s3.credentials.secretAccessKey,
    AWS_REGION: s3.region,
    WAYBILL_S3_ENDPOINT: s3.endpoint,
    WAYBILL_BUCKET: s3.bucket,
    WAYBILL_API_ORIGIN: "https://waybill.example.org",
    WAYBILL_CHAIN_ID: String(world.domain.chainId),
    WAYBILL_CONTRACT: world.domain.contract,
    WAYBILL_RPC: world.rpc,
    WAYBILL_CONFIRMATIONS: "0",
    WAYBILL_BLOCK_TIME: "1000",
    WAYBILL_OWNERS: `0x${"01".repeat(20)}`,
    WAYBILL_RETENTION: "0",
  };
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

/** The function as a cold start loads it. */
const load = async () => (await import("../functions/sweeper.ts")).handler;
const lines = () =>
  stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

it("sweeps what is due when the schedule calls, answers its report, and tells it in a line and in metrics", async () => {
  const ref = { task: task.id, sender: sender.account, transfer: transferId("due") };
  await sender.stored(task, "due", randomBytes(20));
  await sender.stored(task, "fresh", randomBytes(30));
  const records = new Records(api.deps.store);
  const { record, etag } = (await records.read(ref))!;
  await records.replace(ref, etag, { ...record, state: "swept" }); // by a run that was killed
  const report = await (await load())(SCHEDULE, context);
  expect(report).toMatchObject({ swept: { payloads: 1, bytes: 20 }, left: { kept: 1 }, fault: null, next: null });
  expect(await api.deps.store.head(payloadKey(ref))).toBeNull();
  expect(lines()).toContainEqual(expect.objectContaining({ level: "INFO", service: "sweeper", count: 1, bytes: 20 }));
  expect(lines()).toContainEqual(
    expect.objectContaining({ service: "sweeper", SweptPayloads: 1, SweptBytes: 20, Sweeps: 1 }),
  );
});

it("stops in good time when there is little, and goes on where it stopped", async () => {
  await sender.stored(task, "little-time", randomBytes(20));
  const handler = await load();
  const times = [1_000, 1_000, 400];
  const report = await handler(SCHEDULE, { getRemainingTimeInMillis: () => times.shift() ?? 0 });
  expect(report.next).not.toBeNull();
  expect(await handler(SCHEDULE, context)).toMatchObject({ next: null });
});

it.each([
  ["WAYBILL_RPC", ""],
  ["WAYBILL_RETENTION", "a day, sekrit"],
])("names %s and not its value when that is %j, and fails, so that its operator sees it", async (name, value) => {
  vi.stubEnv(name, value);
  const handler = await load();
  await expect(handler(SCHEDULE, context)).rejects.toMatchObject({ code: "USAGE" });
  expect(stdout).toContain(name);
  expect(stdout).not.toContain("sekrit");
});
