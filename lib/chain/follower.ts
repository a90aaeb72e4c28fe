import { WaybillError } from "../protocol/errors.ts";
import type { Hex } from "../protocol/hex.ts";
import type { Head, TaskEvent } from "../protocol/wire.ts";
import { closed, gone, reorganised, stalled, withheld } from "./faults.ts";
import type { Ledger, News } from "./ledger.ts";
import type { Batch, EventSource, Sight } from "./source.ts";
import type { Cursor } from "./view.ts";
import { onAbort, pause, Wait } from "./wait.ts";

export interface FollowerOptions {
  readonly ledger: Ledger;
  readonly source: EventSource;
  /** Milliseconds between blocks. */
  readonly blockTime: number;
  /** Milliseconds without a new block after which the chain is called stalled. */
  readonly maxBlockAge: number;
  /** Called for every piece of news, in order, once: not again when a reorg moved its statement. Must not throw. */
  readonly onNews?: (news: News) => void;
  /**
   * Called when the chain was reorganised, before the news that this brings: the events after `seq` are others now, and
   * the ledger knows them already. Must not throw.
   */
  readonly onRewind?: (seq: number) => void;
  /** Called with what ails the source at each try that fails, and with null when it is well again. Must not throw. */
  readonly onTrouble?: ((error: WaybillError | null) => void) | undefined;
}

export interface WaitOptions {
  readonly signal?: AbortSignal | undefined;
  /**
   * Seconds of chain time after which the probe can decide. Such a wait ends in any case: with CHAIN_STALLED when
   * chain time does not get there.
   */
  readonly at?: number | undefined;
  /**
   * Called at most once, when chain time ought to be past `at` by our own clock and the chain shows no block after it:
   * it may make blocks only for transactions. Whoever can, sends one; if still no block comes, the wait ends as above.
   */
  readonly onStill?: (() => void) | undefined;
}

/** Faults that pass by themselves. Anything else that a source says ends all waiting. */
const passing: ReadonlySet<string> = new Set(["UNREACHABLE", "UNAVAILABLE", "RATE_LIMITED", "INTERNAL", "TIMEOUT"]);
const BACK_OFF_MS = { first: 200, most: 10_000 };
/** Checking a signature takes milliseconds; others get their turn in between. */
const SIGNATURES_PER_TURN = 16;
/** How often to look for the end of a deadline: not more than anybody's chain makes blocks, and never rarely. */
const LOOK_MS = { least: 300, most: 30_000 };
/**
 * Nobody waits longer for news than this part of the time that there was none, nor than this; and nobody reads more often than
 * that asks for. A member that waits an hour for its turn reads 100 times instead of 1,800.
 */
const IDLE = { part: 1 / 10, mostMs: 60_000 };
/** A block may be late, or its slot empty: a chain that is overdue for less than this is not called still. */
const STILL = { blocks: 2, leastMs: 2_000 };

/**
 * Drives a task's events from a source to the ledger, and to those who wait for what it says. It reads only while
 * somebody waits, survives faults of the source that pass, and hands every other fault to all who wait.
 *
 * When a reorg went deeper than the confirmations, it reads the task again from its beginning, aside; the ledger changes
 * all at once, and everybody who waits is asked again. What was resolved or told before then is not taken back.
 */
export class Follower {
  readonly #options: FollowerOptions;
  readonly #waits = new Set<Wait>();
  /** The ids of all news that was told. */
  readonly #told = new Set<Hex>();
  /** What the chain says now, while it is being read again. */
  #draft: Draft | null = null;
  /** How often it was begun without an end. */
  #rewinds = 0;
  #head: Head | null = null;
  #headSeen = 0;
  #fault: WaybillError | null = null;
  #reading: AbortController | null = null;
  /** Since when there was no news, and nobody came to wait for some. */
  #idleSince = 0;
  /** Ends the pause between two readings. */
  #wake: () => void = () => {};
  #closed = false;

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  get ledger(): Ledger {
    return this.#options.ledger;
  }

  /** A block up to which every event was certainly applied; the ledger may know later ones too. */
  get head(): Head | null {
    return this.#head;
  }

  /** Why the source can't be read at present; null when the last reading went well. */
  get fault(): unknown {
    return this.#fault;
  }

