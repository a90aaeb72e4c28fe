/**
 * Turns of the event loop for each one that is let in. A turn does what is ready of all requests that are at work, and Node accepts
 * one new connection in it: letting in one a turn, as many as there are connections, we would make each turn as long as the whole work for one
 * request, and accept no more than we can do; who comes over a new connection then waits in the system's queue, where nobody can refuse it. So
 * four times as many are accepted as are let in.
 */
const TURNS = 4;

/** How long one may wait, in milliseconds: where the others came all at once; and where there has been a line for longer than that. */
export interface Patience {
  readonly burst: number;
  readonly standing: number;
}

interface Waiting {
  readonly since: number;
  readonly answer: (isIn: boolean) => void;
}

/**
 * Lets one in every few turns of the event loop, in the order in which they came. With little to do a turn takes no time.
 *
 * A line that came at once is worth waiting in, for it ends. One that stands would only make everybody wait: then who has waited for longer than a
 * moment is turned away, so that those who are let in have come just now (as controlled delay does it: Nichols and Jacobson, 2012).
 */
export class Turnstile {
  readonly #patience: Patience;
  readonly #waiting: Waiting[] = [];
  #turning = false;
  /** When nobody waited last. */
  #free = 0;

  constructor(patience: Patience) {
    this.#patience = patience;
  }

  /** @returns false for who has waited for too long. */
  enter(): Promise<boolean> {
    return new Promise((answer) => {
      const since = performance.now();
      if (this.#waiting.length === 0) this.#free = since;
      this.#waiting.push({ since, answer });
      if (!this.#turning) this.#next();
    });
  }

  #next(): void {
    this.#turnAway();
    const first = this.#waiting.shift();
    this.#turning = first !== undefined;
    if (first === undefined) return;
    first.answer(true);
    this.#turn(TURNS);
  }

  #turn(left: number): void {
    setImmediate(() => (left > 1 ? this.#turn(left - 1) : this.#next()));
  }

  #turnAway(): void {
    const now = performance.now();
    const { burst, standing } = this.#patience;
    const most = now - this.#free > burst ? standing : burst;
    while (this.#waiting.length > 0 && now - this.#waiting[0]!.since > most) this.#waiting.shift()!.answer(false);
  }
}
