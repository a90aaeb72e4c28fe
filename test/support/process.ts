import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ROOT } from "./packed.ts";

/** The built `waybill` as a process that lives on. */
export interface Running {
  readonly child: ChildProcess;
  /** What it said on stderr until now. */
  readonly stderr: () => string;
  /** The next line of its stdout. @throws Error with its stderr when it ends instead. */
  line(): Promise<string>;
  /** The exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>;
  /** Ends it, if it hasn't ended yet. */
  end(signal?: NodeJS.Signals): Promise<number | string>;
}

/** Starts `waybill` with these arguments. @param before A program that starts it, with its own arguments. */
export function start(
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv = {},
  before: readonly string[] = [],
): Running {
  // As under `npm test`, but for what that tells its scripts.
  const kept = Object.entries(process.env).filter(([name]) => !/^npm_/.test(name));
  const [program, ...rest] = [...before, process.execPath, join(ROOT, "dist/cli/waybill.js"), ...args];
  const child = spawn(program!, rest, {
    cwd,
    env: { ...Object.fromEntries(kept), ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stderr = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const ended = once(child, "close").then(([code, signal]) => (code ?? signal) as number | string);
  return {
    child,
    stderr: () => stderr,
    line: async () => {
      const { value, done } = await lines.next();
      if (!done) return value;
      throw new Error(`waybill ended with ${await ended} before it said anything: ${stderr}`);
    },
    ended,
    end: (signal = "SIGTERM") => {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      return ended;
    },
  };
}
