import { join } from "node:path";
import { spawn } from "@lydell/node-pty";
import { ROOT } from "./packed.ts";

const WAYBILL = join(ROOT, "dist/cli/waybill.js");

/** A program in a terminal of its own. */
export interface Terminal {
  /** All that the terminal was sent. */
  readonly seen: () => string;
  /** Resolves when that holds the text, or what fits the pattern. @throws Error with what it holds, when the program ends before. */
  until(text: string | RegExp): Promise<void>;
  /** Types. */
  type(text: string): void;
  /** Ends the program if it hasn't ended, and all that it runs hears that its terminal is gone. */
  kill(): void;
  /** The exit code. */
  readonly ended: Promise<number>;
}

/** Opens a terminal of 100 columns and runs the built `waybill` in it. */
export function openTerminal(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}): Terminal {
  return open(process.execPath, [WAYBILL, ...args], cwd, env);
}

const SHELLS = { bash: ["--norc", "--noprofile", "-i"], zsh: ["-f", "-i"] };

/** The same with an interactive shell, in which nothing of whose it is counts. */
export function openShell(shell: keyof typeof SHELLS, cwd: string, env: NodeJS.ProcessEnv = {}): Terminal {
  return open(shell, SHELLS[shell], cwd, { ...env, TERM: "xterm" });
}

function open(program: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv): Terminal {
  const kept = Object.entries({ ...process.env, ...env }).filter(
    ([name]) => !/^(npm_|CI$|NO_COLOR|FORCE_COLOR)/.test(name),
  );
  const pty = spawn(program, [...args], { cols: 100, rows: 40, cwd, env: Object.fromEntries(kept) });
  let seen = "";
  let over = false;
  const looks = new Set<() => void>();
  pty.onData((data) => {
    seen += data;
    for (const look of looks) look();
  });
  const ended = new Promise<number>((resolve) => {
    pty.onExit(({ exitCode }) => {
      over = true;
      for (const look of looks) look();
      resolve(exitCode);
    });
  });
  const until = (text: string | RegExp): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const found = typeof text === "string" ? seen.includes(text) : text.test(seen);
        if (!found && !over) return;
        looks.delete(look);
        if (found) resolve();
        else reject(new Error(`It ended without "${text}": ${seen}`));
      };
      looks.add(look);
      look();
    });
  const kill = (): void => {
    if (!over) pty.kill("SIGHUP");
  };
  return { seen: () => seen, until, type: (text) => pty.write(text), kill, ended };
}
