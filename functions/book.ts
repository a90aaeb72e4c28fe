import type { Hex } from "../lib/protocol/hex.ts";
import type { Reason } from "../lib/protocol/reasons.ts";

interface Place {
  readonly nonce: number;
  /** Counts what was written for the nonce. */
  readonly slot: number;
}

/** A transaction that was signed for a nonce, written down before anybody could see it. */
export interface Claim extends Place {
  readonly transaction: Hex;
  readonly raw: Hex;
  readonly gasLimit: number;
  /** The most that it pays for a unit of gas, in wei. */
  readonly maxFee: bigint;
  /** The ids of its statements; none in a no-op. */
  readonly statements: readonly Hex[];
  /** When it was claimed, in milliseconds of the claiming worker's clock. */
  readonly claimed: number;
  /** The newest block then, and its timestamp in seconds: a clock that all workers share. */
  readonly block: number;
  readonly time: number;
}

export interface Refusal {
  readonly id: Hex;
  readonly reason: Reason;
}

/** Statements that no later slot may carry. */
export interface Verdict extends Place {
  readonly refused: readonly Refusal[];
}

export type Slot = Claim | Verdict;

/** What was written about one nonce. */
export interface Line {
  readonly nonce: number;
  /** Transactions for it, oldest first. Any of them may be the one that is mined. */
  readonly attempts: readonly Claim[];
  /** What may be written next. */
  readonly nextSlot: number;
}

/** The slots of a relayer from some nonce on, as one listing showed them. */
export class Book {
  readonly #lines = new Map<number, { nonce: number; attempts: Claim[]; nextSlot: number }>();
  readonly #slots: readonly Slot[];
  /** But for those whose statement a higher nonce carries: whoever claimed that did not know of the refusal. */
  readonly refusals: readonly Refusal[];
  /** The highest nonce with a transaction; -1 without any. */
  readonly highest: number;

  constructor(slots: readonly Slot[]) {
    this.#slots = slots;
    for (const slot of slots) {
      const line = this.#lines.get(slot.nonce) ?? { nonce: slot.nonce, attempts: [], nextSlot: 0 };
      this.#lines.set(slot.nonce, line);
      line.nextSlot = slot.slot + 1;
      if (!("refused" in slot)) line.attempts.push(slot);
    }
    this.refusals = slots.flatMap((slot) => ("refused" in slot ? this.#standing(slot) : []));
    this.highest = Math.max(-1, ...this.lines().map(({ nonce }) => nonce));
  }

  #standing({ nonce, refused }: Verdict): Refusal[] {
    const above = this.statements(nonce + 1);
    return refused.filter(({ id }) => !above.has(id));
  }

  with(slot: Slot): Book {
    return new Book([...this.#slots, slot]);
  }

  /** The nonces that have a transaction, rising, from `from` up to but without `to`. */
  lines(from: number = 0, to: number = Number.POSITIVE_INFINITY): Line[] {
    const within = [...this.#lines.values()].filter(({ nonce }) => nonce >= from && nonce < to);
    return within.filter(({ attempts }) => attempts.length > 0).sort((a, b) => a.nonce - b.nonce);
  }

  at(nonce: number): Line {
    return this.#lines.get(nonce) ?? { nonce, attempts: [], nextSlot: 0 };
  }

  /** The first nonce from `from` on without a transaction. */
  free(from: number): number {
    let nonce = from;
    while (this.at(nonce).attempts.length > 0) nonce += 1;
    return nonce;
  }

  /** The statements that a transaction of this nonce or a higher one carries. */
  statements(from: number): Set<Hex> {
    return new Set(this.lines(from).flatMap(({ attempts }) => attempts.flatMap(({ statements }) => statements)));
  }
}
