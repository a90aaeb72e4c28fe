import * as z from "zod/mini";
import type { Deployed } from "./deployed.ts";

// What the stand-ins need to know of deployed resources. A resource that says otherwise is one that they can't play.

const text = z.string();
const whole = z.number();
const list = z._default(z.array(text), []);

/** A document, which AWS's provider takes as text or as what the text says. */
const document = z.pipe(
  z.unknown(),
  z.transform((given) => (typeof given === "string" ? given : JSON.stringify(given))),
);

const lambda = z.object({
  /** "UploadsFunction" */
  resource: text,
  ...{ arn: text, name: text, handler: text, role: text, s3Bucket: text, s3Key: text },
  runtime: z.literal("nodejs24.x"),
  ...{ timeout: whole, memorySize: whole },
  reservedConcurrentExecutions: z.optional(whole),
  loggingConfig: z.object({ logFormat: text, logGroup: text }),
  environment: z.object({ variables: z.record(text, text) }),
});
const role = z.object({
  ...{ arn: text, name: text, assumeRolePolicy: document },
  inlinePolicies: z.array(z.object({ policy: document })),
});
const queue = z.object({
  ...{ arn: text, url: text, name: text },
  fifoQueue: z.literal(true),
  visibilityTimeoutSeconds: z._default(whole, 30),
  messageRetentionSeconds: z._default(whole, 4 * 24 * 3600),
  contentBasedDeduplication: z._default(z.boolean(), false),
  redrivePolicy: z.optional(document),
});
const mapping = z.object({
  ...{ eventSourceArn: text, functionName: text },
  batchSize: z._default(whole, 10),
  functionResponseTypes: list,
  scalingConfig: z.optional(z.object({ maximumConcurrency: whole })),
});
const api = z.object({
  ...{ id: text, executionArn: text },
  corsConfiguration: z.optional(
    z.object({
      ...{ allowOrigins: list, allowMethods: list, allowHeaders: list, exposeHeaders: list },
      maxAge: z._default(whole, 0),
    }),
  ),
});
const integration = z.object({
  ...{ id: text, integrationUri: text },
  payloadFormatVersion: z.literal("2.0"),
  timeoutMilliseconds: z._default(whole, 30_000),
});
const schedule = z.object({
  ...{ arn: text, scheduleExpression: text },
  state: z._default(text, "ENABLED"),
  target: z.object({ arn: text, roleArn: text, input: z.optional(text) }),
});
const redrive = z.object({ deadLetterTargetArn: text, maxReceiveCount: whole });

export type LambdaShape = z.output<typeof lambda>;
export type RoleShape = z.output<typeof role>;
export type QueueShape = z.output<typeof queue>;
export type ScheduleShape = z.output<typeof schedule>;

/** A deployment's resources, as far as they are played. */
export interface Shapes {
  readonly lambdas: readonly LambdaShape[];
  readonly roles: readonly RoleShape[];
  readonly queues: readonly QueueShape[];
  readonly mappings: readonly z.output<typeof mapping>[];
  readonly api: z.output<typeof api>;
  readonly integrations: readonly z.output<typeof integration>[];
  readonly routes: readonly { readonly routeKey: string; readonly target: string }[];
  readonly permissions: readonly {
    readonly function: string;
    readonly principal: string;
    readonly sourceArn: string;
  }[];
  readonly schedules: readonly ScheduleShape[];
  readonly bucket: { readonly name: string; readonly policy: string; readonly origins: readonly string[] };
  readonly key: { readonly id: string; readonly arn: string; readonly alias: string; readonly policy: string };
}

export function shapesIn(graph: Deployed): Shapes {
  const only = <T>(found: readonly T[]): T => {
    if (found.length !== 1) throw new Error(`there are ${found.length} of what there should be one of`);
    return found[0]!;
  };
  const { bucket: name } = only(graph.read("aws:s3/bucket:Bucket", z.object({ bucket: text })));
  const { policy } = only(graph.read("aws:s3/bucketPolicy:BucketPolicy", z.object({ policy: text })));
  const alias = only(graph.read("aws:kms/alias:Alias", z.object({ name: text })));
  const rules = z.object({ corsRules: z.array(z.object({ allowedOrigins: z.array(text) })) });
  const cors = graph.resources.filter(({ type }) => type.startsWith("aws:s3/bucketCorsConfiguration"));
  return {
    lambdas: graph.read("aws:lambda/function:Function", lambda),
    roles: graph.read("aws:iam/role:Role", role),
    queues: graph.read("aws:sqs/queue:Queue", queue),
    mappings: graph.read("aws:lambda/eventSourceMapping:EventSourceMapping", mapping),
    api: only(graph.read("aws:apigatewayv2/api:Api", api)),
    integrations: graph.read("aws:apigatewayv2/integration:Integration", integration),
    routes: graph.read("aws:apigatewayv2/route:Route", z.object({ routeKey: text, target: text })),
    permissions: graph.read(
      "aws:lambda/permission:Permission",
      z.object({ function: text, principal: text, sourceArn: text }),
    ),
    schedules: graph.read("aws:scheduler/schedule:Schedule", schedule),
    bucket: {
      name,
      policy,
      origins: cors.flatMap(({ outputs }) => rules.parse(outputs).corsRules.flatMap((rule) => rule.allowedOrigins)),
    },
    key: {
      ...only(graph.read("aws:kms/key:Key", z.object({ id: text, arn: text }))),
      ...only(graph.read("aws:kms/keyPolicy:KeyPolicy", z.object({ policy: text }))),
      alias: alias.name,
    },
  };
}

/** What a queue does with a message that nobody can work at. */
export function redriveOf({ redrivePolicy }: QueueShape): z.output<typeof redrive> | undefined {
  return redrivePolicy === undefined ? undefined : redrive.parse(JSON.parse(redrivePolicy));
}
