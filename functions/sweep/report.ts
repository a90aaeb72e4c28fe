import { WaybillError } from "../../lib/protocol/errors.ts";
import type { TransferRef } from "../keys.ts";

/** Why something was left where it is. */
export type Reason =
  /** Nothing of its age can be due. */
  | "young"
  /** Its time is not over. */
  | "kept"
  /** Its time is over by the store's clock, and not by the chain's: a notice over it may be open. */
  | "open"
  /** Parts of the upload came within a day. */
  | "active"
  /** Completed and never finished: its sender has a day to come back, from when we first saw it. */
  | "unfinished"
  /** No record tells of it. It's not ours to judge. */
  | "unrecorded"
  /** Its record can't be read. */
  | "damaged"
  /** Its record changed under our hands: somebody else goes on with it. */
  | "changed"
  /** The store did not answer. */
  | "failed";

/** Where a run stopped: the next one goes on behind it. */
export interface Place {
  readonly pass: "uploads" | "payloads";
  readonly key: string;
  /** Of several uploads under one key; "" for a payload. */
  readonly uploadId: string;
}

/** What one run did. */
export interface SweepReport {
  /** What was looked at. */
  readonly looked: { readonly uploads: number; readonly payloads: number };
  /** Payloads that were deleted, and their bytes. Of two sweepers at once both may count the same one. */
  readonly swept: { readonly payloads: number; readonly bytes: number };
  /** Uploads that were aborted. */
  readonly aborted: number;
  /** What was left, by why. */
  readonly left: Readonly<Partial<Record<Reason, number>>>;
  /** Transfers whose record is damaged, the first few: an operator must look after them. */
  readonly damaged: readonly TransferRef[];
  /** What did not answer, or null. Whatever it kept from being done is done by a later run. */
  readonly fault: string | null;
  /** Where the next run goes on; null: this one came to the end. */
  readonly next: Place | null;
  readonly milliseconds: number;
}

/** Damaged records that a report names. */
const MAX_NAMED = 10;

/** Counts what a run does. */
export class Tally {
  readonly looked: { uploads: number; payloads: number } = { uploads: 0, payloads: 0 };
  readonly swept: { payloads: number; bytes: number } = { payloads: 0, bytes: 0 };
  aborted = 0;
  #fault: string | null = null;
  readonly #left = new Map<Reason, number>();
  readonly #damaged: TransferRef[] = [];
  readonly #start = performance.now();

  leave(reason: Reason, count = 1): void {
    this.#left.set(reason, this.count(reason) + count);
  }

  count(reason: Reason): number {
    return this.#left.get(reason) ?? 0;
  }

  damage(ref: TransferRef): void {
    this.leave("damaged");
    if (this.#damaged.length < MAX_NAMED) this.#damaged.push(ref);
  }

  /** The first one is told: the others are mostly the same. Our own errors carry no secret; of others only the name is told. */
  blame(error: unknown): void {
    const name = error instanceof Error ? error.name : typeof error;
    this.#fault ??= error instanceof WaybillError ? `${error.code}: ${error.message}` : name;
  }

  report(next: Place | null): SweepReport {
    const { looked, swept, aborted } = this;
    const milliseconds = Math.round(performance.now() - this.#start);
    const left = Object.fromEntries(this.#left);
    return { looked, swept, aborted, left, damaged: this.#damaged, fault: this.#fault, next, milliseconds };
  }
}
