import { STALL_TIMEOUT_MS, type StoreRequest, type StoreResponse, type Transport } from "./http.ts";

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
    try {
      const response = await this.#fetch(url, {
        method,
        headers: sent,
        signal: AbortSignal.any([signal, watch.signal, this.#closed.signal]),
        redirect: "manual",
        credentials: "omit",
        referrerPolicy: "no-referrer",
        ...(body && { body: body as Uint8Array<ArrayBuffer> }),
      });
      return responseOf(response, watch);
    } catch (error) {
      watch.end();
      throw error;
    }
  }

  /** Ends all requests. */
  close(): void {
    this.#closed.abort(new Error("The transport was closed."));
  }
}

function responseOf(response: Response, watch: Watch): StoreResponse {
  const reader = response.body?.getReader();
  const end = (): void => {
    watch.end();
    void reader?.cancel().catch(() => {});
  };
  if (!reader) watch.end();
  return {
    status: response.status,
    header: (name) => response.headers.get(name),
    body: bytesOf(reader, watch),
    discard: end,
  };
}

/** The clock runs only while we wait for the store, not while the reader takes its time. */
async function* bytesOf(
  reader: ReadableStreamDefaultReader<Uint8Array> | undefined,
  watch: Watch,
): AsyncGenerator<Uint8Array> {
  try {
    while (reader) {
      watch.expect(0);
      const { done, value } = await reader.read();
      watch.end();
      if (done) return;
      yield value;
    }
  } finally {
    watch.end();
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
