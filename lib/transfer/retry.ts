import { WaybillError } from "../protocol/errors.ts";
import type { StoreResponse } from "./http.ts";
import type { Lane } from "./traffic.ts";

/** Tries of one part; with full jitter between them they outlast a store that rescales. */
const TRIES = 6;
/** A URL that is dead on arrival this often will not come to life: the server's clock is wrong. */
const MAX_REFRESHES = 5;
const BACK_OFF_MS = { first: 200, most: 20_000 };
/** An S3 error is a few hundred bytes. */
const MAX_ERROR_BYTES = 16 * 1024;

/**
 * Why a request to the store failed, and what helps. `again`: the same once more; `expired`: the same with a new URL,
 * which is nobody's fault and not counted; `fatal`: nothing.
 */
export class StoreFault extends Error {
  readonly remedy: "again" | "expired" | "fatal";
  /** What the caller is told when nothing helps. */
  readonly error: WaybillError;
  /** Milliseconds that the store asked for. */
  readonly retryAfter: number;
  /** It wants fewer requests, not only from this part. */
  readonly slower: boolean;
  /** S3's own code, such as "NoSuchUpload", or "". */
  readonly storeCode: string;

  constructor(
    remedy: StoreFault["remedy"],
    error: WaybillError,
    {
      retryAfter = 0,
      slower = false,
      storeCode = "",
    }: { retryAfter?: number; slower?: boolean; storeCode?: string } = {},
  ) {
    super(error.message);
    this.name = "StoreFault";
    this.remedy = remedy;
    this.error = error;
    this.retryAfter = retryAfter;
    this.slower = slower;
    this.storeCode = storeCode;
  }
}

/** An answer that can't be believed is asked for again. */
export function wrongAnswer(what: string): StoreFault {
  return new StoreFault("again", new WaybillError("BAD_SERVER", `The store is not to be believed: ${what}.`));
}

export function fatal(error: WaybillError): StoreFault {
  return new StoreFault("fatal", error);
}

/** No answer: reset, stall, no such host. The cause may name the URL, so only its code goes on; our own errors don't. */
export function noAnswer(cause: unknown): StoreFault {
  if (cause instanceof WaybillError) return fatal(cause);
  const { code } = cause as { code?: unknown };
  if (code === "BAD_HTTP") return wrongAnswer("what it sent is no proper HTTP");
  const why = typeof code === "string" && /^[A-Z_]+$/.test(code) ? ` (${code})` : "";
  const message = `The store did not answer, or stopped in the middle${why}. Check the network, then try again.`;
  return new StoreFault("again", new WaybillError("UNREACHABLE", message));
}

/** S3's ways to say that a body is not what was announced: something on the way changed it. */
const OTHER_BYTES = new Set(["BadDigest", "XAmzContentChecksumMismatch", "InvalidDigest", "IncompleteBody"]);

export function refusesDigest(fault: StoreFault): boolean {
  return OTHER_BYTES.has(fault.storeCode);
}

/** What an answer that is no success means. Reads a little of its body, and ends it. */
export async function refusalOf(response: StoreResponse, urlExpired: boolean): Promise<StoreFault> {
  const { status } = response;
  const text = await readText(response);
  const storeCode = /<Code>([A-Za-z0-9]{1,64})<\/Code>/.exec(text)?.[1] ?? "";
  const said = `The store answered ${status}${storeCode && ` ${storeCode}`}`;
  const details = { status, storeCode };
  if (status >= 300 && status < 400)
    return fatal(new WaybillError("BAD_SERVER", `${said}: it redirects, and a presigned URL goes nowhere else.`));
  const passing = status === 408 || status === 429 || status >= 500 || storeCode === "RequestTimeout";
  if (passing || OTHER_BYTES.has(storeCode)) {
    const seconds = Number(response.header("retry-after") ?? 0);
    const retryAfter = Number.isFinite(seconds) ? Math.min(BACK_OFF_MS.most, Math.max(0, seconds * 1000)) : 0;
    const error = new WaybillError("UNAVAILABLE", `${said}, again and again. Try later.`, { details });
    return new StoreFault("again", error, { retryAfter, slower: status === 503 || status === 429, storeCode });
  }
  const error = new WaybillError(codeFor(status), `${said}.`, { details });
  const stale =
    storeCode === "ExpiredToken" || (status === 403 && (urlExpired || text.includes("Request has expired")));
  return new StoreFault(stale ? "expired" : "fatal", error, { storeCode });
}

function codeFor(status: number): "CONFLICT" | "GONE" | "BAD_SERVER" {
  if (status === 412) return "CONFLICT";
  return status === 404 ? "GONE" : "BAD_SERVER";
}

async function readText(response: StoreResponse): Promise<string> {
  const memory = new Uint8Array(MAX_ERROR_BYTES);
  await response.read(memory).catch(() => {}); // what came before the end of the connection may do
  response.discard();
  return new TextDecoder().decode(memory);
}

/**
 * Tries until it works, nothing helps, or the tries are used up. `attempt` learns what went wrong before. It runs in the part's
 * lane, which is left for others while we wait, and at the end. @param before How a try has failed already, which was heeded.
 * @throws WaybillError, or the signal's reason.
 */
export async function withRetries<T>(
  lane: Lane,
  attempt: (last: StoreFault | null) => Promise<T>,
  signal: AbortSignal,
  before: StoreFault | null = null,
): Promise<T> {
  let last: StoreFault | null = null;
  let failures = 0;
  let refreshes = 0;
  const after = async (error: unknown): Promise<void> => {
    signal.throwIfAborted();
    if (!(error instanceof StoreFault)) throw error;
    const counted = error.remedy === "expired" ? ++refreshes > MAX_REFRESHES : ++failures >= TRIES;
    if (error.remedy === "fatal" || counted) throw error.error;
    if (error.remedy === "again") await backOff(lane, error, failures, signal);
    last = error;
  };
  try {
    if (before) await after(before);
    for (;;) {
      await lane.enter(signal, last !== null);
      try {
        return await attempt(last);
      } catch (error) {
        heed(error, lane);
        await after(error);
      }
    }
  } finally {
    lane.leave();
  }
}

/** To be called before the lane is another's: the store may want fewer requests of all of us. */
export function heed(error: unknown, lane: Lane): void {
  if (error instanceof StoreFault && error.slower) lane.slowDown(error.retryAfter);
}

async function backOff(lane: Lane, fault: StoreFault, failures: number, signal: AbortSignal): Promise<void> {
  lane.leave();
  await pause(Math.max(patience(fault, failures), lane.retry()), signal);
}

function patience(fault: StoreFault, failures: number): number {
  const most = Math.min(BACK_OFF_MS.most, BACK_OFF_MS.first * 2 ** failures);
  return fault.retryAfter + Math.random() * most;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal.addEventListener("abort", stop, { once: true });
  });
}
