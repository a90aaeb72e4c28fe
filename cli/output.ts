import { WaybillError } from "../lib/protocol/errors.ts";
import { inCommandWords } from "./wording.ts";
import { harmless, jsonLine } from "./words.ts";

/** A line on stderr about what is going on. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** The command's answer on stdout: the text, or with --json the object. */
export function answer(json: boolean | undefined, object: Readonly<Record<string, unknown>>, text: string): void {
  process.stdout.write(`${json ? jsonLine(object) : text}\n`);
}

/** One thing that happened, as a line of JSON on stdout. */
export function emit(event: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${jsonLine(event)}\n`);
}

/** How one goes on after an error. */
interface Again {
  readonly command: string;
  /** What it takes beside the command. */
  readonly need?: string;
}

const again = new WeakMap<object, Again>();

/** The error, to be told with the command that goes on from there. */
export function failedWith(error: unknown, next: Again): unknown {
  if (typeof error === "object" && error !== null) again.set(error, next);
  return error;
}

/** The last line of a command that failed. Errors of others may carry anything, so that only their name is told. */
export function describe(error: unknown, json: boolean): string {
  const code = error instanceof WaybillError ? error.code : "INTERNAL";
  const message = error instanceof WaybillError ? inCommandWords(error.message) : `Unexpected: ${nameOf(error)}.`;
  const requestId = error instanceof WaybillError ? error.details.requestId : undefined;
  const next = typeof error === "object" && error !== null ? again.get(error) : undefined;
  if (json) return jsonLine({ error: { code, message, requestId, again: next?.command } });
  const goOn = next ? `\nTo go on${next.need ? `, ${next.need}` : ""}: ${next.command}` : "";
  return `${harmless(`${message} (${code})`)}${goOn}`;
}

function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  const { code } = error as NodeJS.ErrnoException;
  return code === undefined ? error.name : `${error.name} ${code}`;
}

/** How often it is looked whether a source still answers. */
const LOOK_MS = 5_000;

/** While something follows the chain: tells on stderr that it can't be reached, and that it can again, so that quiet differs from dead. */
export function warnOfSilence(follower: { readonly fault: unknown }): { end(): void } {
  let told: string | null = null;
  const look = (): void => {
    const { fault } = follower;
    const words = fault instanceof WaybillError ? `${fault.message} Trying on. (${fault.code})` : null;
    if (words !== null && told === null) note(harmless(words));
    if (words === null && told !== null) note("It answers again.");
    told = words;
  };
  const timer = setInterval(look, LOOK_MS);
  return { end: () => clearInterval(timer) };
}
