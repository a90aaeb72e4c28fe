import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";

const PROGRAM = join(import.meta.dirname, "../support/kill-process.mjs");
/** So that nobody waits for Node to start: as many as a trip kills, and the other side of it. */
const STANDING_BY = { member: 2, functions: 1, publisher: 1 };
export type Role = keyof typeof STANDING_BY;

export interface Said {
  readonly ready?: true;
  readonly up?: string;
  readonly notice?: string;
  /** It has come to where it was to stop. */
  readonly stopped?: true;
  readonly done?: unknown;
  readonly code?: string;
  /** Whether the same call again goes on from where it was. */
  readonly retryable?: boolean;
}

/** A process of its own that is killed, never asked to end. */
export class KillChild {
  readonly role: Role;
  readonly #process: ChildProcess;
  readonly #ended: Promise<unknown>;
  #ready = false;
  #said: Said[] = [];
  #listener: (said: Said) => void = () => {};

  constructor(folder: string, role: Role) {
    this.role = role;
    this.#process = fork(join(folder, "kill-process.mjs"), [role], {
      ...{ stdio: ["ignore", "ignore", "inherit", "ipc"], execArgv: [] },
      env: { ...process.env, NODE_OPTIONS: process.env.WAYBILL_TEST_PRELOAD ?? "" },
    });
    this.#ended = once(this.#process, "exit");
    this.#process.on("message", (said: Said) => {
      this.#ready ||= said.ready === true;
      this.#said.push(said);
      this.#listener(said);
    });
  }

  /** Tells it what to do. */
  async order(order: object, onSaid: (said: Said) => void = () => {}): Promise<void> {
    if (!this.#ready) await this.says((said) => said.ready === true);
    this.#said = [];
    this.#listener = onSaid;
    if (this.#process.connected) this.#process.send(order);
  }

  /** The first such thing that it says to its order; null when it ends before. */
  async says(which: (said: Said) => boolean): Promise<Said | null> {
    for (;;) {
      const found = this.#said.find(which);
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

/** Processes that wait to be told what to do. */
export class KillPool {
  readonly #folder: string;
  readonly #waiting: Record<Role, KillChild[]> = { member: [], functions: [], publisher: [] };
  readonly #all = new Set<KillChild>();

  /** Bundles the sources as they are. */
  static async start(): Promise<KillPool> {
    const folder = await mkdtemp(join(tmpdir(), "waybill-kill-program-"));
    await build({
      ...{ entryPoints: [PROGRAM], outdir: folder, bundle: true, splitting: true, minifyWhitespace: true },
      ...{ platform: "node", format: "esm", target: "node20", logLevel: "error", outExtension: { ".js": ".mjs" } },
      banner: { js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);` },
    });
    return new KillPool(folder);
  }

  private constructor(folder: string) {
    this.#folder = folder;
    for (const role of Object.keys(STANDING_BY) as Role[]) this.#fill(role);
  }

  take(role: Role): KillChild {
    const child = this.#waiting[role].shift() ?? this.#start(role);
    this.#fill(role);
    return child;
  }

  /** It has done what it was told to, and can be told something else. */
  giveBack(child: KillChild): void {
    this.#waiting[child.role].unshift(child);
  }

  async end(child: KillChild): Promise<void> {
    await child.gone();
    this.#all.delete(child);
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#all].map((child) => child.gone()));
    await rm(this.#folder, { recursive: true, force: true });
  }

  #fill(role: Role): void {
    while (this.#waiting[role].length < STANDING_BY[role]) this.#waiting[role].push(this.#start(role));
  }

  #start(role: Role): KillChild {
    const child = new KillChild(this.#folder, role);
    this.#all.add(child);
    return child;
  }
}
