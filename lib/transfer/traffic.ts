import { MiB } from "../protocol/limits.ts";
import { RetryBudget } from "./budget.ts";
import { type Attempt, Meter, type Running, race, Stragglers } from "./hedge.ts";
import { Pace } from "./pace.ts";
import { Room } from "./room.ts";

/** Memory of all parts in flight, whatever their size: a recipient with half a GiB must do. */
const MAX_IN_FLIGHT: number = 128 * MiB;
/** How often the pace looks; a transfer notices its chance within this. */
const LOOK_MS = 50;
/** A look that comes so late comes from a process that was busy, and answers may have lain here all the time. */
const LATE_MS = 300;

/**
 * What transfers that run at the same time share: requests, memory, retries, and what is known about the link. Each joins it and
 * leaves it again.
 */
export class Traffic {
  readonly memory: Room = new Room(MAX_IN_FLIGHT);
  readonly lanes: Room;
  readonly retries: RetryBudget = new RetryBudget();
  readonly stragglers: Stragglers = new Stragglers();
  readonly #most: number;
  readonly #pace: Pace;
  readonly #shares = new Set<Share>();
  #bytes = 0;
  #heldUntil = 0;
  #lookedAt = 0;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param most Requests at a time. @param start How many it begins with. */
  constructor(most: number, start?: number) {
    this.#most = most;
    this.#pace = new Pace(most, start);
    this.lanes = new Room(this.#pace.allowed);
  }

  /** @param inLanes How much of the memory may be in requests; the rest is for parts that are made ready. */
  join(partSize: number, inLanes = 1): Share {
    const share = new Share(this, Math.max(1, Math.floor((MAX_IN_FLIGHT * inLanes) / Math.max(1, partSize))));
    this.#shares.add(share);
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS);
    this.#limit();
    return share;
  }

