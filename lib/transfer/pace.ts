// How many requests may run at a time: time and bytes come in, a number goes out. It imports nothing and owns no clock, so that
// a test can play it any link.

/** Enough to see whether more helps, few enough for any store. */
const START = 4;
/** While doubling, a level that already shows its gain is left after this, so that a fast link is in use soon. */
const ROUND_MS = 50;
/** ... if this much went through per request: less is a matter of chance. */
const ROUND_BYTES: number = 256 * 1024;
/** A level that shows no gain by then has none. Some round trips long, new connections included. */
const TICK_MS = 500;
/** A doubling that gains less has met a limit that more requests don't move. */
const DOUBLING_GAIN = 1.25;
/** Less than this is noise. */
const PROBE_GAIN = 1.05;
/** After probes that brought nothing the next one waits longer, so that looking costs next to nothing: 16 ticks are 8 s. */
const MAX_REST = 16;
/** A level that was worth its step up is not left for a lower one, to see whether that does as well, unless it gives this much less than then. */
const WORTH = 0.8;
/** A link that gives twice what it gave, and not because of us, is another link. */
const OTHER_LINK = 2;
const COLLAPSE = { share: 0.5, ms: 3_000 };
/** What remains after the store asked us to slow down. */
const SLOWER = 0.75;
/** One such answer among many is an accident, that a retry makes up for; so many in a second are meant. */
const MEANT = { few: 2, share: 0.1, ms: 1_000 };
/** A level at which the store asked for that is left alone for a while. */
const CEILING_MS = 5_000;

/**
 * Finds the concurrency that gives the best goodput: it doubles while that pays, then probes a little more and a little less.
 * It goes down when the store says so, or when goodput stays under half its best for three seconds; then it forgets that best,
 * so that no collapse is for ever.
 */
export class Pace {
  /** Requests that may run now. */
  allowed: number;
  #most: number;
  #phase: "doubling" | "resting" | "probing" = "doubling";
  /** The level that was left for the present one, and its goodput in bytes per millisecond. */
  #home = 1;
  #before = 0;
  #step = 1;
  #rest = 0;
  #rested = 0;
  #best = 0;
  /** What the present level gave when it turned out to be worth its step up; 0: it has not. */
  #worth = 0;
  #lowSince: number | null = null;
  #slowedAt = Number.NEGATIVE_INFINITY;
  /** When the store asked for less. */
  #pleas: number[] = [];
  #ceiling = Number.POSITIVE_INFINITY;
  /** Where the present measurement began. */
  #mark: { readonly at: number; readonly bytes: number } | null = null;

  constructor(most: number, start: number = START) {
    this.#most = most;
    this.allowed = Math.min(start, most);
  }

  /** How many there will soon be, if all goes well. */
  get expected(): number {
    return this.#phase === "doubling" ? this.#top() : this.allowed;
  }

  /** How many there may ever be. */
  limit(most: number): void {
    this.#most = most;
    if (this.allowed > most) this.#goTo(most, "resting");
  }

