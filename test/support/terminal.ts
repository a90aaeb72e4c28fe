import { join } from "node:path";
import { spawn } from "@lydell/node-pty";
import { ROOT } from "./packed.ts";

/** The built `waybill` in a terminal of its own. */
export interface Terminal {
  /** All that the terminal was sent. */
  readonly seen: () => string;
  /** Resolves when that holds the text. @throws Error with what it holds, when the program ends before. */
  until(text: string): Promise<void>;
  /** Types. */
  type(text: string): void;
  /** The exit code. */
  readonly ended: Promise<number>;
}

/** Opens a terminal of 100 columns and runs `waybill` in it. */
export function openTerminal(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}): Terminal {
  const kept = Object.entries({ ...process.env, ...env }).filter(
    ([name]) => !/^(npm_|CI$|NO_COLOR|FORCE_COLOR)/.test(name),
  );
  const program = [join(ROOT, "dist/cli/waybill.js"), ...args];
  const pty = spawn(process.execPath, program, { cols: 100, rows: 40, cwd, env: Object.fromEntries(kept) });
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
  const until = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (!seen.includes(text) && !over) return;
        looks.delete(look);
        if (seen.includes(text)) resolve();
        else reject(new Error(`It ended without "${text}": ${seen}`));
      };
      looks.add(look);
      look();
    });
  return { seen: () => seen, until, type: (text) => pty.write(text), ended };
}
