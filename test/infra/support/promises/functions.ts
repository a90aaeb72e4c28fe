import { expect } from "vitest";
import { capitalized, type Graph, REGION, RPC, settings } from "../graph.ts";
import type { Statement } from "../policy.ts";
import { inDev, inFull, inProduction, type Promised } from "./promise.ts";

export const NAMES = ["uploads", "downloads", "tasks", "publisher", "sweeper"] as const;
export type Name = (typeof NAMES)[number];

/** Design §6, written down a second time: the rights by function, action and what they are for. */
const RIGHTS: Readonly<Record<Name, Readonly<Record<string, string>>>> = {
  uploads: {
    "s3:GetObject": "payload/* transfer/* notice/* settled/* nonce/*",
    "s3:PutObject": "payload/* transfer/* notice/* outbox/* nonce/*",
    "s3:AbortMultipartUpload": "payload/*",
    "s3:ListMultipartUploadParts": "payload/*",
    "s3:ListBucket": "[payload/* transfer/* notice/* settled/* nonce/*]",
    "s3:ListBucketMultipartUploads": "[]",
    "sqs:SendMessage": "Bell",
  },
  downloads: {
    "s3:GetObject": "payload/* transfer/* notice/* nonce/*",
    "s3:PutObject": "nonce/* progress/*",
    "s3:ListBucket": "[payload/* transfer/* notice/* nonce/*]",
  },
  tasks: {
    "s3:GetObject": "transfer/* notice/* settled/* nonce/* progress/*",
    "s3:PutObject": "outbox/* nonce/*",
    "s3:ListBucket": "[transfer/* notice/* settled/* nonce/* progress/*]",
    "sqs:SendMessage": "Bell",
  },
  publisher: {
    "s3:GetObject": "outbox/* relay/*",
    "s3:PutObject": "relay/* settled/* refused/*",
    "s3:DeleteObject": "outbox/*",
    "s3:ListBucket": "[outbox/* relay/* refused/*]",
    "sqs:ReceiveMessage": "Bell",
    "sqs:DeleteMessage": "Bell",
    "sqs:GetQueueAttributes": "Bell",
    "kms:Sign": "RelayerKey",
    "kms:GetPublicKey": "RelayerKey",
  },
  sweeper: {
    "s3:GetObject": "transfer/* notice/*",
    "s3:PutObject": "transfer/*",
    "s3:DeleteObject": "payload/*",
    "s3:AbortMultipartUpload": "payload/*",
    "s3:ListMultipartUploadParts": "payload/*",
    "s3:ListBucket": "[payload/* transfer/* notice/*]",
    "s3:ListBucketMultipartUploads": "[]",
  },
};

/** A role's statements in the words of the table above; logs apart. */
export function rightsIn(graph: Graph, name: Name): Record<string, string> {
  const rights: Record<string, string> = {};
  for (const statement of graph.rightsOf(name))
    for (const action of statement.Action.filter((one) => !one.startsWith("logs:"))) {
      if (action in rights) throw new Error(`${name} has ${action} twice`);
      rights[action] = objectsOf(graph, statement);
    }
  return rights;
}

function objectsOf(graph: Graph, { Effect, Resource = [], Condition }: Statement): string {
  expect(Effect).toBe("Allow");
  const bucket = `arn:aws:s3:::${bucketName(graph)}`;
  const [only] = Resource;
  if (only === bucket && Resource.length === 1) {
    const prefixes = Condition.StringLike?.["s3:prefix"] ?? [];
    const conditions = prefixes.length > 0 ? { StringLike: { "s3:prefix": prefixes } } : {};
    expect(Condition).toEqual(conditions);
    return `[${prefixes.join(" ")}]`;
  }
  expect(Condition).toEqual({});
  return Resource.map((arn) => shortOf(graph, arn, bucket)).join(" ");
}

function shortOf(graph: Graph, arn: string, bucket: string): string {
  if (arn.startsWith(`${bucket}/`)) return arn.slice(bucket.length + 1);
  const mapping = graph.one("aws:lambda/eventSourceMapping:EventSourceMapping").inputs;
  if (arn === mapping.eventSourceArn) return "Bell";
  if (arn === graph.environmentOf("publisher").WAYBILL_RELAYER_KMS_KEY) return "RelayerKey";
  return arn;
}

function bucketName(graph: Graph): string {
  return String(graph.one("aws:s3/bucketPolicy:BucketPolicy").inputs.bucket);
}

/** What every function is told, whatever it does. */
const SHARED = {
  WAYBILL_CHAIN_ID: settings.WAYBILL_CHAIN_ID,
  WAYBILL_CONTRACT: settings.WAYBILL_CONTRACT,
  WAYBILL_FROM_BLOCK: settings.WAYBILL_FROM_BLOCK,
  WAYBILL_CONFIRMATIONS: settings.WAYBILL_CONFIRMATIONS,
  WAYBILL_BLOCK_TIME: settings.WAYBILL_BLOCK_TIME,
  WAYBILL_OWNERS: settings.WAYBILL_OWNERS,
  WAYBILL_RPC: RPC,
};

