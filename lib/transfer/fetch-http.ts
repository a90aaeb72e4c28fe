import { STALL_TIMEOUT_MS, type StoreRequest, type StoreResponse, type Transport } from "./http.ts";
import { orAbort } from "./parts.ts";

/** `fetch` shows nothing of an upload's bytes; a link that is slower than this is given up. */
const SLOWEST_BYTES_PER_MS = 6;

/**
 * Requests through `fetch`, for browsers and whatever else is not Node. It cannot tell a slow upload from a dead one but by
 * its duration, nor choose its connections, so `fresh` is left to chance.
 */
export class FetchTransport implements Transport {
  readonly #stallTimeout: number;
  readonly #fetch: typeof fetch;
  readonly #closed = new AbortController();

  constructor(options: { stallTimeout?: number; fetch?: typeof fetch } = {}) {
    this.#stallTimeout = options.stallTimeout ?? STALL_TIMEOUT_MS;
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
  }

  async request({ method, url, headers, body, signal }: StoreRequest): Promise<StoreResponse> {
    const watch = new Watch(this.#stallTimeout);
    // The browser counts the bytes itself and lets nobody else say how many there are.
    const { "content-length": _, ...sent } = headers;
    watch.expect((body?.length ?? 0) / SLOWEST_BYTES_PER_MS);
    const ending = AbortSignal.any([signal, watch.signal, this.#closed.signal]);
    try {
      const answer = this.#fetch(url, {
        method,
        headers: sent,
        signal: ending,
        redirect: "manual",
        credentials: "omit",
        referrerPolicy: "no-referrer",
        ...(body && { body: unshared(body) }),
      });
      return responseOf(await orAbort(answer, ending), watch, ending);
    } finally {
      watch.end();
    }
  }

  /** Ends all requests. */
  close(): void {
    this.#closed.abort(new Error("The transport was closed."));
  }
}

/** `fetch` takes no memory that threads share. */
function unshared(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : Uint8Array.from(bytes);
}

function responseOf(response: Response, watch: Watch, signal: AbortSignal): StoreResponse {
  const body = new Body(response.body?.getReader(), watch, signal);
  return {
    status: response.status,
    header: (name) => response.headers.get(name),
    read: (into) => body.read(into),
    discard: () => body.discard(),
  };
}

/**
 * The clock runs only while we wait for the store, not while the reader takes its time. A signal that was composed for a
 * `fetch` may be collected as garbage before it tells the body, so we listen for ourselves.
 */
class Body {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #watch: Watch;
  readonly #signal: AbortSignal;
  #rest: Uint8Array = new Uint8Array();
  #ended = false;

  constructor(reader: ReadableStreamDefaultReader<Uint8Array> | undefined, watch: Watch, signal: AbortSignal) {
    this.#reader = reader;
    this.#watch = watch;
    this.#signal = signal;
  }

  async read(into: Uint8Array): Promise<number> {
    let at = 0;
    while (at < into.length && (this.#rest.length > 0 || (await this.#more()))) {
      const piece = this.#rest.subarray(0, into.length - at);
      into.set(piece, at);
      at += piece.length;
      this.#rest = this.#rest.subarray(piece.length);
    }
    return at;
  }

  discard(): void {
    this.#watch.end();
    this.#ended = true;
    void this.#reader?.cancel().catch(() => {});
  }

  async #more(): Promise<boolean> {
    if (!this.#reader || this.#ended) return false;
    try {
      this.#watch.expect(0);
      const { done, value } = await orAbort(this.#reader.read(), this.#signal);
      if (done) this.#ended = true;
      else this.#rest = value;
    } catch (error) {
      this.discard();
      throw error;
    } finally {
      this.#watch.end();
    }
    return !this.#ended;
  }
}

/** Aborts when nothing has come for too long. */
class Watch {
  readonly #ms: number;
  readonly #controller = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(ms: number) {
    this.#ms = ms;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** From now on; `more` milliseconds are no wonder. */
  expect(more: number): void {
    this.end();
    const stalled = Object.assign(new Error(`No byte moved for ${this.#ms} ms.`), { code: "STALLED" });
    this.#timer = setTimeout(() => this.#controller.abort(stalled), this.#ms + more);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}
