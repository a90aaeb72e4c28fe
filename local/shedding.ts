import type { Mounted } from "./server.ts";
import { type Patience, Turnstile } from "./turnstile.ts";

/** Requests that are served at the same time, for the memory that they take; long polls are none of them. */
const MOST_AT_ONCE = 1_000;
/** A client gives up on an answer after 30 s, and asks again. Five hundred who begin a round together are through in less than ten. */
const PATIENCE: Patience = { burst: 10_000, standing: 1_000 };
/** Seconds; by then there is room for some. */
const RETRY_AFTER = 2;

export interface SheddingLimits {
  /** Requests. Default: 1,000. */
  readonly most?: number;
  /** Default: 10 s and 1 s. */
  readonly patience?: Patience;
}

/**
 * Refuses what would only wait (503, Retry-After). Without it everybody waits for everybody, until clients give up on answers that
 * are still worked for, and ask again. What is waited for is a processor, and nothing that a caller could hold back: who sends half a body is in.
 */
export class Shedding implements Mounted {
  readonly #app: Mounted;
  readonly #most: number;
  readonly #turnstile: Turnstile;
  #running = 0;

  constructor(app: Mounted, { most = MOST_AT_ONCE, patience = PATIENCE }: SheddingLimits = {}) {
    this.#app = app;
    this.#most = most;
    this.#turnstile = new Turnstile(patience);
  }

  async fetch(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname === "/health") return this.#app.fetch(request); // whether we live must be told when there is much to do
    if (request.method === "GET" && pathname.endsWith("/events")) return this.#inTurn(request);
    if (this.#running >= this.#most) return busy();
    this.#running += 1;
    try {
      return await this.#inTurn(request);
    } finally {
      this.#running -= 1;
    }
  }

  async #inTurn(request: Request): Promise<Response> {
    const isIn = await this.#turnstile.enter();
    return isIn && !request.signal.aborted ? this.#app.fetch(request) : busy(); // nobody listens to one that is aborted
  }
}

function busy(): Response {
  const problem = {
    ...{ type: "urn:waybill:UNAVAILABLE", status: 503, code: "UNAVAILABLE" },
    detail: "The API has more to do than it can. Try again in a moment.",
  };
  return new Response(JSON.stringify(problem), {
    status: 503,
    headers: {
      ...{ "content-type": "application/problem+json", "cache-control": "no-store" },
      "retry-after": String(RETRY_AFTER),
    },
  });
}
