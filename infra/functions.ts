import { PUBLISHER_TIMEOUT_S } from "./queue.ts";
import {
  type BucketRights,
  bucketRights,
  type FunctionName,
  functions,
  queueConsumer,
  relayerUse,
  ringers,
} from "./rights.ts";
import type { Stage } from "./stages.ts";

/** What the functions work with. */
export interface Surroundings {
  readonly stage: Stage;
  readonly bucket: sst.aws.Bucket;
  readonly bell: sst.aws.Queue;
  readonly relayerKey: aws.kms.Key;
  /** The API's public origin. */
  readonly origin: $util.Input<string>;
  readonly rpc: $util.Input<string>;
}

type Permission = sst.aws.FunctionPermissionArgs;
type Size = Required<Pick<sst.aws.FunctionArgs, "memory" | "timeout">>;

/**
 * Memory is processor time: at 512 MB a request's signature is checked and 64 URLs are signed in some 20 ms, and less would
 * be as dear for being slower. The publisher signs and reads thousands of objects; half a core more pays for itself.
 * An HTTP API waits for 30 s; a function that takes longer would work for nobody.
 */
const SIZES: Readonly<Record<FunctionName, Size>> = {
  uploads: { memory: "512 MB", timeout: "29 seconds" },
  downloads: { memory: "512 MB", timeout: "29 seconds" },
  tasks: { memory: "512 MB", timeout: "29 seconds" },
  publisher: { memory: "1024 MB", timeout: `${PUBLISHER_TIMEOUT_S} seconds` },
  sweeper: { memory: "512 MB", timeout: "10 minutes" },
};

/**
 * Split: what only some calls import (the pages for people, the SDK's search for credentials, which Lambda has in its
 * environment) lies in the zip and is not read by a cold start. Kept names would be a call for each function and class at import.
 * Source maps are made and stay out of the zip (docs/operate.md says how to read a frame).
 */
const BUNDLING: sst.aws.FunctionArgs["nodejs"] = {
  format: "esm",
  minify: true,
  splitting: true,
  esbuild: { keepNames: false },
};

/** A function with its log. */
export interface DeployedFunction {
  readonly lambda: sst.aws.Function;
  readonly logs: aws.cloudwatch.LogGroup;
}

/** All functions, each with a role of its own that can do what that function does and nothing else. */
export function createFunctions(around: Surroundings): Readonly<Record<FunctionName, DeployedFunction>> {
  const created = functions.map((name) => [name, createFunction(name, around)] as const);
  return Object.fromEntries(created) as Record<FunctionName, DeployedFunction>;
}

function createFunction(name: FunctionName, around: Surroundings): DeployedFunction {
  const { stage } = around;
  const logs = new aws.cloudwatch.LogGroup(`Logs-${name}`, {
    name: `/aws/lambda/${$app.name}-${stage.name}-${name}`,
    retentionInDays: stage.logDays,
  });
  const lambda = new sst.aws.Function(name[0]!.toUpperCase() + name.slice(1), {
    handler: `functions/${name}.handler`,
    description: `Waybill ${name} (${stage.name})`,
    runtime: "nodejs24.x",
    architecture: "arm64",
    ...SIZES[name],
    environment: environmentOf(name, around),
    permissions: [...permissionsOf(name, around), writing(logs)],
    logging: { format: "json", logGroup: logs.name },
    nodejs: BUNDLING,
    ...(name === "publisher" &&
      stage.publisherConcurrency !== undefined && { concurrency: { reserved: stage.publisherConcurrency } }),
    transform: { role: onlyLambda },
  });
  return { lambda, logs };
}

/**
 * SST lets the account's root take every function's role, which only `sst dev` needs, and gives each one the right to make
 * log groups anywhere. Neither is needed here.
 */
function onlyLambda(args: aws.iam.RoleArgs): undefined {
  args.managedPolicyArns = [];
  if (!$dev) args.assumeRolePolicy = aws.iam.assumeRolePolicyForPrincipal({ Service: "lambda.amazonaws.com" });
}

function environmentOf(name: FunctionName, around: Surroundings): Record<string, $util.Input<string>> {
  const { stage, bucket, bell, relayerKey, origin, rpc } = around;
  return {
    ...stage.environment,
    WAYBILL_API_ORIGIN: origin,
    WAYBILL_RPC: rpc,
    WAYBILL_BUCKET: bucket.name,
    POWERTOOLS_METRICS_NAMESPACE: stage.metrics,
    ...(ringers.includes(name) && { WAYBILL_QUEUE_URL: bell.url }),
    ...(name === "publisher" && { ...stage.publisherEnvironment, WAYBILL_RELAYER_KMS_KEY: relayerKey.arn }),
  };
}

function permissionsOf(name: FunctionName, { bucket, bell, relayerKey }: Surroundings): Permission[] {
  return [
    ...bucketPermissions(bucket, bucketRights[name]),
    ...(ringers.includes(name) ? [{ actions: ["sqs:SendMessage"], resources: [bell.arn] }] : []),
    ...(name === "publisher"
      ? [
          { actions: [...queueConsumer], resources: [bell.arn] },
          { actions: [...relayerUse], resources: [relayerKey.arn] },
        ]
      : []),
  ];
}

function bucketPermissions(bucket: sst.aws.Bucket, rights: BucketRights): Permission[] {
  return Object.entries(rights).map(([action, allowed]) => {
    if (allowed === "bucket") return { actions: [action], resources: [bucket.arn] };
    const keys = allowed.map((prefix) => `${prefix}/*`);
    if (action !== "s3:ListBucket")
      return { actions: [action], resources: keys.map((key) => $interpolate`${bucket.arn}/${key}`) };
    const conditions = [{ test: "StringLike", variable: "s3:prefix", values: keys }];
    return { actions: [action], resources: [bucket.arn], conditions };
  });
}

function writing(logs: aws.cloudwatch.LogGroup): Permission {
  return { actions: ["logs:CreateLogStream", "logs:PutLogEvents"], resources: [$interpolate`${logs.arn}:*`] };
}
