import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

export interface Order {
  readonly events: readonly unknown[];
}

export type Report =
  | { readonly kind: "imported"; readonly ms: number; readonly cpuMs: number }
  | {
      readonly kind: "answered";
      /** Milliseconds of each event. */
      readonly took: readonly number[];
      readonly answers: readonly unknown[];
      /** Of the processor, by all of them. */
      readonly cpuMs: number;
      readonly rss: number;
    };
type Answered = Extract<Report, { kind: "answered" }>;

const MAIN: string = join(import.meta.dirname, "instance-main.js");
/** An instance that takes longer hangs. */
const MOST_MS = 120_000;

/** A function's process. */
export class Instance {
  readonly #child: ChildProcess;
  /** From the beginning of the import until the handler was there: milliseconds, and what the processor did of them. */
  readonly imported: { readonly ms: number; readonly cpuMs: number };

  private constructor(child: ChildProcess, imported: { readonly ms: number; readonly cpuMs: number }) {
    this.#child = child;
    this.imported = imported;
  }

  static async start(node: string, bundle: string, env: Readonly<Record<string, string>>): Promise<Instance> {
    const { PATH = "" } = process.env;
    const child = fork(MAIN, [bundle], {
      execPath: node,
      execArgv: [],
      env: { PATH, ...env },
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    const report = await next(child);
    if (report.kind !== "imported") throw new Error("The function answered before it was there.");
    return new Instance(child, report);
  }

  /** Answers events one after the other, as Lambda gives them to an instance. */
  async run(events: readonly unknown[]): Promise<Answered> {
    this.#child.send({ events } satisfies Order);
    const report = await next(this.#child);
    if (report.kind !== "answered") throw new Error("The function was imported twice.");
    return report;
  }

  async stop(): Promise<void> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }
}

function next(child: ChildProcess): Promise<Report> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => end(new Error(`A function said nothing for ${MOST_MS} ms.`)), MOST_MS);
    const onExit = (code: number | null): void => end(new Error(`A function's process ended with ${code}.`));
    const onMessage = (report: Report): void => end(report);
    const end = (outcome: Report | Error): void => {
      clearTimeout(timer);
      child.off("exit", onExit).off("message", onMessage as (message: unknown) => void);
      if (outcome instanceof Error) reject(outcome);
      else resolve(outcome);
    };
    child.once("exit", onExit).once("message", onMessage as (message: unknown) => void);
  });
}
