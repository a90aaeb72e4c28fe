import { existsSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

// What Lambda runs in a nodejs24.x sandbox beside the function: it asks the Runtime API for one invocation after the other.
// As AWS's own, it knows handlers that return a promise, and no callbacks.

const { AWS_LAMBDA_RUNTIME_API = "", LAMBDA_TASK_ROOT = "", _HANDLER = "" } = process.env;
const API = `http://${AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime`;
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

interface Answer {
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
}

type Handler = (event: unknown, context: object) => unknown;

/** The invocation that is being worked at. */
let current = "";

function ask(method: string, path: string, body = ""): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request(`${API}${path}`, { method, agent }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => void chunks.push(chunk));
      response.once("error", reject);
      response.once("end", () => resolve({ headers: response.headers, text: Buffer.concat(chunks).toString() }));
    });
    request.once("error", reject);
    request.end(body);
  });
}

function described(error: unknown): string {
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
  return JSON.stringify({ errorType: name, errorMessage: message, trace: stack?.split("\n") });
}

/** A sandbox whose code went astray is not used again. */
async function giveUp(error: unknown): Promise<never> {
  await ask("POST", current === "" ? "/init/error" : `/invocation/${current}/error`, described(error));
  process.exit(129);
}

async function load(): Promise<Handler> {
  const [, path = "", name = ""] = /^(.*)\.([^./]+)$/.exec(_HANDLER) ?? [];
  const file = [".js", ".mjs", ".cjs"].map((ending) => join(LAMBDA_TASK_ROOT, `${path}${ending}`)).find(existsSync);
  if (!file) throw new Error(`Cannot find module '${path}'`);
  const found = ((await import(pathToFileURL(file).href)) as Record<string, unknown>)[name];
  if (typeof found !== "function") throw new Error(`${_HANDLER} is undefined or not exported`);
  if (found.length > 2) throw new Error(`${_HANDLER} takes a callback, which nodejs24.x has none of`);
  return found as Handler;
}

function contextOf({ headers }: Answer): object {
  const { env } = process;
  return {
    awsRequestId: current,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => Math.max(0, Number(headers["lambda-runtime-deadline-ms"]) - Date.now()),
  };
}

process.on("uncaughtException", (error) => void giveUp(error));
process.on("unhandledRejection", (error) => void giveUp(error));
const handler = await load().catch(giveUp);
for (;;) {
  const next = await ask("GET", "/invocation/next");
  current = String(next.headers["lambda-runtime-aws-request-id"]);
  try {
    const answer = await handler(JSON.parse(next.text), contextOf(next));
    await ask("POST", `/invocation/${current}/response`, JSON.stringify(answer) ?? "null");
  } catch (error) {
    await ask("POST", `/invocation/${current}/error`, described(error));
  }
}
