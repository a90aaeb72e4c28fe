/**
 * Turns of the event loop for each one that is let in. A turn does what is ready of all requests that are at work, and Node accepts
 * one new connection in it: letting in one a turn, as many as there are connections, we would make each turn as long as the whole work for one
 * request, and accept no more than we can do; who comes over a new connection then waits in the system's queue, where nobody can refuse it. So
 * four times as many are accepted as are let in.
 */
const TURNS = 4;

/** Lets one in every few turns of the event loop, in the order in which they came. With little to do a turn takes no time. */
export class Turnstile {
  readonly #waiting: { readonly since: number; readonly enter: () => void }[] = [];
  #turning = false;

  /** Milliseconds that the first one has waited. */
  get wait(): number {
    const [first] = this.#waiting;
    return first ? performance.now() - first.since : 0;
  }

  enter(): Promise<void> {
    return new Promise((enter) => {
      this.#waiting.push({ since: performance.now(), enter });
      if (!this.#turning) this.#next();
    });
  }

  #next(): void {
    const first = this.#waiting.shift();
    this.#turning = first !== undefined;
    if (first === undefined) return;
    first.enter();
    this.#turn(TURNS);
  }

  #turn(left: number): void {
    setImmediate(() => (left > 1 ? this.#turn(left - 1) : this.#next()));
  }
}
