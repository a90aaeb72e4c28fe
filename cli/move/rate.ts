/** A rate is what moved within this time: less jumps about, more remembers what is long past. */
const WINDOW_MS = 10_000;
/** Without a byte for so long, it has stalled. Connections are given up after 10 s. */
const STALLED_MS = 5_000;
/** Who looks again after so long did not run in between: that time says nothing about the way. */
const ASLEEP_MS = 3_000;

interface Sample {
  readonly at: number;
  readonly bytes: number;
}

/** How fast bytes move. Knows no clock: every call is told the time, in milliseconds. */
export class Rate {
  #samples: Sample[] = [];
  #movedAt = 0;
  #lookedAt = 0;

  /** So many bytes have moved in all. To be told often, also when nothing moves. */
  look(at: number, bytes: number): void {
    const last = this.#samples.at(-1);
    if (last === undefined || at - this.#lookedAt > ASLEEP_MS) {
      this.#samples = [];
      this.#movedAt = at;
    } else if (bytes !== last.bytes) this.#movedAt = at;
    this.#lookedAt = at;
    this.#samples.push({ at, bytes });
    while (this.#samples.length > 2 && this.#samples[1]!.at <= at - WINDOW_MS) this.#samples.shift();
  }

  /** Bytes a second; null as long as nobody can tell. */
  get perSecond(): number | null {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (!first || !last || last.at - first.at < 500) return null;
    return Math.max(0, ((last.bytes - first.bytes) * 1000) / (last.at - first.at));
  }

  /** Milliseconds that so many bytes will take; null when nobody can tell. */
  left(bytes: number): number | null {
    const rate = this.perSecond;
    return rate === null || rate < 1 ? null : (bytes / rate) * 1000;
  }

  /** Milliseconds since a byte moved, once that is long; else null. */
  get stalled(): number | null {
    const still = this.#lookedAt - this.#movedAt;
    return this.#samples.length > 0 && still >= STALLED_MS ? still : null;
  }
}