  /**
   * Resolves with what `probe` returns as soon as that is not undefined; what it throws, rejects. It is asked at once
   * and then in the same turn with every change, so no change is missed.
   *
   * @throws the signal's reason; CHAIN_STALLED, or why the source can't be reached, when chain time does not get past
   * `at`; every fatal fault of the source.
   */
  until<T>(probe: () => T | undefined, options: WaitOptions = {}): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#closed) throw closed();
      options.signal?.throwIfAborted();
      const wait: Wait = new Wait(probe as () => unknown, resolve as (value: unknown) => void, reject);
      if (wait.check()) return;
      this.#waits.add(wait);
      wait.atEnd(() => this.#leave(wait));
      wait.atEnd(onAbort(options.signal, (reason) => wait.fail(reason)));
      if (options.at !== undefined) wait.atEnd(this.#watch(options.at, wait, options.onStill));
      this.#quicken();
      this.#start();
    });
  }

  /** Resolves when everything that stood on the chain at the time of the call is applied, with where that was. */
  async sync(signal?: AbortSignal): Promise<{ head: Head; seq: number }> {
    signal?.throwIfAborted();
    if (this.#closed) throw closed();
    const sight = await this.#options.source.look(signal);
    if (this.#contradicts(sight)) this.#rewind();
    const { head, seq } = sight;
    await this.#catchUp(seq, signal);
    this.#reached(head);
    return { head, seq };
  }

  /** Applies events up to `seq`; a source that tells of them and doesn't show them is not waited for without end. */
  async #catchUp(seq: number, signal: AbortSignal | undefined): Promise<void> {
    const patience = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const reached = (): number => (this.#draft?.ledger ?? this.ledger).position.seq;
    // Not only full pages count: a slow device checks the signatures of one for longer than this.
    const arm = (): void => {
      const before = reached();
      timer = setTimeout(() => {
        if (reached() === before) patience.abort(this.#fault ?? withheld());
        else arm();
      }, this.#options.maxBlockAge);
    };
    arm();
    const probe = (): true | undefined => (!this.#draft && reached() >= seq ? true : undefined);
    try {
      await this.until(probe, { signal: signal ? AbortSignal.any([signal, patience.signal]) : patience.signal });
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#closed = true;
    this.#failAll(closed());
    this.#options.source.close();
  }

  #start(): void {
    if (this.#reading) return;
    const reading = new AbortController();
    this.#reading = reading;
    void this.#run(reading.signal).finally(() => {
      this.#reading = null;
      if (this.#waits.size > 0) this.#start(); // somebody came while this reading ended
    });
  }

  #leave(wait: Wait): void {
    this.#waits.delete(wait);
    if (this.#waits.size === 0) this.#reading?.abort();
  }

  async #run(signal: AbortSignal): Promise<void> {
    let faults = 0;
    while (!signal.aborted) {
      try {
        await this.#rest(await this.#step(signal), signal);
        faults = 0;
      } catch (error) {
        if (signal.aborted) return;
        if (!isPassing(error)) return this.#failAll(error);
        this.#ail(error);
        await pause(backOff(Math.max(faults++, this.#rewinds - 1)), signal);
      }
    }
  }

  /** News may be near: it is read again at once, and then as often as the source says. */
  #quicken(): void {
    this.#idleSince = performance.now();
    this.#wake();
  }

  async #rest(poll: number, signal: AbortSignal): Promise<void> {
    const idle = Math.min(IDLE.mostMs, IDLE.part * (performance.now() - this.#idleSince));
    const nap = new AbortController();
    this.#wake = () => nap.abort();
    const forget = onAbort(signal, this.#wake);
    // Where reading itself waits, there is nothing to save.
    await pause(poll === 0 ? 0 : Math.max(poll, idle), nap.signal);
    this.#wake = () => {};
    forget();
  }

  async #step(signal: AbortSignal): Promise<number> {
    const draft = this.#draft;
    const ledger = draft?.ledger ?? this.ledger;
    const { events, head, poll } = await this.#read(ledger.position, signal);
    if (events.length > 0) this.#idleSince = performance.now();
    let checked = 0;
    for (const event of events) {
      if (checked >= SIGNATURES_PER_TURN) await pause(0, signal);
      checked = (checked % SIGNATURES_PER_TURN) + signaturesIn(event);
      if (this.#draft !== draft) return 0; // somebody saw a reorg meanwhile
      const news = this.#apply(ledger, event);
      if (news && draft) draft.news.push(news);
      else if (news) this.#tell(news);
    }
    if (this.#draft !== draft) return 0;
    if (head && draft) this.#adopt(draft, head);
    else if (head) this.#reached(head);
    this.#checkAll();
    return poll;
  }

  async #read(after: Cursor, signal: AbortSignal): Promise<Batch> {
    try {
      const batch = await this.#options.source.read(after, signal);
      if (!this.#draft) this.#rewinds = 0;
      return batch;
    } catch (error) {
      if (!(error instanceof WaybillError) || error.code !== "CONFLICT") throw error;
      this.#rewind();
      throw reorganised(error);
    }
  }

  #apply(ledger: Ledger, event: TaskEvent): News | null {
    try {
      return ledger.apply(event);
    } catch (error) {
      this.#draft = null;
      const isFalse = error instanceof WaybillError && error.code === "BAD_SERVER";
      if (!isFalse || !this.#options.source.blame?.(error)) throw error;
      this.#rewind(); // whatever else came from there is not believed either
      throw reorganised(error);
    }
  }

  /** Reads everything again, aside. */
  #rewind(): void {
    this.#draft = { ledger: this.ledger.draft(), news: [] };
    this.#rewinds += 1;
  }

  #adopt({ ledger, news }: Draft, head: Head): void {
    if (ledger.position.seq === 0) throw gone();
    this.#draft = null;
    const fork = this.ledger.adopt(ledger);
    this.#head = head;
    this.#headSeen = performance.now();
    this.#options.onRewind?.(fork);
    for (const one of news) this.#tell(one);
  }

  #tell(news: News): void {
    if (this.#told.has(news.id)) return;
    this.#told.add(news.id);
    this.#options.onNews?.(news);
  }

  /** Does the chain that somebody saw lack our newest event? */
  #contradicts({ head, seq, hash }: Sight): boolean {
    if (this.#draft) return false; // it is being read again
    const { position } = this.ledger;
    if (seq < position.seq) return head.block >= position.block;
    return seq === position.seq && hash !== undefined && position.hash !== undefined && hash !== position.hash;
  }

  #reached(head: Head): void {
    if (this.#head && head.block <= this.#head.block) return; // a node that lags; the chain does not run backwards
    this.#head = head;
    this.#headSeen = performance.now();
  }

  /**
   * When a deadline should be over, looks for a block after it; tells when the chain stands still, and gives up when it
   * goes on doing so. An idle chain may have stood still for hours: only from the deadline on does that matter.
   */
  #watch(at: number, wait: Wait, onStill: (() => void) | undefined): () => void {
    let tell = onStill;
    let since: number | null = null; // when it was over by our own clock, and the chain not there yet
    let timer: NodeJS.Timeout;
    const arm = (): void => {
      const pace = Math.max(LOOK_MS.least, this.#options.blockTime / 2, this.#remaining(at));
      timer = setTimeout(() => void look(), Math.min(LOOK_MS.most, pace));
    };
    const look = async (): Promise<void> => {
      if (this.#remaining(at) > 0) since = null;
      else {
        since ??= performance.now();
        const seen = await this.#look();
        // Blocks that come with the same time are blocks: where those come, nobody may hurry the deadline.
        const age = performance.now() - Math.max(since, this.#headSeen);
        if (seen && seen.timestamp <= at && age >= this.#stillAfter() && !wait.ended) {
          tell?.();
          tell = undefined;
        }
        const why = (): unknown => this.#fault ?? (seen && seen.timestamp > at ? withheld() : stalled(age));
        if (this.#remaining(at) <= 0 && age > this.#options.maxBlockAge) wait.fail(why());
      }
      if (!wait.ended) arm();
    };
    arm();
    return () => clearTimeout(timer);
  }

  #stillAfter(): number {
    return Math.max(STILL.leastMs, STILL.blocks * this.#options.blockTime);
  }

  /** Where the source says that the chain stands; null when it could not be asked. */
  async #look(): Promise<Head | null> {
    try {
      const sight = await this.#options.source.look();
      if (this.#contradicts(sight)) this.#rewind();
      else if (this.ledger.position.seq >= sight.seq && !this.#draft) this.#reached(sight.head);
      if (this.#draft || this.ledger.position.seq < sight.seq) this.#quicken();
      this.#checkAll();
      return sight.head;
    } catch (error) {
      if (isPassing(error)) this.#ail(error);
      else this.#failAll(error);
      return null;
    }
  }

  /** Milliseconds until chain time is past `at`, as far as our own clock can tell. */
  #remaining(at: number): number {
    if (!this.#head) return 0;
    return (at - this.#head.timestamp) * 1000 - (performance.now() - this.#headSeen);
  }

  #checkAll(): void {
    if (!this.#draft) this.#ail(null);
    for (const wait of [...this.#waits]) wait.check();
  }

  #ail(fault: WaybillError | null): void {
    if (fault || this.#fault) this.#options.onTrouble?.(fault);
    this.#fault = fault;
  }

  #failAll(error: unknown): void {
    for (const wait of [...this.#waits]) wait.fail(error);
  }
}

interface Draft {
  readonly ledger: Ledger;
  /** In order. */
  readonly news: News[];
}

function isPassing(error: unknown): error is WaybillError {
  return error instanceof WaybillError && passing.has(error.code);
}

function backOff(faults: number): number {
  return Math.random() * Math.min(BACK_OFF_MS.most, BACK_OFF_MS.first * 2 ** Math.min(faults, 16));
}

function signaturesIn(event: TaskEvent): number {
  if (event.type !== "receipts") return 1;
  return event.receipts.reduce((sum, { signatures }) => sum + signatures.length, 0);
}
