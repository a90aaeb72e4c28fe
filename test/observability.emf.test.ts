import { randomBytes } from "node:crypto";
import { Wallet } from "ethers";
import { afterAll, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { METRICS, type MetricName } from "../functions/metric-names.ts";
import { transferId } from "../lib/protocol/manifest.ts";
import { ApiWorld, type Caller, expectStatus, payloadOf } from "./support/api.ts";
import { addressOf, type Task } from "./support/contract.ts";
import { throughLambda } from "./support/drives.ts";

// What the functions write on Lambda: CloudWatch's embedded metric format, beside their log, on stdout.

interface Emf {
  readonly _aws: {
    readonly Timestamp: number;
    readonly CloudWatchMetrics: readonly [
      { Namespace: string; Dimensions: string[][]; Metrics: { Name: MetricName; Unit: string }[] },
    ];
  };
  readonly [name: string]: unknown;
}

let api: ApiWorld;
let task: Task;
let sender: Caller;
let stdout = "";

beforeAll(async () => {
  api = await ApiWorld.start();
  task = await api.task(2);
  sender = api.caller(task.members[0]!);
  api.drive = throughLambda;
  const { config } = api.deps;
  const env = {
    WAYBILL_API_ORIGIN: config.apiOrigin,
    WAYBILL_CHAIN_ID: String(config.chainId),
    WAYBILL_CONTRACT: config.contract,
    WAYBILL_RPC: String(config.rpc),
    WAYBILL_CONFIRMATIONS: "0",
    WAYBILL_BLOCK_TIME: "1000",
    WAYBILL_OWNERS: addressOf(task.owner),
    WAYBILL_BUCKET: config.bucket,
    WAYBILL_S3_ENDPOINT: api.s3.endpoint,
    AWS_REGION: config.region,
    AWS_ACCESS_KEY_ID: api.s3.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: api.s3.credentials.secretAccessKey,
  };
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    stdout += String(text);
    return true;
  });
});
afterAll(async () => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  await api?.stop();
});
beforeEach(() => {
  stdout = "";
});

function written(): Emf[] {
  const lines = stdout.split("\n").filter((line) => line.startsWith('{"_aws"'));
  return lines.map((line) => JSON.parse(line) as Emf);
}

it("a transfer is counted when its call ends, in the namespace, dimension and units of the table", async () => {
  const { partSize, contentType } = await sender.begin(task, "emf", 1000);
  const payload = payloadOf("emf", randomBytes(1000), partSize, contentType);
  expect(written()).toEqual([]); // it asked for no URLs
  await sender.putParts(task, payload);
  expectStatus(await sender.finish(task, payload.transfer, { manifest: payload.text, notices: [] }), 200);
  const [signed, finished] = written();
  expect(signed).toMatchObject({ service: "uploads", SignCalls: 1, PartUrls: 1 });
  expect(finished).toMatchObject({ service: "uploads", Transfers: 1, TransferBytes: 1000 });
  for (const { _aws: emf } of [signed!, finished!]) {
    const [{ Namespace, Dimensions, Metrics }] = emf.CloudWatchMetrics;
    expect([Namespace, Dimensions]).toEqual(["Waybill", [["service"]]]);
    expect(Math.abs(emf.Timestamp - Date.now())).toBeLessThan(60_000);
    for (const { Name, Unit } of Metrics) expect(Unit).toBe(METRICS[Name].unit);
  }
});

it("a refusal is counted by its code, in a line of its own", async () => {
  const stranger = api.caller(new Wallet(Wallet.createRandom().privateKey));
  expect((await stranger.get(`/v1/tasks/${task.id}`)).status).toBe(403);
  const [refusal, ...others] = written();
  expect(others).toEqual([]);
  expect(refusal).toMatchObject({ service: "tasks", code: "NOT_MEMBER", Refusals: 1 });
  expect(refusal!._aws.CloudWatchMetrics[0].Dimensions).toEqual([["service", "code"]]);
});

it("the log stands beside it, a line per request", async () => {
  const body = { transfer: transferId("emf"), size: 1000 };
  const answer = await sender.post(sender.transfers(task), body);
  const lines = stdout.split("\n").filter((line) => line.startsWith('{"time"'));
  expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
    { service: "uploads", message: "request", status: 200, requestId: answer.headers.get("x-request-id") },
  ]);
});

it("a function that isn't told what it needs raises an alarm that names it, and no value", async () => {
  vi.resetModules();
  vi.stubEnv("WAYBILL_RPC", "sekrit");
  const { handler } = await import("../functions/tasks.ts");
  await expect((async () => handler({} as never, {} as never))()).rejects.toThrow("WAYBILL_RPC");
  expect(JSON.parse(stdout) as unknown).toMatchObject({ level: "ERROR", alarm: "MISCONFIGURED", code: "USAGE" });
  expect(stdout).not.toContain("sekrit");
});
