import { readWithin } from "../lib/protocol/body.ts";
import type { WaybillError } from "../lib/protocol/errors.ts";
import { overLimit } from "./limit.ts";

/**
 * Reads a request's body, and no more of it than a route takes, however the body is framed and whatever it claims.
 * @throws WaybillError PAYLOAD_TOO_LARGE
 */
export async function readBody(request: Request, limit: number): Promise<Uint8Array> {
  if (Number(request.headers.get("content-length") ?? 0) > limit) throw tooLarge(limit);
  return readWithin(request.body as AsyncIterable<Uint8Array> | null, limit, () => tooLarge(limit));
}

function tooLarge(limit: number): WaybillError {
  const most = limit === 0 ? "This request takes no body." : `The body of this request may have ${limit} bytes.`;
  return overLimit("PAYLOAD_TOO_LARGE", most, { name: "body", value: limit, unit: "bytes" });
}
