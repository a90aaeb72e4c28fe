import { fork } from "node:child_process";
import { join } from "node:path";
import { build } from "esbuild";
import type { Evaluation, Json, JsonObject, Order, Resource } from "./evaluate/order.ts";
import { preparePlatform } from "./platform.ts";
import { type Statement, statementsOf } from "./policy.ts";
import { cache, root } from "./tools.ts";

export const REGION = "eu-central-1";

/** Everything that an operator sets, for a stage of the tests. */
export const settings: Readonly<Record<string, string>> = {
  WAYBILL_CHAIN_ID: "84532",
  WAYBILL_CONTRACT: `0x${"c0".repeat(20)}`,
  WAYBILL_FROM_BLOCK: "12345",
  WAYBILL_CONFIRMATIONS: "3",
  WAYBILL_BLOCK_TIME: "2000",
  WAYBILL_OWNERS: `0x${"0a".repeat(20)},0x${"0b".repeat(20)}`,
  WAYBILL_MAX_FEE_PER_GAS: "2000000000",
  WAYBILL_MIN_BALANCE: "0.05",
  WAYBILL_ORIGINS: "https://console.example.org,https://lab.example.org",
  WAYBILL_ALARM_EMAIL: "operator@example.org",
};
export const RPC = "https://rpc.example.org/v1/KEY-OF-THE-NODE,https://other.example.org";

export interface Wanted {
  readonly stage: string;
  readonly root?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly secrets?: Readonly<Record<string, string>>;
}

/** What a deployment of a stage would make, in the order in which it was asked for. */
export async function evaluate(wanted: Wanted): Promise<Graph> {
  const { folder } = await preparePlatform();
  const { stage, secrets = { Rpc: RPC } } = wanted;
  const order: Order = { root: wanted.root ?? root, platform: folder, stage, region: REGION, secrets };
  const evaluation = await inProcess(order, { ...settings, ...wanted.env });
  return new Graph(evaluation);
}

const evaluator = join(cache, "evaluate.mjs");

/** Makes the evaluator, as plain JavaScript. Once, before any test. */
export async function prepareEvaluator(): Promise<void> {
  const entryPoints = [join(import.meta.dirname, "evaluate/main.ts")];
  const options = { bundle: true, format: "esm", platform: "node", packages: "external" } as const;
  await build({ entryPoints, outfile: evaluator, ...options });
}

function inProcess(order: Order, env: Record<string, string | undefined>): Promise<Evaluation> {
  // Nothing of the machine's own settings or of the test runner gets in.
  const { PATH, HOME } = process.env;
  const child = fork(evaluator, {
    env: { PATH, HOME, ...env },
    execArgv: [],
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  let said = "";
  for (const stream of [child.stdout!, child.stderr!])
    stream.on("data", (chunk) => {
      said += chunk;
    });
  return new Promise((resolve, reject) => {
    child.once("message", (evaluation) => resolve(evaluation as Evaluation));
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`The evaluation ended with ${code}:\n${said}`)));
    child.send(order);
  });
}

/** A deployment's resources, with what tests ask of them. */
export class Graph {
  readonly app: Evaluation["app"];
  readonly resources: readonly Resource[];
  readonly outputs: JsonObject;
  readonly errors: readonly string[];

  constructor({ app, resources, outputs, errors }: Evaluation) {
    this.app = app;
    this.resources = resources;
    this.outputs = outputs;
    this.errors = errors;
  }

  /** All of a type, such as "aws:sqs/queue:Queue". */
  all(type: string): Resource[] {
    return this.resources.filter((resource) => resource.type === type);
  }

  /** The one of a type, and of a name. */
  one(type: string, name?: string): Resource {
    const found = this.all(type).filter((resource) => name === undefined || resource.name === name);
    if (found.length === 1) return found[0]!;
    const there = this.all(type).map((resource) => resource.name);
    throw new Error(`${found.length} of ${type} ${name ?? ""} among ${there.join(", ") || "none"}`);
  }

  /** One input of the one resource. */
  input(type: string, name: string | undefined, key: string): Json {
    return this.one(type, name).inputs[key] ?? null;
  }

  /** What a function's role allows. */
  rightsOf(name: string): Statement[] {
    const policies = (this.one("aws:iam/role:Role", `${capitalized(name)}Role`).inputs.inlinePolicies ??
      []) as JsonObject[];
    return policies.flatMap(({ policy }) => statementsOf(String(policy)));
  }

  lambda(name: string): JsonObject {
    return this.one("aws:lambda/function:Function", `${capitalized(name)}Function`).inputs;
  }

  environmentOf(name: string): Readonly<Record<string, string>> {
    return (this.lambda(name).environment as { variables: Record<string, string> }).variables;
  }

  /** What the bucket's own policy says, to everybody. */
  get bucketPolicy(): Statement[] {
    return statementsOf(String(this.input("aws:s3/bucketPolicy:BucketPolicy", undefined, "policy")));
  }
}

export function capitalized(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}
