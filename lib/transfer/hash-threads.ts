import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";

/** One hashes 1.4 GiB/s, and no line is faster than four; one processor is left for the sockets. */
const MOST: number = Math.min(4, availableParallelism() - 1);

/** Transfers that follow each other sooner than this have the same threads. */
const IDLE_MS = 5_000;

/** As text, because a file of its own would be one more that bundlers must be told of. */
const PROGRAM = `
  const { createHash } = require("node:crypto");
  const { parentPort } = require("node:worker_threads");
  parentPort.on("message", (bytes) => parentPort.postMessage(createHash("sha256").update(bytes).digest("base64")));
`;

interface Waiting {
  readonly resolve: (digest: string) => void;
  readonly reject: (error: Error) => void;
}

/** Hashes shared memory beside the event loop. Keeps no process alive when it has nothing to do. */
class Thread {
  readonly #worker = new Worker(PROGRAM, { eval: true, execArgv: [], env: {} });
  /** It answers in the order in which it is asked. */
  readonly #line: Waiting[] = [];
  readonly #idle: NodeJS.Timeout;
  #fault: Error | null = null;

  constructor() {
    this.#idle = setTimeout(() => this.#rest(), IDLE_MS).unref();
    this.#worker.unref();
    this.#worker.on("message", (digest: string) => this.#next()?.resolve(digest));
    this.#worker.on("error", (error) => this.#end(error));
    this.#worker.on("exit", () => this.#end(new Error("The thread has ended.")));
  }

  get load(): number {
    return this.#line.length;
  }

  hash(bytes: Uint8Array): Promise<string> {
    if (this.#fault) return Promise.reject(this.#fault);
    return new Promise((resolve, reject) => {
      if (this.#line.push({ resolve, reject }) === 1) this.#worker.ref(); // the digest is waited for
      this.#worker.postMessage(bytes);
    });
  }

  #next(): Waiting | undefined {
    const first = this.#line.shift();
    if (this.#line.length === 0) this.#worker.unref();
    this.#idle.refresh();
    return first;
  }

  /** It holds on to all memory that it has seen. */
  #rest(): void {
    if (this.#line.length > 0) return void this.#idle.refresh();
    threads.splice(threads.indexOf(this), 1);
    void this.#worker.terminate();
  }

  #end(error: Error): void {
    this.#fault ??= error;
    for (const { reject } of this.#line.splice(0)) reject(this.#fault);
  }
}

const threads: Thread[] = [];

/** Whether there are processors for it. */
export const hasThreads: boolean = MOST > 0;

/** base64 SHA-256 of memory that threads can share. Rejects where there can be no threads. */
export async function sha256InThread(bytes: Uint8Array): Promise<string> {
  let idlest = threads.toSorted((a, b) => a.load - b.load)[0];
  if (!idlest || (idlest.load > 0 && threads.length < MOST)) {
    idlest = new Thread();
    threads.push(idlest);
  }
  return idlest.hash(bytes);
}
