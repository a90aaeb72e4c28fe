import type { Credentials } from "../../../local/store/auth.ts";
import type { RequestLog } from "../../../local/store/server.ts";
import type { KmsKey } from "../../support/kms.ts";
import type { SstHome } from "./aws/home.ts";
import { Kms } from "./aws/kms.ts";
import { FifoQueue } from "./aws/queue.ts";
import { type AwsAnswer, type AwsCall, AwsError, type AwsStandIn, inputOf, json } from "./aws/server.ts";
import { GuardedBucket } from "./bucket.ts";
import { QueueConsumer } from "./lambda/consumer.ts";
import { scheduleEvent } from "./lambda/events.ts";
import type { DeployedFunction } from "./lambda/function.ts";
import type { Gateway, GatewayRoute } from "./lambda/gateway.ts";
import { statementsOf } from "./policy.ts";
import { type Account, OPERATOR_KEY } from "./project.ts";
import { type Role, Roles } from "./roles.ts";
import { Sandboxes } from "./sandboxes.ts";
import { type QueueShape, redriveOf, type Shapes } from "./shapes.ts";

export interface CloudOptions {
  readonly shapes: Shapes;
  readonly account: Account;
  /** Where the zips are. */
  readonly home: SstHome;
  readonly aws: AwsStandIn;
  readonly gateway: Gateway;
  /** What is behind the deployed KMS key. */
  readonly relayer: KmsKey;
  /** Whoever deployed, with the rights that docs/operate.md asks for. */
  readonly operator: Role;
  readonly node: string;
  readonly onStoreRequest?: (entry: RequestLog) => void;
}

/** Runs what a deploy made: each zip in its sandboxes, behind the API, the queue and the schedules that lead to it. */
export class Cloud {
  readonly bucket: GuardedBucket;
  readonly kms: Kms;
  readonly queues: ReadonlyMap<string, FifoQueue>;
  readonly consumers: readonly QueueConsumer[];
  /** Every line that a function wrote. */
  readonly lines: string[];
  /** What a role wanted and was not allowed. */
  readonly denials: string[];
  readonly #options: CloudOptions;
  readonly #roles: Roles;
  readonly #sandboxes: Sandboxes;

