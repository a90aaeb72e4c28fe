import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Guarded, spawnGuarded } from "../../../../local/guard.ts";

const RUNTIME = fileURLToPath(new URL("runtime.ts", import.meta.url));
/** AWS gives 10 s. Here it only ends what hangs: how long a start takes, `npm run bench:functions` says. */
const INIT_MS = 120_000;

/** How an invocation failed, as AWS tells whoever invoked. */
export class LambdaError extends Error {
  constructor(type: string, message: string) {
    super(message);
    this.name = type;
  }
}

export interface InstanceOptions {
  readonly node: string;
  /** Where the zip was unpacked. */
  readonly root: string;
  readonly arn: string;
  /** Milliseconds for one invocation. */
  readonly timeout: number;
  readonly environment: Readonly<Record<string, string>>;
  readonly onLine: (line: string) => void;
}

interface Deferred {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: LambdaError) => void;
}

interface Invocation {
  readonly id: string;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: LambdaError) => void;
  readonly timer: NodeJS.Timeout;
}

/**
 * One sandbox: a process of its own behind a Runtime API of its own, which has one invocation at a time and stands still
 * between two, as Lambda freezes it.
 */
export class Instance {
  readonly #options: InstanceOptions;
  readonly #server: Server;
  #child: Guarded | undefined;
  #waiting: ServerResponse | undefined;
  /** Until the process asks for an invocation, or ends. */
  #idle: Deferred = deferred();
  #running: Invocation | undefined;
  #ended = false;

  private constructor(options: InstanceOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  /** @throws LambdaError when the function doesn't come up. */
  static async start(options: InstanceOptions): Promise<Instance> {
    const instance = new Instance(options);
    await new Promise<void>((resolve) => instance.#server.listen(0, "127.0.0.1", resolve));
    try {
      await instance.#start();
    } catch (error) {
      await instance.stop();
      throw error;
    }
    return instance;
  }

  /** True when it can be invoked again, false once its process is gone and another one is needed. */
  async settled(): Promise<boolean> {
    await this.#idle.promise.catch(() => undefined);
    return !this.#ended;
  }

  invoke(event: unknown): Promise<unknown> {
    const { timeout, arn } = this.#options;
    const [id, waiting] = [randomUUID(), this.#waiting];
    if (!waiting) throw new Error("this sandbox is not waiting for anything");
    this.#waiting = undefined;
    this.#idle = deferred();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#timeOut(), timeout);
      this.#running = { id, resolve, reject, timer };
      this.#signal("SIGCONT");
      waiting.writeHead(200, {
        "content-type": "application/json",
        "lambda-runtime-aws-request-id": id,
        "lambda-runtime-deadline-ms": String(Date.now() + timeout),
        "lambda-runtime-invoked-function-arn": arn,
      });
      waiting.end(JSON.stringify(event));
    });
  }

  /** Ends the process as a crash of its machine would. */
  kill(): void {
    this.#signal("SIGKILL");
  }

  async stop(): Promise<void> {
    this.#ended = true;
    this.#signal("SIGKILL");
    await this.#child?.stop();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #start(): Promise<void> {
    const { node, root, environment, onLine } = this.#options;
    const address = `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    const timer = setTimeout(() => this.#fail("Sandbox.Timedout", "The function did not start in time."), INIT_MS);
    const env = { ...environment, AWS_LAMBDA_RUNTIME_API: address };
    const child = await spawnGuarded(node, [RUNTIME], { env, cwd: root, graceMs: 0 });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on("line", onLine);
    void child.ended.then(({ code, signal }) => {
      this.#ended = true;
      const error = this.#fail("Runtime.ExitError", `The process ended with ${signal ?? code}.`);
      this.#idle.reject(error);
    });
    await this.#idle.promise.finally(() => clearTimeout(timer));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const path = (request.url ?? "").replace("/2018-06-01/runtime", "");
    if (path === "/invocation/next") return this.#wait(response);
    response.writeHead(202, { "content-type": "application/json" }).end("{}");
    if (path === "/init/error") return void this.#fail(...failureIn(text));
    const [, id, kind] = /^\/invocation\/([^/]+)\/(response|error)$/.exec(path) ?? [];
    const running = this.#running;
    if (!running || running.id !== id) return;
    if (kind === "error") return void this.#fail(...failureIn(text));
    this.#running = undefined;
    clearTimeout(running.timer);
    running.resolve(JSON.parse(text));
  }

  #wait(response: ServerResponse): void {
    this.#waiting = response;
    this.#signal("SIGSTOP");
    this.#idle.resolve();
  }

  #timeOut(): void {
    this.#fail("Sandbox.Timedout", `Task timed out after ${this.#options.timeout / 1000} seconds`);
    this.kill();
  }

  /** Tells whoever waits for an answer, or, before the first one could be asked for, for the start. */
  #fail(type: string, message: string): LambdaError {
    const error = new LambdaError(type, message);
    if (!this.#running) this.#idle.reject(error);
    clearTimeout(this.#running?.timer);
    this.#running?.reject(error);
    this.#running = undefined;
    return error;
  }

  #signal(name: NodeJS.Signals): void {
    if (!this.#child) return;
    try {
      process.kill(this.#child.pid, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}

function failureIn(text: string): [type: string, message: string] {
  const { errorType = "Error", errorMessage = "" } = JSON.parse(text) as { errorType?: string; errorMessage?: string };
  return [errorType, errorMessage];
}

function deferred(): Deferred {
  let [resolve, reject]: [() => void, (error: LambdaError) => void] = [() => {}, () => {}];
  const promise = new Promise<void>((done, failed) => {
    [resolve, reject] = [done, failed];
  });
  promise.catch(() => undefined); // whoever waits is told; nobody may be waiting
  return { promise, resolve, reject };
}
