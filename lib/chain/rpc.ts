import { readWithin } from "../protocol/body.ts";
import { certificateFault } from "../protocol/certificates.ts";
import { WaybillError } from "../protocol/errors.ts";

/** No honest node needs longer for one call; a caller waits no longer than this for a typed error. */
const DEFAULT_TIMEOUT_MS = 10_000;
/** What a node may say in one answer: a block of 60M gas holds at most 15 MB of logs in hex. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
/** Of a node's own words in our messages. */
const MAX_WORDS = 200;
/** Calls, and characters of text, in one batch: what usual nodes take. */
const MAX_BATCH = { calls: 100, length: 1024 * 1024 };

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

  /** `timeout` in milliseconds, per call; `fetch` instead of the global one. @throws WaybillError USAGE if `url` is no http(s) URL. */
  constructor(
    url: string | readonly string[],
    options: { timeout?: number | undefined; fetch?: typeof fetch | undefined } = {},
  ) {
    const { timeout = DEFAULT_TIMEOUT_MS, fetch: send = (...request) => fetch(...request) } = options;
    this.#lines = [url].flat().map((one) => new Line(one, timeout, send));
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

interface Call {
  readonly id: number;
  readonly method: string;
  /** As it is sent. */
  readonly text: string;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** The connection to one node. */
class Line {
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #secrets: readonly string[];
  readonly #timeout: number;
  readonly #fetch: typeof fetch;
  #waiting: Call[] = [];
  #calls = 0;
  #closed = false;
  /** It did not answer, and others are asked until then. */
  silentUntil = 0;

  constructor(url: string, timeout: number, send: typeof fetch) {
    const { href, headers, secrets } = connectionTo(url);
    this.#url = href;
    this.#headers = headers;
    this.#timeout = timeout;
    this.#fetch = send;
    this.#secrets = secrets;
  }

  async send(method: string, params: readonly unknown[]): Promise<unknown> {
    try {
      return await new Promise((resolve, reject) => {
        const id = ++this.#calls;
        const text = JSON.stringify({ jsonrpc: "2.0", id, method, params });
        // What else is asked for in this turn goes along.
        if (this.#waiting.push({ id, method, text, resolve, reject }) === 1) setTimeout(() => this.#flush(), 0);
      });
    } catch (error) {
      throw this.#fault(method, error);
    }
  }

  close(): void {
    this.#closed = true;
  }

  #flush(): void {
    const calls = this.#waiting;
    this.#waiting = [];
    for (const batch of batchesOf(calls))
      this.#exchange(batch).catch((error: unknown) => {
        for (const { reject } of batch) reject(error);
      });
  }

  async #exchange(batch: readonly Call[]): Promise<void> {
    if (this.#closed) throw new Error("closed");
    const texts = batch.map(({ text }) => text);
    const body = texts.length === 1 ? texts[0]! : `[${texts}]`;
    const answer = await post(this.#fetch, { url: this.#url, headers: this.#headers, body }, this.#timeout);
    const replies = new Map([answer].flat().map((reply) => [(reply as Reply | null)?.id, reply as Reply]));
    for (const { id, resolve, reject } of batch) {
      const reply = replies.get(id);
      if (reply && !reply.error && reply.result !== undefined) resolve(reply.result);
      else reject(new NoResult(reply?.error));
    }
  }

  #fault(method: string, error: unknown): WaybillError {
    const refusal = error instanceof NoResult ? error.refusal : null;
    if (refusal) {
      const words = this.#redact(refusal.message);
      return new WaybillError("UNAVAILABLE", `The RPC node refused ${method}: ${words} (${refusal.code}).`, {
        details: { rpcCode: refusal.code, rpcMessage: words },
      });
    }
    // What lies between us and the node speaks of itself alone.
    if (error instanceof WaybillError)
      return new WaybillError("UNAVAILABLE", error.message, { retryable: error.retryable });
    const certificate = certificateFault(error);
    if (certificate !== null)
      return new WaybillError("UNAVAILABLE", `The RPC node's certificate ${certificate}.`, { retryable: false });
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

class BadStatus extends Error {
  readonly status: number;

  constructor(status: number) {
    super();
    this.status = status;
  }
}

interface Reply {
  readonly id?: unknown;
  readonly result?: unknown;
  readonly error?: unknown;
}

/** A call without a result: refused by the node, or passed over. */
class NoResult extends Error {
  readonly refusal: { readonly code: number; readonly message: string } | null;

  constructor(given: unknown) {
    super();
    const { code, message } = (given ?? {}) as { code?: unknown; message?: unknown };
    const words = typeof message === "string" ? message : "no reason given";
    this.refusal = typeof code === "number" ? { code, message: words } : null;
  }
}

/** Calls in their order, as many in each batch as a node takes. */
function batchesOf(calls: readonly Call[]): Call[][] {
  const batches: Call[][] = [];
  let length = 0;
  for (const call of calls) {
    const batch = batches.at(-1);
    length += call.text.length + 1;
    if (batch && batch.length < MAX_BATCH.calls && length <= MAX_BATCH.length) {
      batch.push(call);
    } else {
      batches.push([call]);
      length = call.text.length + 1;
    }
  }
  return batches;
}

function connectionTo(text: string): { href: string; headers: Record<string, string>; secrets: string[] } {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (!url || !/^https?:$/.test(url.protocol))
    throw new WaybillError("USAGE", "The RPC URL must begin with http:// or https://.");
  const { username, password } = url;
  url.username = "";
  url.password = "";
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (username || password) {
    const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    headers.authorization = `Basic ${btoa(pair)}`;
  }
  return { href: url.href, headers, secrets: secretsOf(url, username, password) };
}

/** Pieces of the URL that could be a key, or hold one as some hosts do. Short ones ("v1", "rpc") are none. */
function secretsOf(url: URL, ...more: string[]): string[] {
  const subdomains = url.hostname.split(".").slice(0, -2);
  const pieces = [url.hostname, ...subdomains, ...url.pathname.split("/"), ...url.searchParams.values(), ...more];
  return pieces.filter((piece) => piece.length >= 6).sort((a, b) => b.length - a.length);
}

/** Ends with its time, also in the middle of an answer, and follows nobody. */
async function post(
  send: typeof fetch,
  { url, headers, body }: { url: string; headers: Readonly<Record<string, string>>; body: string },
  timeout: number,
): Promise<unknown> {
  const signal = AbortSignal.timeout(timeout);
  const response = await send(url, { method: "POST", headers, body, redirect: "error", signal });
  const bytes = await readWithin(response.body, MAX_ANSWER_BYTES, () => new AnswerTooLong());
  if (!response.ok) throw new BadStatus(response.status);
  return JSON.parse(new TextDecoder().decode(bytes));
}

function reasonFor(error: unknown, timeout: number): string {
  const { name, cause } = error as { name?: string; cause?: unknown };
  if (error instanceof AnswerTooLong) return ` within ${MAX_ANSWER_BYTES} bytes`;
  if (name === "TimeoutError") return ` within ${timeout / 1000} s`;
  if (error instanceof BadStatus) return ` but with HTTP status ${error.status}`;
  const { code } = (cause ?? {}) as { code?: unknown };
  return typeof code === "string" && /^[A-Z_]+$/.test(code) ? ` (${code})` : "";
}
