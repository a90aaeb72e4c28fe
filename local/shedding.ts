import type { Mounted } from "./server.ts";

/**
 * Requests that are served at the same time. A client gives up on an answer after 30 s, and one request takes some ten
 * milliseconds of a processor: who came behind so many would be answered when nobody listens any more. Long polls are none of
 * them.
 */
const MOST_AT_ONCE = 1_000;
/** Seconds; by then there is room for some. */
const RETRY_AFTER = 2;

/**
 * Refuses what would only wait (503, Retry-After). Without it everybody waits for everybody, until clients give up on answers that
 * are still worked for, and ask again.
 */
export class Shedding implements Mounted {
  readonly #app: Mounted;
  readonly #most: number;
  #running = 0;

  constructor(app: Mounted, most: number = MOST_AT_ONCE) {
    this.#app = app;
    this.#most = most;
  }

  async fetch(request: Request): Promise<Response> {
    if (isFree(request)) return this.#app.fetch(request);
    if (this.#running >= this.#most) return busy();
    this.#running += 1;
    try {
      return await this.#app.fetch(request);
    } finally {
      this.#running -= 1;
    }
  }
}

/** What waits for news takes no processor, and whether we live must be told when there is much to do. */
function isFree({ method, url }: Request): boolean {
  const { pathname } = new URL(url);
  return method === "GET" && (pathname === "/health" || pathname.endsWith("/events"));
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
