import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { type Compiled, compileSources } from "../support/compiled.ts";

const PROGRAM = join(import.meta.dirname, "../support/kill-process.mjs");
/** As many as a trip with one kill needs, so that the next trip doesn't wait for Node to start. */
const STANDING_BY = 3;

export interface Said {
  readonly ready?: true;
  readonly up?: string;
  readonly notice?: string;
  readonly done?: unknown;
  readonly code?: string;
}

/** A process of its own that is killed, never asked to end. */
export class KillChild {
  readonly said: Said[] = [];
  readonly #process: ChildProcess;
  readonly #ended: Promise<unknown>;
  #listener: (said: Said) => void = () => {};

  constructor(folder: string) {
    this.#process = fork(PROGRAM, [folder], {
      ...{ stdio: ["ignore", "ignore", "inherit", "ipc"], execArgv: [] },
      env: { ...process.env, NODE_OPTIONS: process.env.WAYBILL_TEST_PRELOAD ?? "" },
    });
    this.#ended = once(this.#process, "exit");
    this.#process.on("message", (said: Said) => {
      this.said.push(said);
      this.#listener(said);
    });
  }

  /** Tells it what it is. */
  async order(order: object, onSaid: (said: Said) => void = () => {}): Promise<void> {
    await this.says((said) => said.ready === true);
    this.#listener = onSaid;
    this.#process.send(order);
  }

  /** The first such thing that it says; null when it ends before. */
  async says(which: (said: Said) => boolean): Promise<Said | null> {
    for (;;) {
      const found = this.said.find(which);
      if (found) return found;
      if (this.#process.exitCode !== null || this.#process.signalCode !== null) return null;
      await Promise.race([once(this.#process, "message"), this.#ended]);
    }
  }

  /** How its call ended; null when it was killed. */
  result(): Promise<Said | null> {
    return this.says(({ done, code }) => done !== undefined || code !== undefined);
  }

  /** At once: nothing of it moves when this returns. */
  kill(): void {
    this.#process.kill("SIGKILL");
  }

  async gone(): Promise<void> {
    this.kill();
    if (this.#process.exitCode === null && this.#process.signalCode === null) await this.#ended;
  }
}

/** Processes that wait to be told what they are. */
export class KillPool {
  readonly #compiled: Compiled = compileSources();
  readonly #folder: string = dirname(dirname(this.#compiled.path("lib/index.js")));
  readonly #waiting: KillChild[] = [];
  readonly #all = new Set<KillChild>();

  constructor() {
    this.#fill();
  }

  take(): KillChild {
    const child = this.#waiting.shift() ?? this.#start();
    this.#fill();
    return child;
  }

  async end(child: KillChild): Promise<void> {
    await child.gone();
    this.#all.delete(child);
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#all].map((child) => child.gone()));
    this.#compiled.remove();
  }

  #fill(): void {
    while (this.#waiting.length < STANDING_BY) this.#waiting.push(this.#start());
  }

  #start(): KillChild {
    const child = new KillChild(this.#folder);
    this.#all.add(child);
    return child;
  }
}
