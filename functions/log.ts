import { channel } from "node:diagnostics_channel";
import { WaybillError } from "../lib/protocol/errors.ts";
import type { AlarmCode, Service } from "./metric-names.ts";
import { redact } from "./redact.ts";

/** INFO: something was done. WARN: it may pass by itself. ERROR: somebody must see to it. */
export type Level = "INFO" | "WARN" | "ERROR";

/** Takes a line of the log, without its newline. */
export type Sink = (line: string, level: Level) => void;

const ID = /^0x[0-9a-f]{64}$/;
const CODE = /^[A-Z][A-Z0-9_]{0,39}$/;
const NAME = /^[\w.]{1,60}( \(\d{1,3}\))?$/;

/** Every fact that a line may hold, by the only shape that it may have there. */
const SHAPES = {
  /** From the client through the function and the outbox to the transaction. */
  requestId: /^[0-9a-f]{32}$/,
  /** The method and the route's pattern, with the names of its ids. */
  route: /^[A-Z]{3,7} \/[\w./{}]*$/,
  account: /^0x[0-9a-f]{40}$/,
  task: ID,
  transfer: ID,
  notice: ID,
  statement: ID,
  statements: ID,
  transaction: ID,
  /** A WaybillError's. */
  code: CODE,
  /** The contract's, for what was refused. */
  reason: CODE,
  alarm: CODE,
  /** An error's name, and that of the one beneath. */
  error: NAME,
  cause: NAME,
} as const satisfies Readonly<Record<string, RegExp>>;

/** The same of numbers: each is what its name says. */
const NUMBERS = ["status", "ms", "bytes", "nonce", "attempt", "block", "gas", "pending", "count"] as const;

/** What stands beside a line's message. A fact that hasn't its shape is withheld; one that isn't listed here, left out. */
export type Facts = { -readonly [name in keyof typeof SHAPES]?: string | readonly string[] | undefined } & {
  [name in (typeof NUMBERS)[number]]?: number | undefined;
} & {
  /** Free text of somebody else's, or an error's message. It is redacted. */
  detail?: string | undefined;
  /** Where an error that isn't ours came from. */
  frames?: readonly string[] | undefined;
};

/** Whoever wants to see every line of this process, whatever its sink: a development server, or a test of all of them. */
const lines = channel("waybill:log");
/** More of a stack says nothing about us. */
const MAX_FRAMES = 12;
const WITHHELD = "[withheld]";

/**
 * What a function tells its operator: a JSON object per line. What a line holds is decided here and not by who writes it: a
 * few named facts, each of its own shape, and texts that have been redacted. No general logger is used, because all of them
 * write whatever they are given.
 *
 * Without a sink nothing is said.
 */
export class Log {
  readonly #service: Service | "serve";
  readonly #sink: Sink | undefined;
  readonly #facts: Facts;

  /** `service`: which function it is of, or "serve" for what runs them all. */
  constructor(service: Service | "serve", sink?: Sink, facts: Facts = {}) {
    this.#service = service;
    this.#sink = sink;
    this.#facts = facts;
  }

  /** The same log, with facts that stand in every line. */
  with(facts: Facts): Log {
    return new Log(this.#service, this.#sink, { ...this.#facts, ...facts });
  }

  info(message: string, facts: Facts = {}): void {
    this.#write("INFO", message, facts);
  }

  warn(message: string, facts: Facts = {}): void {
    this.#write("WARN", message, facts);
  }

  /** A condition that a person must end. */
  alarm(alarm: AlarmCode, message: string, facts: Facts = {}): void {
    this.#write("ERROR", message, { ...facts, alarm });
  }

  /** What failed: a warning if it may pass by itself, an error if it won't, an alarm if it is what we were told. */
  failure(message: string, error: unknown, facts: Facts = {}): void {
    const passes = error instanceof WaybillError && error.retryable && error.code !== "INTERNAL";
    this.#write(passes ? "WARN" : "ERROR", message, { ...facts, ...factsOf(error) });
  }

  #write(level: Level, message: string, facts: Facts): void {
    if (!this.#sink && !lines.hasSubscribers) return;
    const head = { time: new Date().toISOString(), level, service: this.#service, message: redact(message) };
    const line = JSON.stringify({ ...head, ...shaped({ ...this.#facts, ...facts }) });
    lines.publish(line);
    try {
      this.#sink?.(line, level);
    } catch {
      // A log that can't be written is no reason to leave work undone.
    }
  }
}

/** Where the functions of a deployment log to. */
export function toStdout(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Our own errors' messages carry no secret; of others only the name and the place are told. */
function factsOf(error: unknown): Facts {
  const cause = nameOf(error instanceof Error ? error.cause : undefined);
  const ours = error instanceof WaybillError ? { code: error.code, detail: error.message } : null;
  const alarm: AlarmCode | false = ours?.code === "USAGE" && "MISCONFIGURED";
  const known = { ...ours, ...(cause && { cause }), ...(alarm && { alarm }) };
  if (ours && ours.code !== "INTERNAL") return known;
  const frames = error instanceof Error ? { frames: framesOf(error) } : {};
  return { ...known, error: nameOf(error) ?? typeof error, ...frames };
}

/** An error's code or name; or its message where that is no more than a name and a status, as `unavailable` makes it. */
function nameOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code } = error as { code?: unknown };
  if (NAME.test(error.message) && error.message.includes("(")) return error.message;
  return typeof code === "string" ? code : error.name;
}

function framesOf({ stack = "" }: Error): string[] {
  const frames = stack.split("\n").filter((line) => /^\s+at /.test(line));
  return frames.slice(0, MAX_FRAMES).map((line) => line.trim());
}

function shaped(facts: Facts): Record<string, unknown> {
  const shown: Record<string, unknown> = {};
  for (const [name, shape] of Object.entries(SHAPES)) {
    const value = facts[name as keyof typeof SHAPES];
    if (value !== undefined) shown[name] = typeof value === "string" ? fitting(shape, value) : all(shape, value);
  }
  for (const name of NUMBERS) {
    const value = facts[name];
    if (value !== undefined) shown[name] = typeof value === "number" ? value : WITHHELD;
  }
  if (facts.detail !== undefined) shown.detail = redact(facts.detail);
  if (facts.frames !== undefined) shown.frames = facts.frames.map(redact);
  return shown;
}

function all(shape: RegExp, values: readonly string[]): string[] {
  return values.map((value) => fitting(shape, value));
}

function fitting(shape: RegExp, value: string): string {
  return shape.test(value) ? value : WITHHELD;
}
