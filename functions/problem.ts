import { isRefusal } from "../lib/chain/rpc.ts";
import { statusOf, WaybillError } from "../lib/protocol/errors.ts";

/** The facts of an error that go to the caller. Others stay here: an error may carry what only operators should see. */
const PUBLIC_DETAILS = ["notices", "parts", "reason", "limit"];
/** Seconds after which what failed for now is worth another try, where the error itself doesn't say. */
const RETRY_AFTER: Record<string, string> = { RATE_LIMITED: "60", UNAVAILABLE: "1" };

/** What a caller is told of an error. One that isn't ours says nothing about itself. */
export function shownOf(error: unknown): WaybillError {
  // A node's own words are for the operator, whose account or plan they may name.
  if (isRefusal(error))
    return new WaybillError("UNAVAILABLE", "The API can't read its chain at the moment. Try again.");
  if (error instanceof WaybillError && statusOf(error.code) !== 500) return error;
  return new WaybillError("INTERNAL", "Internal error. It is not your fault; try again, or ask the operator.");
}

/** Answers such an error as RFC 9457 problem+json. `now` in milliseconds. */
export function problemOf(shown: WaybillError, requestId: string, now: number): Response {
  const status = statusOf(shown.code);
  const details = Object.entries(shown.details).filter(([name]) => PUBLIC_DETAILS.includes(name));
  const body = {
    type: `urn:waybill:${shown.code}`,
    status,
    code: shown.code,
    detail: shown.message,
    requestId,
    ...Object.fromEntries(details),
    ...(status === 401 && { serverTime: Math.floor(now / 1000) }),
  };
  const { wait } = shown.details;
  const retryAfter = typeof wait === "number" ? String(wait) : RETRY_AFTER[shown.code];
  return new Response(JSON.stringify(body), {
    status,
    headers: {
      "content-type": "application/problem+json",
      "cache-control": "no-store",
      ...(retryAfter && { "retry-after": retryAfter }),
    },
  });
}
