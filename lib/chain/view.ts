import type { Address, Hex } from "../protocol/hex.ts";
import type { Head, TaskEvent } from "../protocol/wire.ts";

/** A place in a task's line of events: an event's `seq` and block. `{ seq: 0, block: 0 }` is before the first. */
export interface Cursor {
  readonly seq: number;
  readonly block: number;
  /** The block's hash, if it is known: with it a place is also told from another chain's with the same numbers. */
  readonly hash?: Hex | undefined;
}

export interface Membership {
  /** The account's newest index in the task. */
  readonly index: number;
  readonly active: boolean;
}

export interface Roster {
  readonly owner: Address;
  readonly version: number;
  /** Indices given so far. */
  readonly count: number;
}

export interface NoticeState {
  /** Seconds of chain time. */
  readonly deadline: number;
  /** Bit i speaks of the member with index page * 104 + i. */
  readonly outstanding: bigint;
  readonly verified: bigint;
  readonly withdrawn: boolean;
}

/** Some of a task's events, each following the one before. */
export interface Stretch {
  readonly events: TaskEvent[];
  /** Whether there is none after them, up to the block that was asked for. */
  readonly whole: boolean;
}

/** Where `head` is. */
export interface Depth {
  readonly block: number;
  readonly head: Promise<Head>;
}

/** The contract as one node sees it. Views answer as of block `at`, by default the newest. */
export interface ChainView {
  /**
   * The newest block with `confirmations` on top (the first one while the chain is shorter than that). `fresh`: as it is now,
   * where readings are shared for a while.
   */
  head(fresh?: boolean): Promise<Head>;
  /**
   * Its number, which is known as soon as the newest block is, and the block itself on its way: what stands there can be asked
   * for in the same round trip.
   */
  depth(fresh?: boolean): Promise<Depth>;
  /** The newest block. */
  tip(fresh?: boolean): Promise<Head>;
  /** An account in a task; null if it never was a member. */
  member(task: Hex, account: Address, at?: number): Promise<Membership | null>;
  /** Who owns the task and how often its roster changed; null if there is no such task. */
  roster(task: Hex, at?: number): Promise<Roster | null>;
  /** All members by index. An account that was admitted again is listed under each of its indices, active in the newest. */
  members(task: Hex, at?: number): Promise<({ account: Address } & Membership)[]>;
  /** The place of the task's newest event; zeros if there is none. */
  latest(task: Hex, at?: number): Promise<Cursor>;
  /** As `latest`, with its block's hash. */
  newest(task: Hex, at: number): Promise<Cursor>;
  /** A notice's state on a page; null if the contract doesn't know it. */
  notice(task: Hex, page: number, id: Hex, at?: number): Promise<NoticeState | null>;
  /**
   * The events that follow the event at `cursor`, up to block `toBlock`, oldest first: at least one if there is one, and
   * about `limit`. The last one's seq and block are the next cursor.
   *
   * @throws WaybillError UNAVAILABLE unless the node shows every event that the contract has counted up to there;
   * CONFLICT if the cursor is not on this chain (another task's, or a reorg went deeper than `confirmations`).
   */
  stretch(task: Hex, cursor: Cursor, toBlock: number, limit: number): Promise<Stretch>;
  /** As `stretch`, at most `limit`. */
  eventsAfter(task: Hex, cursor: Cursor, toBlock: number, limit: number): Promise<TaskEvent[]>;
  /**
   * The events before `cursor`, oldest first, at most `limit`, fewer only where the task begins. The first one's seq
   * and its block, or better its prevBlock, are the next cursor; `latest` with its seq raised by one begins.
   *
   * @throws WaybillError UNAVAILABLE unless the node shows every one of them (or there is no such cursor in this task).
   */
  eventsBefore(task: Hex, cursor: Cursor, limit: number): Promise<TaskEvent[]>;
}
