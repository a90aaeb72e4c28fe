import type { News } from "./chain/ledger.ts";

/** A piece of news on its way to those who get it. */
interface Item {
  readonly news: News;
  /** Its event's; after a reorg the first one that is another's now, if that is less. */
  seq: number;
  /** Handlers that have it before them. */
  seats: number;
  /** Whether a handler or a reader has begun with it. */
  begun: boolean;
}

/**
 * Hands a task's news out: each piece once to every handler that is active when it comes, in order; without one it
 * waits for the next handler or reader. Knows up to where all is done with.
 */
export class NewsDesk {
  /** Beyond the beginning, and nobody has had it. */
  #queue: Item[] = [];
  readonly #seats = new Set<Seat>();
  readonly #undone = new Set<Item>();
  /** Its handler failed. Done with when the program carries on; one that ends gets it again after its restart. */
  #failed: Item[] = [];
  /** The event after which news counts; null until it is known. */
  #beginning: number | null = null;
  readonly #onProgress: () => void;

  /** @param onProgress Called when `position` may have moved. */
  constructor(onProgress: () => void) {
    this.#onProgress = onProgress;
  }

  get hasBegun(): boolean {
    return this.#beginning !== null;
  }

  /** From here on news counts. Only the first call says so. */
  begin(seq: number): void {
    if (this.#beginning !== null) return;
    this.#beginning = seq;
    for (const item of this.#queue.splice(0)) this.#add(item);
    this.#onProgress();
  }

  add(news: News): void {
    const item = { news, seq: news.place.seq, seats: 0, begun: false };
    if (this.#beginning === null) this.#queue.push(item);
    else this.#add(item);
  }

  /** The last event before which nothing is left to do, if `newest` is the newest that was read. */
  position(newest: number): number {
    const [oldest] = this.#undone; // they came in order
    return oldest ? oldest.seq - 1 : Math.max(this.#beginning ?? 0, newest);
  }

  /**
   * A reorg has put other events in the place of those after `seq`. What was handed out or waits is still news, for its
   * author signed it; but until that is done with, a program that is started again has to read from here.
   */
  rewind(seq: number): void {
    if (this.#beginning === null) return;
    this.#beginning = Math.min(this.#beginning, seq);
    for (const item of this.#undone) item.seq = Math.min(item.seq, seq + 1);
    this.#onProgress();
  }

  /** The oldest news that nobody has had; `done` says that whoever took it is done with it. */
  take(): { readonly news: News; readonly done: () => void } | undefined {
    if (this.#beginning === null) return undefined;
    const item = this.#queue.shift();
    if (!item) return undefined;
    item.begun = true;
    this.#forgive();
    return { news: item.news, done: () => this.#done(item) };
  }

  /**
   * From now on `handle` gets all news, and first what nobody has had; one at a time, in order, and never at once.
   * @param onError Told what `handle` throws, which is its end.
   */
  attach(handle: (news: News) => unknown, onError: (error: unknown) => void): Seat {
    const seat = new Seat(handle, {
      done: (item) => this.#done(item),
      failed: (item, error) => {
        this.#failed.push(item);
        onError(error);
      },
      left: (items) => {
        this.#seats.delete(seat);
        this.#takeBack(items);
      },
    });
    this.#seats.add(seat);
    this.#forgive();
    if (this.#beginning !== null) for (const item of this.#queue.splice(0)) seat.give(item);
    return seat;
  }

  #add(item: Item): void {
    if (item.seq <= this.#beginning!) return;
    this.#undone.add(item);
    if (this.#seats.size === 0) this.#queue.push(item);
    for (const seat of this.#seats) seat.give(item);
  }

  /** What a handler had before it when its call ended is not lost, unless another one has it too. */
  #takeBack(items: readonly Item[]): void {
    for (const item of items) {
      item.seats -= 1;
      if (item.seats === 0 && !item.begun) this.#queue.push(item);
      else if (item.seats === 0) this.#done(item);
    }
    this.#queue.sort((a, b) => a.seq - b.seq);
  }

  #done(item: Item): void {
    if (item.seats > 0) item.seats -= 1;
    if (item.seats > 0) return;
    this.#undone.delete(item);
    this.#onProgress();
  }

  #forgive(): void {
    for (const item of this.#failed.splice(0)) this.#done(item);
  }
}

interface SeatEvents {
  readonly done: (item: Item) => void;
  readonly failed: (item: Item, error: unknown) => void;
  /** With the items that it has not begun. */
  readonly left: (items: readonly Item[]) => void;
}

/** A handler, and what it has before it. */
export class Seat {
  readonly #handle: (news: News) => unknown;
  readonly #events: SeatEvents;
  readonly #items: Item[] = [];
  #running = false;
  #gone: "no" | "well" | "ill" = "no";

  constructor(handle: (news: News) => unknown, events: SeatEvents) {
    this.#handle = handle;
    this.#events = events;
  }

  give(item: Item): void {
    item.seats += 1;
    this.#items.push(item);
    if (!this.#running) void this.#run();
  }

  /**
   * Gives back what was not begun. What is under way goes on by itself: to wait for it could mean to wait for each other.
   * @param well Its call has not failed, so that an error from now on is nobody's: an unhandled rejection.
   */
  leave(well: boolean): void {
    this.#gone = well ? "well" : "ill";
    this.#events.left(this.#items.splice(0));
  }

  async #run(): Promise<void> {
    this.#running = true;
    await null; // whoever gives must not be called back at once
    for (let item = this.#items.shift(); item; item = this.#items.shift()) {
      item.begun = true;
      try {
        await this.#handle(item.news);
      } catch (error) {
        this.#fail(item, error);
        return; // a handler that failed gets no more
      }
      this.#events.done(item);
    }
    this.#running = false;
  }

  #fail(item: Item, error: unknown): void {
    this.#events.failed(item, error);
    if (this.#gone === "well") throw error;
  }
}