  private constructor(
    options: CloudOptions,
    parts: { roles: Roles; bucket: GuardedBucket; sandboxes: Sandboxes; lines: string[]; denials: string[] },
  ) {
    const { shapes, relayer, gateway, aws } = options;
    this.#options = options;
    this.#roles = parts.roles;
    this.#sandboxes = parts.sandboxes;
    this.bucket = parts.bucket;
    this.lines = parts.lines;
    this.denials = parts.denials;
    this.kms = new Kms(relayer, shapes.key);
    this.queues = queuesOf(shapes.queues);
    this.consumers = shapes.mappings.map((mapping) => this.#consumer(mapping));
    gateway.mount({
      id: shapes.api.id,
      account: options.account.id,
      routes: this.#routes(),
      cors: shapes.api.corsConfiguration,
    });
    aws.add("kms", (call) => {
      const action = `kms:${call.operation}`;
      return this.#authorized(
        call,
        action,
        this.kms.arn,
        () => this.kms.answer(call),
        (role) => this.kms.lets(role, action),
      );
    });
    aws.add("sqs", (call) => this.#send(call));
  }

  static async start(options: CloudOptions): Promise<Cloud> {
    const { shapes, account, home, aws, node, onStoreRequest } = options;
    const [roles, lines, denials] = [new Roles(shapes.roles), [] as string[], [] as string[]];
    const bucket = await GuardedBucket.start({
      name: shapes.bucket.name,
      region: account.region,
      policy: statementsOf(shapes.bucket.policy),
      principals: roles.all,
      corsOrigins: shapes.bucket.origins,
      onDenied: (denial) => void denials.push(denial),
      ...(onStoreRequest && { onRequest: onStoreRequest }),
    });
    const endpoints = { AWS_ENDPOINT_URL: aws.endpoint, WAYBILL_S3_ENDPOINT: bucket.endpoint };
    const onLine = (line: string): void => void lines.push(line);
    const places = { home, roles, region: account.region, node, endpoints, onLine };
    const sandboxes = await Sandboxes.of(shapes.lambdas, places);
    return new Cloud(options, { roles, bucket, sandboxes, lines, denials });
  }

  /** By its name, as "uploads". */
  function(name: string): DeployedFunction {
    const found = this.#sandboxes.functions.get(name);
    if (!found) throw new Error(`there is no function ${name}`);
    return found;
  }

  /** The role of a function. */
  role(name: string): Role {
    const { arn } = this.function(name);
    const { role } = this.#options.shapes.lambdas.find((one) => one.arn === arn)!;
    return this.#roles.for(role, "lambda.amazonaws.com");
  }

  /** What a function signs its requests with. */
  credentials(name: string): Credentials {
    return this.role(name).credentials;
  }

  /** The queue that wakes a function, and the one for what it could not do. */
  queue(name: string): { readonly bell: FifoQueue; readonly dead: FifoQueue; readonly consumer: QueueConsumer } {
    const at = this.#options.shapes.mappings.findIndex(({ functionName }) => functionName === this.function(name).arn);
    const bell = this.queues.get(this.#options.shapes.mappings[at]?.eventSourceArn ?? "");
    if (!bell?.settings.deadLetters) throw new Error(`no queue with dead letters wakes ${name}`);
    return { bell, dead: bell.settings.deadLetters.queue, consumer: this.consumers[at]! };
  }

  /** A function's schedule comes round. */
  async tick(name: string): Promise<unknown> {
    const target = this.function(name);
    const found = this.#options.shapes.schedules.filter((one) => one.target.arn === target.arn);
    const [schedule, ...more] = found;
    if (!schedule || more.length > 0 || schedule.state !== "ENABLED") throw new Error(`${name} has no one schedule`);
    const role = this.#roles.for(schedule.target.roleArn, "scheduler.amazonaws.com");
    if (!role.may("lambda:InvokeFunction", target.arn)) throw new Error(`${role.name} may not invoke ${name}`);
    const { input } = schedule.target;
    return target.invoke(input === undefined ? scheduleEvent(schedule.arn) : JSON.parse(input));
  }

  async stop(): Promise<void> {
    for (const consumer of this.consumers) consumer.enable(false);
    await this.#sandboxes.stop();
    await this.bucket.stop();
  }

  #routes(): GatewayRoute[] {
    const { routes, integrations, permissions, api } = this.#options.shapes;
    return routes.map(({ routeKey: key, target }) => {
      const found = integrations.find(({ id }) => target === `integrations/${id}`);
      if (!found) throw new Error(`nothing is behind ${key}`);
      const allowed = permissions.some(
        (one) =>
          one.function === found.integrationUri &&
          one.principal === "apigateway.amazonaws.com" &&
          one.sourceArn === `${api.executionArn}/*`,
      );
      if (!allowed) throw new Error(`the API may not call what is behind ${key}`);
      return { key, target: this.#functionOf(found.integrationUri), timeout: found.timeoutMilliseconds };
    });
  }

  #consumer(mapping: Shapes["mappings"][number]): QueueConsumer {
    const { eventSourceArn, functionName, batchSize, functionResponseTypes, scalingConfig } = mapping;
    const { lambdas } = this.#options.shapes;
    const lambda = lambdas.find(({ arn, name }) => functionName === arn || functionName === name);
    const queue = this.queues.get(eventSourceArn);
    if (!lambda || !queue) throw new Error(`an event source leads from or to nothing: ${eventSourceArn}`);
    const role = this.#roles.for(lambda.role, "lambda.amazonaws.com");
    for (const action of ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"])
      if (!role.may(action, eventSourceArn)) throw new Error(`${role.name} lacks ${action}`);
    return new QueueConsumer({
      queue,
      target: this.#functionOf(lambda.arn),
      batchSize,
      reportsFailures: functionResponseTypes.includes("ReportBatchItemFailures"),
      concurrency: scalingConfig?.maximumConcurrency ?? batchSize,
    });
  }

  #functionOf(arn: string): DeployedFunction {
    const found = [...this.#sandboxes.functions.values()].find((one) => one.arn === arn);
    if (!found) throw new Error(`there is no function ${arn}`);
    return found;
  }

  #send(call: AwsCall): AwsAnswer | null {
    if (call.operation !== "SendMessage") return null;
    const { QueueUrl, MessageBody, MessageGroupId, MessageDeduplicationId } = inputOf(call);
    const queue = [...this.queues.values()].find(({ settings }) => settings.url === QueueUrl);
    if (!queue) throw new AwsError("AWS.SimpleQueueService.NonExistentQueue", "no such queue");
    return this.#authorized(call, "sqs:SendMessage", queue.settings.arn, () => {
      const sent = queue.send(String(MessageBody), MessageGroupId, MessageDeduplicationId);
      return json({ MessageId: sent.id, MD5OfMessageBody: sent.md5, SequenceNumber: sent.sequence });
    });
  }

  #authorized(
    call: AwsCall,
    action: string,
    resource: string,
    answer: () => AwsAnswer | null,
    may: (role: Role) => boolean = (role) => role.may(action, resource),
  ): AwsAnswer | null {
    const isOperator = call.accessKey === OPERATOR_KEY;
    const role = isOperator ? this.#options.operator : this.#roles.ofAccessKey(call.accessKey);
    if (role && may(role)) return answer();
    this.denials.push(`${role?.name ?? call.accessKey}: ${action} ${resource}`);
    throw new AwsError("AccessDeniedException", "not allowed");
  }
}

/** Dead letters go to queues that must be there before. */
function queuesOf(shapes: readonly QueueShape[]): ReadonlyMap<string, FifoQueue> {
  const queues = new Map<string, FifoQueue>();
  const sorted = [...shapes].sort((a, b) => Number(redriveOf(a) !== undefined) - Number(redriveOf(b) !== undefined));
  for (const shape of sorted) {
    const redrive = redriveOf(shape);
    const queue = redrive && queues.get(redrive.deadLetterTargetArn);
    if (redrive && !queue) throw new Error(`${shape.name} has nowhere to put dead letters`);
    const deadLetters = queue && { queue, maxReceiveCount: redrive.maxReceiveCount };
    queues.set(shape.arn, new FifoQueue({ ...shape, deadLetters }));
  }
  return queues;
}
