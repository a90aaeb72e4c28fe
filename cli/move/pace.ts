import type { Moved } from "../../lib/index.ts";

/** Progress comes this often as JSON. */
const EVENT_MS = 1_000;

/** Decides which of a payload's movements are told: one a second at most, and that all of it is there. */
export class Pace {
  #at = Number.NEGATIVE_INFINITY;
  #whole = false;

  isDue({ movedBytes, totalBytes }: Moved): boolean {
    const whole = movedBytes === totalBytes;
    const now = performance.now();
    if (whole ? this.#whole : now - this.#at < EVENT_MS) return false;
    this.#at = now;
    this.#whole = whole;
    return true;
  }
}
