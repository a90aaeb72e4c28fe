import type { Hex } from "../lib/protocol/hex.ts";
import type { Reason } from "../lib/protocol/reasons.ts";
import type { Entry } from "./outbox.ts";

/** A statement whose nonce was used by us and is final, and whose event is not there. */
interface Failure {
  /** How many times. */
  count: number;
  /** When it was last claimed, in seconds of chain time. */
  time: number;
  /** What the contract said to it, if it said anything. */
  reason: Reason | null;
}

/** How many may go together after the first, second, third failure: so the good ones among them are soon without the bad one. */
const COMPANY = [64, 8, 1];
/** Between two further tries of what failed although it was alone. */
const BACKOFF_S = 600;

/**
 * What would take effect by every simulation, and doesn't on the chain: a wallet that answers a simulation otherwise, or
 * a statement that makes its transaction unmineable. Known from the claims alone, as far back as these are read; whoever
 * fails again and again costs gas for four transactions, and then for one every ten minutes until it is too old.
 */
export class Failures {
  readonly #all = new Map<Hex, Failure>();

  add(id: Hex, time: number, reason: Reason | null): void {
    const before = this.#all.get(id);
    this.#all.set(id, {
      count: (before?.count ?? 0) + 1,
      time: Math.max(time, before?.time ?? 0),
      reason: reason ?? before?.reason ?? null,
    });
  }

  /** Failed alone: why, as far as the chain told; null if it hasn't, or nothing is known. */
  verdictOn(id: Hex): Reason | null {
    const found = this.#all.get(id);
    return found && found.count > COMPANY.length ? found.reason : null;
  }

  /** Those that may go at a time (in seconds of chain time), in groups that have to stay apart; the suspicious ones first. */
  groups(entries: readonly Entry[], time: number): { entries: readonly Entry[]; suspicious: boolean }[] {
    const suspects = COMPANY.flatMap((size, i) => {
      const some = entries.filter(
        ({ id }) => this.#mayGo(id, time) && Math.min(this.#countOf(id), COMPANY.length) === i + 1,
      );
      return chunksOf(some, size).map((chunk) => ({ entries: chunk, suspicious: true }));
    });
    const others = entries.filter(({ id }) => this.#countOf(id) === 0);
    return [...suspects, { entries: others, suspicious: false }];
  }

  #countOf(id: Hex): number {
    return this.#all.get(id)?.count ?? 0;
  }

  #mayGo(id: Hex, time: number): boolean {
    const found = this.#all.get(id);
    return !found || found.count <= COMPANY.length || time - found.time >= BACKOFF_S;
  }
}

function chunksOf<T>(all: readonly T[], size: number): T[][] {
  const count = Math.ceil(all.length / size);
  return Array.from({ length: count }, (_, i) => all.slice(i * size, (i + 1) * size));
}
