import { FetchRequest, type GetUrlResponse, JsonRpcProvider, Network } from "ethers";
import { readWithin } from "../protocol/body.ts";
import { WaybillError } from "../protocol/errors.ts";

/** No honest node needs longer for one call; a caller waits no longer than this for a typed error. */
const DEFAULT_TIMEOUT_MS = 10_000;
/** What a node may say in one answer: a block of 60M gas holds at most 15 MB of logs in hex. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
/** Of a node's own words in our messages. */
const MAX_WORDS = 200;

/** How long a node that did not answer is left alone while there is another. */
const LEFT_ALONE_MS = 30_000;

/**
 * JSON-RPC to one node, or to the first of several that answers. Calls of the same turn of the event loop travel in one
 * batch; nothing is cached or polled, what a node refuses is refused, and no error tells a URL, which may carry a key.
 */
export class Rpc {
  readonly #lines: readonly Line[];
  /** Who answered last. */
  #line: Line;

  /** `timeout` in milliseconds, per call. @throws WaybillError USAGE if `url` is no http(s) URL. */
  constructor(url: string | readonly string[], chainId: number, timeout: number = DEFAULT_TIMEOUT_MS) {
    this.#lines = [url].flat().map((one) => new Line(one, chainId, timeout));
    const [first] = this.#lines;
    if (!first) throw new WaybillError("USAGE", "There must be at least one RPC URL.");
    this.#line = first;
  }

  /**
   * One call.
   *
   * @throws WaybillError UNAVAILABLE. When the node itself refused the call, `details.rpcCode` is its code and
   * `details.rpcMessage` its words.
   */
  async send(method: string, params: readonly unknown[]): Promise<unknown> {
    const rested = this.#lines.filter((line) => line !== this.#line && line.silentUntil <= performance.now());
    let fault: unknown;
    for (const line of [this.#line, ...rested]) {
      try {
        const answer = await line.send(method, params);
        this.#line = line;
        return answer;
      } catch (error) {
        if (isRefusal(error) || isTooLong(error)) throw error;
        line.silentUntil = performance.now() + LEFT_ALONE_MS;
        fault ??= error;
      }
    }
    throw fault;
  }

  close(): void {
    for (const line of this.#lines) line.close();
  }
}

/** The connection to one node. */
class Line {
  readonly #provider: JsonRpcProvider;
  readonly #secrets: readonly string[];
  readonly #timeout: number;
  /** It did not answer, and others are asked until then. */
  silentUntil = 0;

  constructor(url: string, chainId: number, timeout: number) {
    const { request, secrets } = connectionTo(url);
    request.timeout = timeout;
    this.#timeout = timeout;
    this.#secrets = secrets;
    this.#provider = new JsonRpcProvider(request, Network.from(chainId), {
      staticNetwork: true,
      cacheTimeout: -1,
      batchStallTime: 0,
    });
  }

  async send(method: string, params: readonly unknown[]): Promise<unknown> {
    try {
      return await this.#provider.send(method, [...params]);
    } catch (error) {
      throw this.#fault(method, error);
    }
  }

  close(): void {
    this.#provider.destroy();
  }

  #fault(method: string, error: unknown): WaybillError {
    const refusal = refusalIn(error);
    if (refusal) {
      const words = this.#redact(refusal.message);
      return new WaybillError("UNAVAILABLE", `The RPC node refused ${method}: ${words} (${refusal.code}).`, {
        details: { rpcCode: refusal.code, rpcMessage: words },
      });
    }
    // The error beneath names the URL, so it is not passed on as the cause.
    return new WaybillError(
      "UNAVAILABLE",
      `The RPC node did not answer ${method}${reasonFor(error, this.#timeout)}. Check that it runs and that its URL is right, then try again.`,
      error instanceof AnswerTooLong ? { details: { tooLong: true } } : {},
    );
  }

  #redact(words: string): string {
    let text = words.replace(/\b[a-z]+:\/\/\S+/gi, "(a URL)").replace(/[^\x20-\x7e]+/g, " ");
    for (const secret of this.#secrets) text = text.replaceAll(secret, "(redacted)");
    return text.length > MAX_WORDS ? `${text.slice(0, MAX_WORDS)}...` : text;
  }
}

/** Did the node itself refuse the call? Otherwise it wasn't reached, or didn't answer. */
export function isRefusal(error: unknown): error is WaybillError {
  return error instanceof WaybillError && error.details.rpcCode !== undefined;
}

/** Was the answer cut off because of its length? Then less should be asked for. */
export function isTooLong(error: unknown): boolean {
  return error instanceof WaybillError && error.details.tooLong === true;
}

class AnswerTooLong extends Error {}

function connectionTo(text: string): { request: FetchRequest; secrets: string[] } {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (!url || !/^https?:$/.test(url.protocol))
    throw new WaybillError("USAGE", "The RPC URL must begin with http:// or https://.");
  const { username, password } = url;
  url.username = "";
  url.password = "";
  const request = new FetchRequest(url.href);
  request.retryFunc = async () => false;
  request.getUrlFunc = post;
  if (username || password) {
    const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    request.setHeader("authorization", `Basic ${btoa(pair)}`);
  }
  return { request, secrets: secretsOf(url, username, password) };
}

/** Pieces of the URL that could be a key, or hold one as some hosts do. Short ones ("v1", "rpc") are none. */
function secretsOf(url: URL, ...more: string[]): string[] {
  const subdomains = url.hostname.split(".").slice(0, -2);
  const pieces = [url.hostname, ...subdomains, ...url.pathname.split("/"), ...url.searchParams.values(), ...more];
  return pieces.filter((piece) => piece.length >= 6).sort((a, b) => b.length - a.length);
}

/** ethers' own transport lets a slow answer live on; this one ends with its time, follows nobody, and keeps connections. */
async function post(request: FetchRequest): Promise<GetUrlResponse> {
  const response = await fetch(request.url, {
    method: request.method,
    headers: request.headers,
    body: request.body && Uint8Array.from(request.body),
    redirect: "error",
    signal: AbortSignal.timeout(request.timeout),
  });
  return {
    statusCode: response.status,
    statusMessage: response.statusText,
    headers: Object.fromEntries(response.headers),
    body: await readWithin(response.body, MAX_ANSWER_BYTES, () => new AnswerTooLong()),
  };
}

/** ethers wraps a node's error object, at a place that depends on the method. */
function refusalIn(error: unknown): { code: number; message: string } | null {
  const { info, error: own } = (error ?? {}) as { info?: { error?: unknown }; error?: unknown };
  for (const found of [own, info?.error]) {
    const { code, message } = (found ?? {}) as { code?: unknown; message?: unknown };
    if (typeof code === "number") return { code, message: typeof message === "string" ? message : "no reason given" };
  }
  return null;
}

function reasonFor(error: unknown, timeout: number): string {
  const { name, info, cause } = error as { name?: string; info?: { responseStatus?: string }; cause?: unknown };
  if (error instanceof AnswerTooLong) return ` within ${MAX_ANSWER_BYTES} bytes`;
  if (name === "TimeoutError") return ` within ${timeout / 1000} s`;
  const status = /^\d{3}/.exec(info?.responseStatus ?? "")?.[0];
  if (status) return ` but with HTTP status ${status}`;
  const { code } = (cause ?? {}) as { code?: unknown };
  return typeof code === "string" && /^[A-Z_]+$/.test(code) ? ` (${code})` : "";
}
