import { WaybillError } from "../lib/protocol/errors.ts";

/** A line on stderr about what is going on. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** The command's answer on stdout: the text, or with --json the object. */
export function answer(json: boolean | undefined, object: Readonly<Record<string, unknown>>, text: string): void {
  process.stdout.write(`${json ? JSON.stringify(object) : text}\n`);
}

/** The last line of a command that failed. Errors of others may carry anything, so that only their name is told. */
export function describe(error: unknown, json: boolean): string {
  const code = error instanceof WaybillError ? error.code : "INTERNAL";
  const message = error instanceof WaybillError ? error.message : `Unexpected: ${nameOf(error)}.`;
  return json ? JSON.stringify({ error: { code, message } }) : `${message} (${code})`;
}

function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  const { code } = error as NodeJS.ErrnoException;
  return code === undefined ? error.name : `${error.name} ${code}`;
}