export const functionPromises: readonly Promised[] = [
  inProduction("there are five functions, on Node 24 and arm64, in no VPC and with no URL of their own", (graph) => {
    const names = graph.all("aws:lambda/function:Function").map(({ name }) => name);
    expect(names.sort()).toEqual(NAMES.map((name) => `${capitalized(name)}Function`).sort());
    for (const name of NAMES) {
      const { runtime, architectures, handler, packageType, vpcConfig } = graph.lambda(name);
      expect([runtime, architectures, handler]).toEqual(["nodejs24.x", ["arm64"], `functions/${name}.handler`]);
      expect([packageType, vpcConfig ?? null]).toEqual(["Zip", null]);
    }
    expect(graph.all("aws:lambda/functionUrl:FunctionUrl")).toEqual([]);
    const callers = graph.all("aws:lambda/permission:Permission").map(({ inputs }) => inputs.principal);
    expect(new Set(callers)).toEqual(new Set(["apigateway.amazonaws.com"]));
  }),
  inProduction(
    "each function has memory and time for what it does, and those behind the API end before it gives up",
    (graph) => {
      const sizes = Object.fromEntries(
        NAMES.map((name) => [name, [graph.lambda(name).memorySize, graph.lambda(name).timeout]]),
      );
      expect(sizes).toEqual({
        uploads: [512, 29],
        downloads: [512, 29],
        tasks: [512, 29],
        publisher: [1024, 120],
        sweeper: [512, 600],
      });
    },
  ),
  ...NAMES.map((name) =>
    inProduction(`${name} has exactly its rights`, (graph) => {
      expect(rightsIn(graph, name)).toEqual(RIGHTS[name]);
    }),
  ),
  inProduction("no right names every action or every resource", (graph) => {
    const documents = graph
      .all("aws:iam/role:Role")
      .flatMap(({ inputs }) => (inputs.inlinePolicies ?? []) as { policy: string }[]);
    expect(documents.length).toBeGreaterThan(NAMES.length);
    for (const { policy } of documents)
      for (const { Action, Resource } of JSON.parse(policy).Statement as { Action: string[]; Resource: string[] }[]) {
        expect([Action].flat().filter((action) => action.includes("*"))).toEqual([]);
        expect([Resource].flat().filter((resource) => /^\*|^arn:aws:s3:::[^/]*\/?\*/.test(resource))).toEqual([]);
      }
  }),
  inProduction(
    "each role is one function's alone: only Lambda takes it, and it has no policy from elsewhere",
    (graph) => {
      const roles = NAMES.map((name) => graph.one("aws:iam/role:Role", `${capitalized(name)}Role`).inputs);
      for (const { assumeRolePolicy, managedPolicyArns } of roles) {
        const document = typeof assumeRolePolicy === "string" ? JSON.parse(assumeRolePolicy) : assumeRolePolicy;
        const principals = document.Statement.map(({ Principal }: { Principal: unknown }) => Principal);
        expect(principals).toHaveLength(1);
        expect(JSON.stringify(principals)).toMatch(/^\[\{"Service":\[?"lambda\.amazonaws\.com"\]?\}\]$/);
        expect(managedPolicyArns ?? []).toEqual([]);
      }
      expect(new Set(NAMES.map((name) => graph.lambda(name).role)).size).toBe(NAMES.length);
      expect(graph.all("aws:iam/rolePolicyAttachment:RolePolicyAttachment")).toEqual([]);
    },
  ),
  inProduction("each function writes its own log, as JSON, and no other", (graph) => {
    for (const name of NAMES) {
      const logs = graph.one("aws:cloudwatch/logGroup:LogGroup", `Logs-${name}`).inputs;
      expect(graph.lambda(name).loggingConfig).toEqual({ logFormat: "JSON", logGroup: logs.name });
      const writing = graph.rightsOf(name).filter(({ Action }) => Action.some((action) => action.startsWith("logs:")));
      expect(writing).toEqual([
        {
          Effect: "Allow",
          Action: ["logs:CreateLogStream", "logs:PutLogEvents"],
          Resource: [`arn:aws:logs:${REGION}:123456789012:log-group:${logs.name}:*`],
          Condition: {},
        },
      ]);
    }
  }),
  inProduction("logs are kept for thirty days, and none for ever", (graph) => {
    const groups = graph.all("aws:cloudwatch/logGroup:LogGroup");
    expect(groups).toHaveLength(NAMES.length + 1);
    for (const { inputs } of groups) expect(inputs.retentionInDays).toBe(30);
  }),
  inFull("logs are kept as long as is configured", (graph) => {
    for (const { inputs } of graph.all("aws:cloudwatch/logGroup:LogGroup")) expect(inputs.retentionInDays).toBe(90);
  }),
  inProduction("the functions are told all that they read, and no function more than its own", (graph) => {
    const api = graph.outputs.api;
    for (const name of NAMES) {
      const told = Object.entries(graph.environmentOf(name)).filter(([key]) => key.startsWith("WAYBILL_"));
      const { WAYBILL_QUEUE_URL, WAYBILL_RELAYER_KMS_KEY, WAYBILL_MAX_FEE_PER_GAS, ...shared } =
        Object.fromEntries(told);
      expect(shared).toEqual({ ...SHARED, WAYBILL_API_ORIGIN: api, WAYBILL_BUCKET: bucketName(graph) });
      expect([name, WAYBILL_QUEUE_URL !== undefined]).toEqual([name, name === "uploads" || name === "tasks"]);
      expect([name, WAYBILL_RELAYER_KMS_KEY !== undefined]).toEqual([name, name === "publisher"]);
      expect([name, WAYBILL_MAX_FEE_PER_GAS]).toEqual([name, name === "publisher" ? "2000000000" : undefined]);
    }
  }),
  inFull("caps, retention and fees come from the stage's settings", (graph) => {
    for (const name of NAMES)
      expect(graph.environmentOf(name)).toMatchObject({
        WAYBILL_API_ORIGIN: "https://api.example.org",
        WAYBILL_MAX_BLOCK_AGE: "60000",
        WAYBILL_RETENTION: "3600000",
        WAYBILL_MAX_PAYLOAD: "1000000",
        WAYBILL_MAX_OPEN_UPLOADS: "7",
        WAYBILL_MAX_REQUESTS: "8",
        WAYBILL_MAX_STATEMENTS: "9",
      });
    expect(graph.environmentOf("publisher")).toMatchObject({ WAYBILL_MAX_FEE_PER_GAS: "0", WAYBILL_FEES: "legacy" });
  }),
  inProduction(
    "the nodes' URLs are secret wherever they are, and are nowhere but in the functions' environment",
    (graph) => {
      const held = graph.resources.filter(({ inputs }) => JSON.stringify(inputs).includes("KEY-OF-THE-NODE"));
      for (const { secrets } of held) expect(secrets.length).toBeGreaterThan(0);
      const holders = held.filter(({ type }) => type.startsWith("aws:")); // SST's own are in its state alone, encrypted
      expect(holders.map(({ name }) => name).sort()).toEqual(
        NAMES.map((name) => `${capitalized(name)}Function`).sort(),
      );
      for (const { secrets } of holders) expect(secrets.every((path) => path.startsWith("environment"))).toBe(true);
      expect(JSON.stringify(graph.outputs)).not.toContain("KEY-OF-THE-NODE");
    },
  ),
  inDev("the metrics of two stages in one account are told apart", (graph) => {
    for (const name of NAMES) expect(graph.environmentOf(name).POWERTOOLS_METRICS_NAMESPACE).toBe("Waybill-alice");
  }),
  inProduction("no concurrency is reserved unless it is asked for: a young account has little", (graph) => {
    for (const name of NAMES) expect(graph.lambda(name).reservedConcurrentExecutions ?? null).toBeNull();
  }),
  inFull("concurrency is reserved for the publisher alone", (graph) => {
    const reserved = NAMES.map((name) => graph.lambda(name).reservedConcurrentExecutions ?? null);
    expect(reserved).toEqual([null, null, null, 1, null]);
  }),
  inProduction("nothing is there that costs money by the hour, or that nobody expects", (graph) => {
    const ours = new Set(graph.resources.map(({ type }) => type).filter((type) => type.startsWith("aws:")));
    expect([...ours].sort()).toEqual(EXPECTED_TYPES);
  }),
];

