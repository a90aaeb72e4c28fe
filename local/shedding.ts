import type { Mounted } from "./server.ts";

/** Requests that are served at the same time, whatever the machine: each holds a connection and its body. Long polls are none of them. */
const MOST_AT_ONCE = 1_000;
/**
 * Seconds that an answer may take because of others. A client gives up on it after 30 s, so a third leaves room for what is slow
 * by itself. Counted and not assumed: where a machine has much else to do, a request takes many times what it takes alone. Seen
 * here is only what was accepted: Node accepts one connection in each turn of its loop, and more wait in the system's queue.
 */
const PATIENCE = 10;
/** Fewer than this are no queue, however slow they are: a hundred senders may wait at once for S3 to put their parts together. */
const QUEUE = 128;
/** Seconds of a queue after which it is known how quickly it moves: many at once begin together and end together. */
const KNOWN_AFTER = 5;
/** Seconds; by then there is room for some. */
const RETRY_AFTER = 2;

/**
 * Refuses what would only wait (503, Retry-After). Without it everybody waits for everybody, until clients give up on answers that
 * are still worked for, and ask again.
 */
export class Shedding implements Mounted {
  readonly #app: Mounted;
  readonly #most: number;
  readonly #queue: Queue;
  #running = 0;

  /** @param now Milliseconds, of a clock that only goes forward. */
  constructor(app: Mounted, most: number = MOST_AT_ONCE, now: () => number = () => performance.now()) {
    this.#app = app;
    this.#most = most;
    this.#queue = new Queue(() => now() / 1000);
  }

  async fetch(request: Request): Promise<Response> {
    if (isFree(request)) return this.#app.fetch(request);
    if (this.#running >= this.#most || this.#queue.wait(this.#running) > PATIENCE) return busy();
    this.#running += 1;
    if (this.#running === QUEUE) this.#queue.forms();
    try {
      return await this.#app.fetch(request);
    } finally {
      this.#running -= 1;
      if (this.#running < QUEUE) this.#queue.ends();
      else this.#queue.moves();
    }
  }
}

/** How quickly those who wait get their answers, as long as there are many. */
class Queue {
  readonly #now: () => number;
  #since: number | null = null;
  /** Answers in each of the last seconds. */
  readonly #answers = new Map<number, number>();

  constructor(now: () => number) {
    this.#now = now;
  }

  forms(): void {
    this.#since ??= this.#now();
  }

  moves(): void {
    const second = Math.floor(this.#now());
    this.#answers.set(second, (this.#answers.get(second) ?? 0) + 1);
    for (const old of this.#answers.keys()) if (old < second - PATIENCE) this.#answers.delete(old);
  }

  ends(): void {
    this.#since = null;
    this.#answers.clear();
  }

  /** Seconds after which somebody who comes behind so many has an answer; 0 as long as nobody can tell. */
  wait(running: number): number {
    if (this.#since === null) return 0;
    const now = this.#now();
    const seconds = Math.min(PATIENCE, now - this.#since);
    if (seconds < KNOWN_AFTER) return 0;
    let answered = 0;
    for (const [second, count] of this.#answers) if (second >= now - seconds) answered += count;
    return (running * seconds) / answered;
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
