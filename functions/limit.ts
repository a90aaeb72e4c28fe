import { type ErrorCode, WaybillError } from "../lib/protocol/errors.ts";

/** A cap that a request met, as its problem names it. */
export interface Limit {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
}

/** `wait`: seconds after which the same request may pass, where waiting helps. */
export function overLimit(code: ErrorCode, message: string, limit: Limit, wait?: number): WaybillError {
  return new WaybillError(code, message, { details: { limit, ...(wait !== undefined && { wait }) } });
}

interface Issue {
  readonly code?: string;
  readonly path: readonly PropertyKey[];
  readonly origin?: unknown;
  readonly maximum?: unknown;
}

/** The cap of a schema that a value met, if that is what was wrong with it. */
export function limitIn({ code, path, origin, maximum }: Issue): Limit | null {
  if (code !== "too_big" || typeof maximum !== "number") return null;
  const name = path.filter((key) => typeof key === "string").join(".");
  if (origin === "array") return { name, value: maximum, unit: "entries" };
  if (name === "size") return { name, value: maximum, unit: "bytes" };
  if (origin !== "string") return null;
  // A message's bytes travel as hex with 0x.
  return name === "message.payload"
    ? { name, value: (maximum - 2) / 2, unit: "bytes" }
    : { name, value: maximum, unit: "characters" };
}