  leave(share: Share): void {
    this.#shares.delete(share);
    this.#limit();
    if (this.#shares.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Bytes that came or went; negative when they turn out to be no good. */
  readonly count = (bytes: number): void => {
    this.#bytes += bytes;
  };

  /** How many requests there will be at a time, as far as is known. */
  get expected(): number {
    return this.#pace.expected;
  }

  /** Whether a request of this share that could end well now should: fewer may run, a retry waits, or others have less. */
  crowds(share: Share): boolean {
    if (this.lanes.used > this.#pace.allowed || this.lanes.urgent) return true;
    return [...this.#shares].some(({ waiting, running }) => waiting > 0 && running + 1 < share.running);
  }

  /** The store asked all of us to slow down, and to ask for nothing at all for a time. */
  slowDown(retryAfter: number): void {
    const now = performance.now();
    this.#pace.slowDown(now);
    this.#heldUntil = Math.max(this.#heldUntil, now + retryAfter);
    this.#open(now);
  }

  /** What memory holds bounds the requests; a pace beyond that would wait for ever to be measured. */
  #limit(): void {
    const fitting = [...this.#shares].map(({ most }) => most);
    this.#pace.limit(Math.min(this.#most, ...fitting));
    this.#open(performance.now());
  }

  #look(): void {
    const now = performance.now();
    this.#pace.tick(now, this.#bytes, this.lanes.used);
    this.#open(now);
    const punctual = now - this.#lookedAt < LATE_MS;
    this.#lookedAt = now;
    if (punctual && now >= this.#heldUntil && this.lanes.idle) this.#hedge(now);
  }

  #open(now: number): void {
    this.lanes.resize(now < this.#heldUntil ? 0 : this.#pace.allowed);
  }

  /** A lane is empty and nobody wants it: whoever takes much too long is asked once more. */
  #hedge(now: number): void {
    const late = this.stragglers.find(now);
    if (!late || !this.memory.tryTake(late.memory)) return;
    this.lanes.tryTake(1);
    this.stragglers.hedged(late);
    late.hedge(() => {
      this.lanes.give(1);
      this.memory.give(late.memory);
    });
  }
}

/** What one transfer has of it. */
export class Share {
  /** Requests for which there can be memory. */
  readonly most: number;
  readonly #traffic: Traffic;
  #memory = 0;
  #lanes = 0;
  #waiting = 0;
  #left = false;
  #moved = 0;

  constructor(traffic: Traffic, most: number) {
    this.#traffic = traffic;
    this.most = most;
  }

  /** Whether a request could begin and none waits to. */
  get idle(): boolean {
    return this.#traffic.lanes.idle;
  }

  /** Bytes that came or went, those of requests under way too. */
  get moved(): number {
    return this.#moved;
  }

  /** Negative when they turn out to be no good. */
  readonly count = (bytes: number): void => {
    this.#moved += bytes;
    this.#traffic.count(bytes);
  };

  /** Requests that run. */
  get running(): number {
    return this.#lanes;
  }

  /** Requests that would like to. */
  get waiting(): number {
    return this.#waiting;
  }

  /** How many requests it will have at a time, as far as is known. */
  get lanes(): number {
    return this.#traffic.expected;
  }

  /** Whether a request that could end well now should make room for others. */
  get crowded(): boolean {
    return this.#traffic.crowds(this);
  }

  /** Waits for room for a part. @param first Before all others. */
  async take(bytes: number, signal: AbortSignal, first = false): Promise<void> {
    await this.#traffic.memory.take(bytes, signal, first);
    this.#memory += bytes;
    if (this.#left) this.#empty();
  }

  give(bytes: number): void {
    if (this.#left) return;
    this.#traffic.memory.give(bytes);
    this.#memory -= bytes;
  }

  /** For the requests of one part, or of a run of them. */
  lane(): Lane {
    return new Lane(this.#traffic, this);
  }

  async enter(signal: AbortSignal, first: boolean): Promise<void> {
    this.#waiting += 1;
    try {
      await this.#traffic.lanes.take(1, signal, first);
    } finally {
      this.#waiting -= 1;
    }
    this.#lanes += 1;
    if (this.#left) this.#empty();
  }

  exit(): void {
    if (this.#left) return;
    this.#traffic.lanes.give(1);
    this.#lanes -= 1;
  }

  /** The transfer is over. A feed that was stopped in the middle may have taken what it never used, and may yet give it back. */
  leave(): void {
    this.#left = true;
    this.#empty();
    this.#traffic.leave(this);
  }

  #empty(): void {
    this.#traffic.memory.give(this.#memory);
    this.#traffic.lanes.give(this.#lanes);
    this.#memory = this.#lanes = 0;
  }
}

/** A place among the requests that may run. */
export class Lane {
  readonly #traffic: Traffic;
  readonly #share: Share;
  #held = false;

  constructor(traffic: Traffic, share: Share) {
    this.#traffic = traffic;
    this.#share = share;
  }

  /** Waits for it, if it isn't ours already. @param first Before parts that have not been tried. */
  async enter(signal: AbortSignal, first = false): Promise<void> {
    if (this.#held) return;
    await this.#share.enter(signal, first);
    this.#held = true;
  }

  leave(): void {
    if (!this.#held) return;
    this.#held = false;
    this.#share.exit();
  }

  /** The store asked for less, of all of us. */
  slowDown(retryAfter: number): void {
    this.#traffic.slowDown(retryAfter);
  }

  /** Takes one of the retries that all share. @returns milliseconds to wait before it. */
  retry(): number {
    return this.#traffic.retries.take(performance.now());
  }

  /**
   * Makes a request for `length` bytes, and once more when it takes much longer than others did. What it moves tells the pace,
   * and counts for nothing unless it succeeds. @param memory Bytes that the second one needs.
   */
  async run<T>(
    length: number,
    memory: number,
    work: (attempt: Attempt) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T> {
    const { stragglers, retries } = this.#traffic;
    const began = performance.now();
    let running: Running | undefined;
    let won = false;
    const measured = async (second: boolean, aborted: AbortSignal): Promise<T> => {
      const meter = new Meter(this.#share.count);
      let good = 0;
      try {
        const result = await work({ second, signal: aborted, moved: meter.moved });
        good = won ? 0 : length;
        won = true;
        return result;
      } finally {
        meter.settle(good);
      }
    };
    const watch = (hedge: Running["hedge"]): void => {
      running = { began, memory, hedge };
      stragglers.add(running);
    };
    try {
      const result = await race(measured, watch, signal);
      stragglers.learn(performance.now() - began);
      retries.earn();
      return result;
    } finally {
      if (running) stragglers.remove(running);
    }
  }
}