const EXPECTED_TYPES = [
  "aws:apigatewayv2/api:Api",
  "aws:apigatewayv2/integration:Integration",
  "aws:apigatewayv2/route:Route",
  "aws:apigatewayv2/stage:Stage",
  "aws:budgets/budget:Budget",
  "aws:cloudwatch/logGroup:LogGroup",
  "aws:cloudwatch/logMetricFilter:LogMetricFilter",
  "aws:cloudwatch/metricAlarm:MetricAlarm",
  "aws:iam/role:Role",
  "aws:kms/alias:Alias",
  "aws:kms/key:Key",
  "aws:kms/keyPolicy:KeyPolicy",
  "aws:lambda/eventSourceMapping:EventSourceMapping",
  "aws:lambda/function:Function",
  "aws:lambda/permission:Permission",
  "aws:s3/bucket:Bucket",
  "aws:s3/bucketCorsConfiguration:BucketCorsConfiguration",
  "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
  "aws:s3/bucketObjectv2:BucketObjectv2",
  "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
  "aws:s3/bucketPolicy:BucketPolicy",
  "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
  "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
  "aws:scheduler/schedule:Schedule",
  "aws:sns/topic:Topic",
  "aws:sns/topicPolicy:TopicPolicy",
  "aws:sns/topicSubscription:TopicSubscription",
  "aws:sqs/queue:Queue",
];
