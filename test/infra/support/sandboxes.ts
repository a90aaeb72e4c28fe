import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { unzipSync } from "fflate";
import type { SstHome } from "./aws/home.ts";
import { DeployedFunction } from "./lambda/function.ts";
import type { Roles } from "./roles.ts";
import type { LambdaShape } from "./shapes.ts";

export interface SandboxOptions {
  readonly home: SstHome;
  readonly roles: Roles;
  readonly region: string;
  readonly node: string;
  /** Where AWS's services are, in the variables by which its SDKs and ours are told. */
  readonly endpoints: Readonly<Record<string, string>>;
  readonly onLine: (line: string) => void;
}

/** Sandboxes of one function at the same time, where the deployment sets none: enough for what is done here at once. */
const CONCURRENCY = 6;

/** The deployed functions by name ("uploads"), each from the very zip that was uploaded. */
export class Sandboxes {
  readonly functions: ReadonlyMap<string, DeployedFunction>;
  readonly #folder: string;

  private constructor(functions: ReadonlyMap<string, DeployedFunction>, folder: string) {
    this.functions = functions;
    this.#folder = folder;
  }

  static async of(lambdas: readonly LambdaShape[], options: SandboxOptions): Promise<Sandboxes> {
    const folder = await mkdtemp(join(tmpdir(), "waybill-lambda-"));
    const functions = new Map<string, DeployedFunction>();
    for (const lambda of lambdas) {
      const name = lambda.resource.replace(/Function$/, "").toLowerCase();
      const root = join(folder, name);
      await unpack(options.home.objects.get(`${lambda.s3Bucket}/${lambda.s3Key}`), root);
      functions.set(name, functionOf(lambda, root, options));
    }
    return new Sandboxes(functions, folder);
  }

  async stop(): Promise<void> {
    await Promise.all([...this.functions.values()].map((one) => one.stop()));
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

function functionOf(lambda: LambdaShape, root: string, options: SandboxOptions): DeployedFunction {
  return new DeployedFunction({
    node: options.node,
    root,
    arn: lambda.arn,
    timeout: lambda.timeout * 1000,
    environment: environmentOf(lambda, root, options),
    concurrency: lambda.reservedConcurrentExecutions ?? CONCURRENCY,
    onLine: options.onLine,
  });
}

/** What Lambda sets in a sandbox, and then what the deployment does. Nothing of this process gets in. */
function environmentOf(lambda: LambdaShape, root: string, options: SandboxOptions): Record<string, string> {
  const { roles, region, endpoints } = options;
  const {
    accessKeyId,
    secretAccessKey,
    sessionToken = "",
  } = roles.for(lambda.role, "lambda.amazonaws.com").credentials;
  return {
    PATH: "/usr/local/bin:/usr/bin:/bin",
    LANG: "en_US.UTF-8",
    TZ: ":UTC",
    LAMBDA_TASK_ROOT: root,
    _HANDLER: lambda.handler,
    AWS_EXECUTION_ENV: `AWS_Lambda_${lambda.runtime}`,
    AWS_LAMBDA_FUNCTION_NAME: lambda.name,
    AWS_LAMBDA_FUNCTION_VERSION: "$LATEST",
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(lambda.memorySize),
    AWS_LAMBDA_INITIALIZATION_TYPE: "on-demand",
    AWS_LAMBDA_LOG_FORMAT: lambda.loggingConfig.logFormat,
    AWS_LAMBDA_LOG_GROUP_NAME: lambda.loggingConfig.logGroup,
    AWS_LAMBDA_LOG_STREAM_NAME: "stream",
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
    ...endpoints,
    ...lambda.environment.variables,
  };
}

async function unpack(zip: Buffer | undefined, root: string): Promise<void> {
  if (!zip) throw new Error(`there is no zip for ${root}`);
  for (const [path, bytes] of Object.entries(unzipSync(zip))) {
    const file = join(root, path);
    await mkdir(dirname(file), { recursive: true });
    if (!path.endsWith("/")) await writeFile(file, bytes);
  }
}
