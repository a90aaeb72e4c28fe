import { MiB } from "../protocol/limits.ts";
import type { Part } from "../protocol/plan.ts";
import { orAbort } from "./parts.ts";

// Which parts one request brings. Knows nothing of requests.

/**
 * Between two answers a connection stands idle for a round trip and the store's own latency, 50 ms or so: less than this and the
 * fastest connection that S3 gives (90 MB/s) would idle for more than one part in fifteen of its time.
 */
const WORTH_A_REQUEST: number = 64 * MiB;
/** Then even 25 MB/s idle for less than one in two hundred; a connection that has turned slow is left after it. */
const MOST: number = 256 * MiB;

/** Parts in a row that one request brings, one after the other; those that have not begun may be taken away. */
export class Run {
  readonly #parts: readonly Part[];
  #next: number;
  #end: number;
  #landed = 0;

  constructor(parts: readonly Part[], from: number, end: number) {
    this.#parts = parts;
    this.#next = from;
    this.#end = end;
  }

  /** The next part, which is this run's own from now on. */
  begin(): Part | null {
    if (this.#next >= this.#end) return null;
    this.#landed = 0;
    return this.#parts[this.#next++]!;
  }

  /** Bytes of the part that has begun. */
  moved(bytes: number): void {
    this.#landed += bytes;
  }

  get waiting(): number {
    return this.#end - this.#next;
  }

  /** The last part that it shall bring, as things are. */
  get last(): Part {
    return this.#parts[this.#end - 1]!;
  }

  /** How many parts another request could sensibly take: not the only one that waits, if its turn comes soon. */
  get spare(): number {
    const { length } = this.#parts[Math.max(0, this.#next - 1)]!;
    return this.waiting === 1 && 2 * this.#landed > length ? 0 : this.waiting;
  }

  /** Lets go of the last `count` that have not begun. @returns where they are. */
  release(count: number): Span {
    const end = this.#end;
    this.#end -= count;
    return { from: this.#end, end };
  }
}

/** Indices of parts, the second one not included. */
interface Span {
  readonly from: number;
  readonly end: number;
}

/**
 * Gives a payload's parts to requests, in runs. At first every request that may run gets an equal share; later ones get shares of
 * what is left, so that all end together; and when nothing is left, half of what waits in the longest run.
 */
export class Runs {
  readonly #parts: readonly Part[];
  readonly #worth: number;
  #most: number;
  /** The next one is the last. */
  readonly #pending: Span[];
  readonly #active = new Set<Run>();
  #left: number;
  #begun = 0;
  #wake = (): void => {};

  /** @param parts In order; there may be gaps. */
  constructor(parts: readonly Part[], partSize: number) {
    this.#parts = parts;
    this.#worth = Math.floor(WORTH_A_REQUEST / partSize);
    this.#most = Math.max(1, Math.floor(MOST / partSize));
    this.#pending = spansOf(parts).reverse();
    this.#left = parts.length;
  }

  /** Waits until there is something to take. @returns false when there never will be. */
  async ready(signal: AbortSignal): Promise<boolean> {
    for (;;) {
      if (this.#pending.length > 0 || this.#longest()) return true;
      if (this.#active.size === 0) return false;
      await orAbort(new Promise<void>((resolve) => (this.#wake = resolve)), signal);
    }
  }

  /** @param lanes How many requests there will be at a time, as far as is known. */
  take(lanes: number): Run | null {
    const span = this.#pending.pop();
    if (!span) {
      const victim = this.#longest();
      return victim && this.#start(victim.release(Math.ceil(victim.spare / 2)));
    }
    const end = Math.min(span.end, span.from + this.#share(lanes));
    if (end < span.end) this.#pending.push({ from: end, end: span.end });
    this.#left -= end - span.from;
    return this.#start({ from: span.from, end });
  }

  /** To be called when its request has ended. What has not begun is there to be taken again. */
  end(run: Run): void {
    this.#active.delete(run);
    const span = run.release(run.waiting);
    if (span.from < span.end) this.#pending.push(span);
    this.#left += span.end - span.from;
    this.#wake();
  }

  /** Something on the way can't do it: from now on each request is for one part. */
  keepShort(): void {
    this.#most = 1;
  }

  #share(lanes: number): number {
    const fresh = lanes - this.#begun;
    const even = fresh > 0 ? Math.ceil(this.#left / fresh) : Math.max(this.#worth, Math.ceil(this.#left / lanes));
    return Math.max(1, Math.min(even, this.#most));
  }

  #start({ from, end }: Span): Run {
    const run = new Run(this.#parts, from, end);
    this.#active.add(run);
    this.#begun += 1;
    return run;
  }

  #longest(): Run | null {
    let found: Run | null = null;
    for (const run of this.#active) if (run.spare > (found?.spare ?? 0)) found = run;
    return found;
  }
}

/** Where parts follow each other. */
function spansOf(parts: readonly Part[]): Span[] {
  const spans: Span[] = [];
  for (let from = 0, end = 1; from < parts.length; end++)
    if (end === parts.length || parts[end]!.number !== parts[end - 1]!.number + 1) {
      spans.push({ from, end });
      from = end;
    }
  return spans;
}