  /**
   * To be called often. `bytes`: all that went through so far, less what failed its verification; `running`: requests. Only
   * while just as many run as may, they tell something about this level.
   */
  tick(now: number, bytes: number, running: number): void {
    const nothingYet = this.#before === 0 && bytes === this.#mark?.bytes; // connecting is no part of the speed
    if (running !== this.allowed || !this.#mark || nothingYet) {
      this.#mark = { at: now, bytes };
      return;
    }
    const ms = now - this.#mark.at;
    const moved = bytes - this.#mark.bytes;
    const goodput = moved / ms;
    if (ms >= TICK_MS) this.#judge(now, goodput, moved);
    else if (this.#phase === "doubling" && ms >= ROUND_MS && moved >= ROUND_BYTES * this.allowed) this.#glance(goodput);
  }

  /** The store asked for less: 503 or 429. A storm's many answers are one piece of news. */
  slowDown(now: number): void {
    this.#pleas = [...this.#pleas.filter((at) => now - at < MEANT.ms), now];
    const meant = this.#pleas.length >= Math.max(MEANT.few, this.allowed * MEANT.share);
    if (!meant || now - this.#slowedAt < TICK_MS) return;
    this.#slowedAt = now;
    this.#ceiling = this.allowed;
    this.#goTo(Math.floor(this.allowed * SLOWER), "resting");
    this.#forget();
  }

  #judge(now: number, goodput: number, moved: number): void {
    if (now - this.#slowedAt > CEILING_MS) this.#ceiling = Number.POSITIVE_INFINITY;
    if (this.#hasCollapsed(now, goodput)) {
      this.#goTo(Math.floor(this.allowed / 2), "resting");
      this.#forget();
    } else if (this.#before === 0 && moved < ROUND_BYTES * this.allowed) {
      this.#stand(goodput); // every request more would be a part more that is lost when we die
      this.#goTo(this.allowed, "resting");
    } else if (this.#phase === "doubling") this.#judgeDoubling(goodput);
    else if (this.#phase === "probing") this.#judgeProbe(goodput);
    else this.#judgeRest(goodput);
    this.#mark = null;
  }

  #hasCollapsed(now: number, goodput: number): boolean {
    this.#best = Math.max(this.#best, goodput);
    if (goodput >= this.#best * COLLAPSE.share) this.#lowSince = null;
    else this.#lowSince ??= this.#mark?.at ?? now;
    return this.#lowSince !== null && now - this.#lowSince >= COLLAPSE.ms;
  }

  #forget(): void {
    this.#best = this.#before = this.#worth = 0;
    this.#lowSince = null;
    this.#rest = 0;
    this.#step = 1;
  }

  /** A level need not be stayed at for longer than it takes to see that it pays. */
  #glance(goodput: number): void {
    if (goodput > this.#before * DOUBLING_GAIN) this.#double(goodput);
  }

  #judgeDoubling(goodput: number): void {
    if (goodput > this.#before * DOUBLING_GAIN) this.#double(goodput);
    else this.#goTo(goodput > this.#before * PROBE_GAIN ? this.allowed : this.#home, "resting");
  }

  #double(goodput: number): void {
    this.#stand(goodput);
    this.#worth = Number.POSITIVE_INFINITY; // how much, its first whole tick tells: what comes first may be a burst
    const next = Math.min(2 * this.allowed, this.#top());
    this.#goTo(next, next > this.allowed ? "doubling" : "resting");
  }

  /** The goodput of a level that we stay at for now is measured anew all the time. */
  #judgeRest(goodput: number): void {
    const other = this.#before > 0 && goodput > this.#before * OTHER_LINK;
    this.#stand(goodput);
    if (this.#worth === Number.POSITIVE_INFINITY) this.#worth = goodput;
    if (other) this.#double(goodput);
    else if (++this.#rested > this.#rest) this.#probe();
  }

  #judgeProbe(goodput: number): void {
    if (goodput > this.#before * PROBE_GAIN) {
      this.#stand(goodput);
      this.#worth = this.#step > 0 ? goodput : 0;
      this.#rest = 0;
      this.#step *= 2; // the right direction: back from a collapse in a few ticks
      this.#probe();
    } else {
      this.#rest = Math.min(MAX_REST, 2 * this.#rest + 1);
      this.#turn();
      this.#goTo(this.#home, "resting");
    }
  }

  /** The other way next time. */
  #turn(): void {
    const worthIt = this.#worth > 0 && this.#before > this.#worth * WORTH;
    this.#step = this.#step > 0 && !worthIt ? -1 : this.#stepUp();
  }

  /** One in ten, at least one: one among thirty could never gain five per cent. */
  #stepUp(): number {
    return Math.max(1, Math.floor(this.#home / 10));
  }

  #probe(): void {
    const next = Math.max(1, Math.min(this.allowed + this.#step, this.#top()));
    if (next === this.allowed) this.#turn(); // at an end
    this.#goTo(next, next === this.allowed ? "resting" : "probing");
  }

  #top(): number {
    return Math.max(this.allowed, Math.min(this.#most, this.#ceiling - 1));
  }

  #stand(goodput: number): void {
    this.#home = this.allowed;
    this.#before = goodput;
  }

  #goTo(level: number, phase: "doubling" | "resting" | "probing"): void {
    this.allowed = Math.max(1, level);
    this.#phase = phase;
    this.#rested = 0;
    this.#mark = null;
  }
}
