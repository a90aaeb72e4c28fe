import { type ChildProcess, spawn } from "node:child_process";
import { rm } from "node:fs/promises";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { WaybillError } from "../lib/protocol/errors.ts";
import { GUARDIAN } from "./guardian.ts";

/** Time that a child gets between SIGTERM and SIGKILL. */
const GRACE_MS = 2_000;

export interface GuardOptions {
  /** The child's whole environment; nothing of ours leaks into it. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Folders that are removed when the child has ended, whatever ended it or us. */
  readonly scratch?: readonly string[];
  readonly graceMs?: number;
}

export interface Ending {
  /** The exit code, or null when a signal ended the child. */
  readonly code: number | null;
  readonly signal: string | null;
}

/** A process that ends with ours, whatever ends ours. It does not keep ours alive. */
export interface Guarded {
  readonly pid: number;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly ended: Promise<Ending>;
  /** Ends the child and resolves when it is gone and its scratch folders are too. May be called again. */
  stop(): Promise<void>;
}

type Report = { pid: number } | { error: string } | { exit: number | null; signal: string | null };

/**
 * Starts `command` under a guardian process (guardian.ts). Rejects when it can't be started.
 *
 * Until it has started, and while `stop` waits, it holds the event loop; in between it does not, so a program that forgets
 * to stop its children ends all the same, and they with it.
 */
export async function spawnGuarded(
  command: string,
  args: readonly string[],
  options: GuardOptions = {},
): Promise<Guarded> {
  // A session of its own: a Ctrl-C goes to us, who then end the child in order, and `kill -9 -<group>` spares the guardian.
  const guardian = spawn(process.execPath, ["-e", GUARDIAN], {
    env: ownEnvironment(),
    stdio: ["pipe", "pipe", "pipe", "pipe"],
    detached: true,
    windowsHide: true,
  });
  const exited = new Promise<void>((resolve) => guardian.once("close", () => resolve()).once("error", () => resolve()));
  const orders = guardian.stdin as Writable;
  orders.on("error", () => {}); // the guardian is gone; "close" tells
  const { env = {}, cwd, scratch, graceMs = GRACE_MS } = options;
  orders.write(`${JSON.stringify({ command, args, env, cwd, scratch, grace: graceMs })}\n`);

  const reports = readReports(guardian.stdio[3] as Readable);
  const started = await reports.first;
  if (!started || !("pid" in started)) {
    orders.destroy();
    await exited;
    await removeAll(scratch);
    const reason = started && "error" in started ? started.error : "its guardian process could not run";
    throw new WaybillError("UNAVAILABLE", `Cannot start ${command}: ${reason}.`, { retryable: false });
  }
  const { pid } = started;
  const ended = watch(pid, reports.last, exited, scratch);
  hold(guardian, false);
  const stop = async (): Promise<void> => {
    hold(guardian, true);
    orders.destroy();
    await ended;
  };
  return { pid, stdout: guardian.stdout as Readable, stderr: guardian.stderr as Readable, ended, stop };
}

/** Waits for the guardian; if it went without word of the child, the child is ours to end. */
async function watch(
  pid: number,
  last: Promise<Report | undefined>,
  exited: Promise<void>,
  scratch: readonly string[] | undefined,
): Promise<Ending> {
  const report = await last;
  if (report && "exit" in report) {
    await exited;
    return { code: report.exit, signal: report.signal };
  }
  killIfAlive(pid);
  await exited;
  await removeAll(scratch);
  return { code: null, signal: "SIGKILL" };
}

function killIfAlive(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

async function removeAll(paths: readonly string[] = []): Promise<void> {
  const removals = paths.map((path) => rm(path, { recursive: true, force: true, maxRetries: 3 }));
  await Promise.allSettled(removals); // like the guardian: a folder that can't be removed is no reason to fail
}

function readReports(from: Readable): { first: Promise<Report | undefined>; last: Promise<Report | undefined> } {
  const lines: Report[] = [];
  const reader = createInterface({ input: from });
  const last = new Promise<Report | undefined>((resolve) => reader.once("close", () => resolve(lines.at(-1))));
  const first = new Promise<Report | undefined>((resolve) => {
    reader.once("line", () => resolve(lines[0]));
    reader.once("close", () => resolve(lines[0]));
  });
  reader.prependListener("line", (line) => lines.push(JSON.parse(line) as Report));
  from.on("error", () => reader.close());
  return { first, last };
}

/** The guardian is ours alone: a debugger's or loader's NODE_OPTIONS must not reach it. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _options, NODE_V8_COVERAGE: _coverage, ...rest } = process.env;
  return rest;
}

function hold(guardian: ChildProcess, on: boolean): void {
  const call = on ? "ref" : "unref";
  guardian[call]();
  for (const stream of guardian.stdio) (stream as { ref?(): void; unref?(): void } | null)?.[call]?.();
}
