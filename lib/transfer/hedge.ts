/** What a request is told by the one that watches over it. */
export interface Attempt {
  /** The same request runs already and takes too long: use a new connection, and memory of your own. */
  readonly second: boolean;
  readonly signal: AbortSignal;
  /** Bytes have moved. */
  readonly moved: (bytes: number) => void;
}

/** A request under way. */
export interface Running {
  readonly began: number;
  /** Bytes of memory that a second request for the same part needs. */
  readonly memory: number;
  /** Starts that; `release` when it has ended. */
  readonly hedge: (release: () => void) => void;
}

/** So many durations tell what is usual, and forget what was. */
const KNOWN = 64;
/** Fewer tell nothing. */
const FEWEST = 3;
/** Usual durations vary by less. S3's slow answers take 5 s instead of 0.2. */
const MUCH_LONGER = 3;
/** Less can't be won back: a new connection costs some round trips. */
const WORTH_IT_MS = 500;
/** Of all requests: doubling more would be a load and no remedy. */
const SHARE = 0.05;

/** Tells which requests take much longer than the others did. Knows no clock. */
export class Stragglers {
  readonly #running = new Set<Running>();
  readonly #durations: number[] = [];
  #requests = 0;
  #hedges = 0;

  add(running: Running): void {
    this.#running.add(running);
    this.#requests += 1;
  }

  remove(running: Running): void {
    this.#running.delete(running);
  }

  /** So long did one take that succeeded. */
  learn(ms: number): void {
    this.#durations.push(ms);
    if (this.#durations.length > KNOWN) this.#durations.shift();
  }

  /** The oldest request that is to be made once more, if one is. */
  find(now: number): Running | null {
    if (this.#durations.length < FEWEST || this.#hedges + 1 > Math.max(1, this.#requests * SHARE)) return null;
    const usual = this.#durations.toSorted((a, b) => a - b)[this.#durations.length >> 1]!;
    const late = now - Math.max(WORTH_IT_MS, MUCH_LONGER * usual);
    const [oldest] = this.#running; // they were added in this order
    return oldest && oldest.began < late ? oldest : null;
  }

  /** It was found, and is made once more. Nobody finds it again. */
  hedged(running: Running): void {
    this.#hedges += 1;
    this.#running.delete(running);
  }
}

/** Counts what moved, and takes it back from those that lost. */
export class Meter {
  readonly #count: (bytes: number) => void;
  #moved = 0;

  constructor(count: (bytes: number) => void) {
    this.#count = count;
  }

  readonly moved = (bytes: number): void => {
    this.#moved += bytes;
    this.#count(bytes);
  };

  /** The truth is known: so many were good. */
  settle(bytes: number): void {
    this.moved(bytes - this.#moved);
  }
}

/**
 * Does `work`, and once more beside it whenever `watch` calls its argument. The first that succeeds wins, and the other is
 * aborted; when this settles both have ended, so that their memory is free. It fails only when both have failed.
 */
export async function race<T>(
  work: (second: boolean, signal: AbortSignal) => Promise<T>,
  watch: (again: (release: () => void) => void) => void,
  outer: AbortSignal,
): Promise<T> {
  const stop = new AbortController();
  const abort = (): void => stop.abort(outer.reason);
  outer.addEventListener("abort", abort, { once: true });
  if (outer.aborted) abort();
  const running: Promise<unknown>[] = [];
  try {
    return await new Promise<T>((resolve, reject) => {
      let left = 0;
      const start = (second: boolean, release: () => void): void => {
        left += 1;
        const one = work(second, stop.signal).finally(release);
        running.push(one);
        one.then(resolve, (error: unknown) => --left === 0 && reject(error as Error));
      };
      start(false, () => {});
      watch((release) => start(true, release));
    });
  } finally {
    outer.removeEventListener("abort", abort);
    stop.abort(new Error("The same part came from elsewhere."));
    await Promise.allSettled(running);
  }
}
