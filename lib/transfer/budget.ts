// Pure, like pace.ts.

/** A store may drop every connection at once and once more: no transfer has more requests than this under way. */
const BURST = 64;
/** A store that is there again is soon found so, and one that isn't gets one request a second. */
const PER_MS = 1 / 1_000;
/** One in five: a link that breaks more parts than that is not helped by breaking more. */
const PER_SUCCESS = 0.2;

/**
 * The retries that all parts of a transfer share: each takes one, time and success give them back. Whoever finds none waits;
 * how often one part may try is not said here.
 */
export class RetryBudget {
  #left = BURST;
  #at: number | null = null;

  /** Takes a retry. @returns milliseconds to wait before it. */
  take(now: number): number {
    this.#left = Math.min(BURST, this.#left + (now - (this.#at ?? now)) * PER_MS) - 1;
    this.#at = now;
    return Math.max(0, -this.#left / PER_MS);
  }

  /** A part is done. */
  earn(): void {
    this.#left = Math.min(BURST, this.#left + PER_SUCCESS);
  }
}
