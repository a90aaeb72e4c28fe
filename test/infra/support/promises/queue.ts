import { expect } from "vitest";
import type { JsonObject } from "../evaluate/order.ts";
import type { Graph } from "../graph.ts";
import { decide, type Statement, statementsOf } from "../policy.ts";
import { inDev, inFull, inProduction, type Promised } from "./promise.ts";

const DAY_S = 86_400;
const bell = (graph: Graph): JsonObject => graph.one("aws:sqs/queue:Queue", "BellQueue").inputs;
const dead = (graph: Graph): JsonObject => graph.one("aws:sqs/queue:Queue", "BellDeadQueue").inputs;
const redrive = (graph: Graph) =>
  JSON.parse(String(bell(graph).redrivePolicy)) as { deadLetterTargetArn: string; maxReceiveCount: number };

/** A schedule with its target's function, and what its role lets it do. */
function clock(graph: Graph, name: string): JsonObject {
  const { scheduleExpression, state, target } = graph.one("aws:scheduler/schedule:Schedule", `${name}Schedule`).inputs;
  const { arn, roleArn, retryPolicy } = target as { arn: string; roleArn: string; retryPolicy: JsonObject };
  const role = graph.one("aws:iam/role:Role", `${name}Role`);
  expect(roleArn).toContain(role.name);
  const [{ policy }] = role.inputs.inlinePolicies as unknown as [{ policy: string }];
  const statements = statementsOf(policy);
  expect(statements).toHaveLength(1);
  expect(decide(statements, { action: "lambda:InvokeFunction", resource: arn })).toBe("allowed");
  expect(statements[0]!.Resource).toEqual([arn]);
  return { scheduleExpression: scheduleExpression!, state: state!, arn, retries: retryPolicy.maximumRetryAttempts! };
}

function keyPolicy(graph: Graph, name: string): Statement[] {
  const { policy } = graph.one("aws:kms/keyPolicy:KeyPolicy", name).inputs;
  const statements = statementsOf(String(policy));
  for (const { Effect, Resource } of statements) expect([Effect, Resource]).toEqual(["Allow", ["*"]]); // "*": this key
  return statements;
}

