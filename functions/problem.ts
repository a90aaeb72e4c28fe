import type { Context } from "hono";
import { statusOf, WaybillError } from "../lib/protocol/errors.ts";

/** The facts of an error that go to the caller. Others stay here: an error may carry what only operators should see. */
const PUBLIC_DETAILS = ["notices", "parts", "reason"];
/** Seconds after which what failed for now is worth another try. */
const RETRY_AFTER: Record<string, string> = { RATE_LIMITED: "60", UNAVAILABLE: "1" };

/** Answers any error as RFC 9457 problem+json. An error that isn't ours says nothing about itself. `now` in milliseconds. */
export function problemOf(c: Context, error: unknown, now: number): Response {
  const known = error instanceof WaybillError ? error : null;
  const shown = known && statusOf(known.code) !== 500 ? known : internal();
  const status = statusOf(shown.code);
  if (status === 500) report(c, error);
  const details = Object.entries(shown.details).filter(([name]) => PUBLIC_DETAILS.includes(name));
  const body = {
    type: `urn:waybill:${shown.code}`,
    status,
    code: shown.code,
    detail: shown.message,
    ...Object.fromEntries(details),
    ...(status === 401 && { serverTime: Math.floor(now / 1000) }),
  };
  const retryAfter = RETRY_AFTER[shown.code];
  return new Response(JSON.stringify(body), {
    status,
    headers: {
      "content-type": "application/problem+json",
      "cache-control": "no-store",
      ...(retryAfter && { "retry-after": retryAfter }),
    },
  });
}

function internal(): WaybillError {
  return new WaybillError("INTERNAL", "Internal error. It is not your fault; try again.");
}

/** For the operator: where it happened. An error's message may quote a URL or a key, so it is left out. */
function report(c: Context, error: unknown): void {
  const name = error instanceof Error ? error.name : typeof error;
  const code = error instanceof WaybillError ? ` ${error.code}` : "";
  const frames = error instanceof Error ? (error.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line)) : [];
  process.stderr.write(`internal error in ${c.req.method} ${c.req.path}: ${name}${code}\n${frames.join("\n")}\n`);
}
