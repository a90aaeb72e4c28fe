import type { WaybillError } from "../protocol/errors.ts";
import type { Hex } from "../protocol/hex.ts";
import type { Head, TaskEvent } from "../protocol/wire.ts";
import type { Cursor } from "./view.ts";

/** Some events that follow each other, and how to go on. */
export interface Batch {
  readonly events: readonly TaskEvent[];
  /** Where the chain stands; null when more events may lie before that. */
  readonly head: Head | null;
  /** Milliseconds to wait before the next reading, while there is news; 0 where reading itself waits. */
  readonly poll: number;
}

/** The chain at a glance. */
export interface Sight {
  readonly head: Head;
  /** Of the task's newest event up to there. */
  readonly seq: number;
  readonly hash?: Hex | undefined;
}

/** Where events come from: an RPC node of one's own, or the functions over HTTPS. */
export interface EventSource {
  /**
   * The events after a place. May wait for some, but not for minutes. Does not retry.
   * @throws WaybillError CONFLICT when there is no such place on the chain (any more).
   */
  read(after: Cursor, signal: AbortSignal): Promise<Batch>;
  /** Where the chain stands, and the `seq` and block hash of the task's newest event there. Retries a few times. */
  look(signal?: AbortSignal): Promise<Sight>;
  /** What was read last can't be true. @returns Whether it can be read elsewhere; then `read` does so. */
  blame?(error: WaybillError): boolean;
  close(): void;
}