export const queuePromises: readonly Promised[] = [
  inProduction("the door bell and where its lost rings go are first-in-first-out queues, encrypted", (graph) => {
    expect(graph.all("aws:sqs/queue:Queue")).toHaveLength(2);
    for (const queue of [bell(graph), dead(graph)])
      expect(queue).toMatchObject({ fifoQueue: true, contentBasedDeduplication: false, sqsManagedSseEnabled: true });
  }),
  inProduction("a ring that nobody takes five times is kept for two weeks, and does not expire before", (graph) => {
    const { deadLetterTargetArn, maxReceiveCount } = redrive(graph);
    expect(deadLetterTargetArn).toContain("BellDead");
    expect(maxReceiveCount).toBe(5);
    expect(dead(graph).messageRetentionSeconds).toBe(14 * DAY_S);
    const retention = Number(bell(graph).messageRetentionSeconds);
    expect(retention).toBeGreaterThan(2 * maxReceiveCount * Number(bell(graph).visibilityTimeoutSeconds));
  }),
  inProduction("a ring is out of sight for six times as long as the publisher may take", (graph) => {
    const timeout = Number(graph.lambda("publisher").timeout);
    expect(bell(graph).visibilityTimeoutSeconds).toBe(6 * timeout);
  }),
  inProduction("rings wake the publisher, ten at a time, and at least two of it as Lambda demands", (graph) => {
    const { inputs } = graph.one("aws:lambda/eventSourceMapping:EventSourceMapping");
    expect(inputs).toMatchObject({ batchSize: 10, scalingConfig: { maximumConcurrency: 2 } });
    expect(inputs.functionName).toContain("-PublisherFunction-");
    expect(inputs.eventSourceArn).not.toBe(redrive(graph).deadLetterTargetArn);
    const [queueUrl] = [graph.environmentOf("uploads").WAYBILL_QUEUE_URL!];
    expect(queueUrl.split("/").at(-1)).toBe(String(inputs.eventSourceArn).split(":").at(-1));
  }),
  inProduction("the clock wakes the publisher every minute, whatever rings", (graph) => {
    expect(clock(graph, "PublisherClock")).toEqual({
      scheduleExpression: "rate(1 minute)",
      state: "ENABLED",
      arn: expect.stringContaining("-PublisherFunction-"),
      retries: 0,
    });
  }),
  inProduction("the clock wakes the sweeper every hour", (graph) => {
    expect(clock(graph, "SweeperClock")).toEqual({
      scheduleExpression: "rate(1 hour)",
      state: "ENABLED",
      arn: expect.stringContaining("-SweeperFunction-"),
      retries: 0,
    });
  }),
  inProduction("the relayer's key is a secp256k1 key for signing, which outlives production", (graph) => {
    const { inputs, retainOnDelete, name } = graph.one("aws:kms/key:Key");
    expect(inputs).toMatchObject({
      customerMasterKeySpec: "ECC_SECG_P256K1",
      keyUsage: "SIGN_VERIFY",
      deletionWindowInDays: 30,
    });
    expect([name, retainOnDelete]).toEqual(["RelayerKey1", true]);
  }),
  inProduction("only the publisher's role signs with the key in use: administrators rule it and can't", (graph) => {
    const may = (action: string, role: string) =>
      decide(keyPolicy(graph, "RelayerPolicy1"), { action, resource: "*", context: { "aws:PrincipalArn": role } });
    const publisher = String(graph.lambda("publisher").role);
    for (const action of ["kms:Sign", "kms:GetPublicKey"])
      expect([action, may(action, publisher)]).toEqual([action, "allowed"]);
    const others = [graph.lambda("tasks").role, "arn:aws:iam::123456789012:user/operator", `${publisher}x`].map(String);
    for (const role of others) {
      expect(may("kms:Sign", role)).not.toBe("allowed");
      expect(may("kms:CreateGrant", role)).not.toBe("allowed");
      expect(may("kms:GetPublicKey", role)).toBe("allowed");
    }
    for (const action of ["kms:PutKeyPolicy", "kms:DescribeKey", "kms:ScheduleKeyDeletion"])
      expect(may(action, "arn:aws:iam::123456789012:user/operator")).toBe("allowed");
  }),
  inDev("another stage's key has an alias of its own", (graph) => {
    expect(graph.input("aws:kms/alias:Alias", undefined, "name")).toBe("alias/waybill-alice-relayer");
  }),
  inFull("the key has an alias, and a further generation is another key under the same alias", (graph) => {
    const keys = graph.all("aws:kms/key:Key").map(({ name }) => name);
    expect(keys).toEqual(["RelayerKey1", "RelayerKey2"]); // the former one stays: there may be money on it
    const alias = graph.one("aws:kms/alias:Alias").inputs;
    expect(alias.name).toBe("alias/waybill-production-relayer");
    expect(graph.environmentOf("publisher").WAYBILL_RELAYER_KMS_KEY).toContain(String(alias.targetKeyId));
    expect(alias.targetKeyId).toMatch(/^RelayerKey2-/);
  }),
  inFull("a former key is the administrators' again, who send away what is left on it", (graph) => {
    const operator = { "aws:PrincipalArn": "arn:aws:iam::123456789012:user/operator" };
    const sign = (name: string) =>
      decide(keyPolicy(graph, name), { action: "kms:Sign", resource: "*", context: operator });
    expect([sign("RelayerPolicy1"), sign("RelayerPolicy2") === "allowed"]).toEqual(["allowed", false]);
    const { keyId } = graph.one("aws:kms/keyPolicy:KeyPolicy", "RelayerPolicy1").inputs;
    expect(keyId).toMatch(/^RelayerKey1-/);
  }),
];
