import { WaybillError } from "../protocol/errors.ts";

/** One request to the store. */
export interface StoreRequest {
  readonly method: "GET" | "PUT";
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent from this memory; it must not change until the answer is there. */
  readonly body?: Uint8Array;
  readonly signal: AbortSignal;
  /** On a new connection, because the last answer over an old one was wrong. */
  readonly fresh?: boolean;
  /** Told about bytes that moved, either way, soon after; roughly, because the wire has more than the body. */
  readonly moved?: (bytes: number) => void;
}

export interface StoreResponse {
  readonly status: number;
  /** Null when absent. */
  header(name: string): string | null;
  /**
   * Fills `into` with the next bytes of the body: on Node they land there without a copy. Fewer than fit only at the body's
   * end, then none. One at a time. `into` belongs to the transport until this settles. Rejects when the connection ends
   * before its time, or what comes is no HTTP.
   */
  read(into: Uint8Array): Promise<number>;
  /** Lets the rest go, and a read that is under way. May be called at any time, and again. */
  discard(): void;
}

/**
 * How bytes reach the store. It follows no redirect, decodes nothing, repeats nothing, and rejects when no byte has moved
 * for `STALL_TIMEOUT_MS` though we were ready for it, whether on the way there or back. A request that is aborted or
 * discarded has let go of all memory that it was given.
 */
export interface Transport {
  request(request: StoreRequest): Promise<StoreResponse>;
  close(): void;
}

/** Links that are alive move something within this time, and S3's slowest answers take 5 s. */
export const STALL_TIMEOUT_MS = 10_000;

/** A presigned URL with what must be sent along. A bearer secret: it goes into no log and no error. */
export interface StoreUrl {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** On our own monotonic clock (performance.now). */
  readonly issued: number;
  /** Milliseconds from `issued`. */
  readonly life: number;
}

/** Nothing else may be signed into a request; a server can't make us send what we don't understand. */
const SIGNED_HEADERS = /^(content-length|content-type|if-match|x-amz-[a-z0-9-]+)$/;
/** One line of what every HTTP client sends as it is. */
const HEADER_VALUE = /^[\t\x20-\x7e]*$/;
/** A request that begins near the end of its URL's life is not worth the try. */
const USABLE_SHARE = 0.8;

/**
 * Takes a URL from the functions, if it leads to the pinned store.
 * @throws WaybillError BAD_SERVER
 */
export function takeUrl(
  found: { url: string; headers: Readonly<Record<string, string>> },
  life: number,
  issued: number,
  storeOrigin: string,
): StoreUrl {
  const url = URL.canParse(found.url) ? new URL(found.url) : null;
  if (url?.origin !== new URL(storeOrigin).origin || url.username !== "" || url.password !== "")
    throw new WaybillError("BAD_SERVER", `A presigned URL does not lead to the store that the deployment names.`);
  const headers = Object.entries(found.headers).map(([name, value]) => [name.toLowerCase(), value] as const);
  const strange = headers.find(([name, value]) => !SIGNED_HEADERS.test(name) || !HEADER_VALUE.test(value));
  if (strange) throw new WaybillError("BAD_SERVER", "A presigned URL wants a header that no upload or download needs.");
  return { url: found.url, headers: Object.fromEntries(headers), issued, life };
}

export function isUsable(url: StoreUrl): boolean {
  return performance.now() - url.issued < url.life * USABLE_SHARE;
}

export function isExpired(url: StoreUrl): boolean {
  return performance.now() - url.issued >= url.life;
}
