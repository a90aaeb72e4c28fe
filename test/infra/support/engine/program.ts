import { spawn } from "node:child_process";
import { join } from "node:path";
import type { EventLog } from "./events.ts";
import {
  answering,
  type FeatureRequest,
  type InvokeRequest,
  type LogRequest,
  loadProtocol,
  type Method,
  type OutputsRequest,
  type Protocol,
  type RegisterRequest,
  type RootRequest,
} from "./protocol.ts";
import { type Cloud, lookedUp } from "./provider.ts";
import type { Registry } from "./registry.ts";
import type { Stack } from "./state.ts";

export interface ProgramOptions {
  readonly stack: Stack;
  readonly cloud: Cloud;
  readonly log: EventLog;
  readonly registry: Registry;
  readonly planning: boolean;
  /** The module that makes the resources. */
  readonly main: string;
  /** The project's folder, and the one of the platform below it. */
  readonly root: string;
  readonly platform: string;
  /** Provider settings, as `aws:region`. */
  readonly config: Readonly<Record<string, string>>;
}

/** What we can do of what a program may ask for. */
const FEATURES = new Set(["secrets", "resourceReferences"]);
const ERROR = 3;
/** Pulumi notes where each of its promises was made, which takes a third of a run; nobody here reads it. */
const LIGHT = ["--stack-trace-limit=0"];
/** After an error the program may wait for answers that never come; what it still has to say comes sooner. */
const LAST_WORDS_MS = 500;

/** Runs the program that makes the resources. False when it failed. */
export async function runProgram(options: ProgramOptions): Promise<boolean> {
  const protocol = loadProtocol(options.platform);
  const ending = new AbortController();
  let failed = false;
  const fail = (message: string, urn: string): void => {
    options.log.say("error", message, urn);
    if (!failed) setTimeout(() => ending.abort(), LAST_WORDS_MS).unref();
    failed = true;
  };
  const server = new protocol.grpc.Server({ "grpc.max_receive_message_length": 2 ** 28 });
  server.addService(protocol.services.monitor, monitorOf(options, protocol));
  server.addService(protocol.services.engine, engineOf(options, protocol, fail));
  const credentials = protocol.grpc.ServerCredentials.createInsecure();
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  const code = await runNode(options, port, ending.signal, fail);
  server.forceShutdown();
  return code === 0 && !failed;
}

function monitorOf({ registry, cloud }: ProgramOptions, { resource, provider, Struct, Empty }: Protocol) {
  return {
    supportsFeature: answering((request: FeatureRequest) => {
      const answer = new resource.SupportsFeatureResponse();
      answer.setHassupport(FEATURES.has(request.getId()));
      return answer;
    }),
    registerPackage: answering(() => {
      const answer = new resource.RegisterPackageResponse();
      answer.setRef("package");
      return answer;
    }),
    registerResource: answering((request: RegisterRequest) => {
      const made = registry.register(request);
      const answer = new resource.RegisterResourceResponse();
      answer.setUrn(made.urn);
      answer.setId(made.id ?? "");
      answer.setObject(Struct.fromJavaScript(made.outputs));
      return answer;
    }),
    registerResourceOutputs: answering((request: OutputsRequest) => {
      registry.complete(request.getUrn(), request.getOutputs()?.toJavaScript() ?? {});
      return new Empty();
    }),
    invoke: answering((request: InvokeRequest) => {
      const answer = new provider.InvokeResponse();
      const found = lookedUp(request.getTok(), request.getArgs()?.toJavaScript() ?? {}, cloud);
      answer.setReturn(Struct.fromJavaScript(found));
      return answer;
    }),
    signalAndWaitForShutdown: answering(() => new Empty()),
  } satisfies Record<string, Method>;
}

function engineOf(
  { registry, log }: ProgramOptions,
  { engine, Empty }: Protocol,
  fail: (message: string, urn: string) => void,
) {
  let root = "";
  return {
    log: answering((request: LogRequest) => {
      const severity = request.getSeverity();
      if (severity >= ERROR) fail(request.getMessage(), request.getUrn());
      else if (severity > 0) log.say(severity === 1 ? "info" : "warning", request.getMessage(), request.getUrn());
      return new Empty();
    }),
    getRootResource: answering(() => {
      const answer = new engine.GetRootResourceResponse();
      answer.setUrn(root || registry.root);
      return answer;
    }),
    setRootResource: answering((request: RootRequest) => {
      root = request.getUrn();
      return new engine.SetRootResourceResponse();
    }),
  } satisfies Record<string, Method>;
}

/** Pulumi's own launcher with the program. An exception in it is told on stderr alone, when no call can be made any more. */
async function runNode(
  { stack, planning, main, root, platform, config }: ProgramOptions,
  port: number,
  signal: AbortSignal,
  fail: (message: string, urn: string) => void,
): Promise<number | null> {
  const address = `127.0.0.1:${port}`;
  const flags = [
    ...[`--monitor=${address}`, `--engine=${address}`, "--organization=organization"],
    ...[`--project=${stack.project}`, `--stack=${stack.stage}`, `--root-directory=${process.cwd()}`, `--pwd=${root}`],
    ...(planning ? ["--dry-run=true"] : []),
    "--parallel=16",
  ];
  const launcher = join(platform, "node_modules/@pulumi/pulumi/cmd/run/index.js");
  const child = spawn(process.execPath, [...LIGHT, launcher, ...flags, main], {
    cwd: root,
    env: { ...process.env, PULUMI_CONFIG: JSON.stringify(config), PULUMI_CONFIG_SECRET_KEYS: "[]" },
    stdio: ["ignore", "inherit", "pipe"],
  });
  const end = (): boolean => child.kill("SIGKILL");
  signal.addEventListener("abort", end);
  process.once("SIGINT", end).once("SIGTERM", end);
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    process.stderr.write(text);
    const known = UNHANDLED.test(complaint);
    complaint += text;
    const found = known ? null : UNHANDLED.exec(complaint);
    if (found) fail(found[1]!, "");
  });
  return new Promise((resolve, reject) => child.once("close", resolve).once("error", reject));
}

const UNHANDLED = /failed with an unhandled exception:\s*\n(?:<ref[^>]*> )?(.+)\n/;
