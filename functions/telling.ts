import type { Hex } from "../lib/protocol/hex.ts";
import type { Claim } from "./book.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import type { Entry, Settlement } from "./outbox.ts";

/** 10^18 wei: what the chain calls one. */
const WEI_PER_COIN = 1e18;
/** Far more than the claims that a turn looks back on. */
const MAX_PAID = 1_000;

/** How things stand at the end of a turn. */
export interface Standing {
  /** The newest block. */
  readonly tip: number;
  readonly pending: number;
  /** When the oldest of them was posted, in milliseconds; null without any. */
  readonly oldest: number | null;
  /** The relayer's, in wei. */
  readonly balance: bigint;
}

/** What a publisher says of its work: in its log, so that a request's id leads to its transaction, and in numbers. */
export class Teller {
  readonly log: Log;
  readonly #metrics: Metrics;
  readonly #now: () => number;
  /** Transactions whose gas was counted. */
  readonly #paid = new Set<Hex>();

  constructor(log: Log, metrics: Metrics, now: () => number) {
    this.log = log;
    this.#metrics = metrics;
    this.#now = now;
  }

  /** A transaction has its slot, and will be sent. `entries` are the statements in it. */
  claimed({ transaction, nonce }: Claim, attempt: number, entries: readonly Entry[]): void {
    if (attempt > 0) this.#metrics.count("Attempts");
    const facts = { transaction, nonce, attempt };
    if (entries.length === 0) this.log.info("a transaction without statements", facts);
    for (const entry of entries) this.log.info("claimed", { ...factsOf(entry), ...facts });
  }

  /** What became of a statement is written down. */
  ended(entry: Entry, settlement: Settlement): void {
    const facts = factsOf(entry);
    if (settlement.state === "refused") {
      this.#metrics.count("StatementsRefused");
      this.log.info("refused", { ...facts, reason: settlement.reason });
    } else {
      const { transaction, block } = settlement;
      this.#metrics.count("StatementsSettled");
      this.log.info("settled", { ...facts, block, ...(transaction !== null && { transaction }) });
    }
  }

  /** A transaction of ours is final. It may be said again, for as long as a statement that failed in it waits. */
  mined(transaction: Hex, gas: number): void {
    if (this.#paid.has(transaction)) return;
    this.#paid.add(transaction);
    if (this.#paid.size > MAX_PAID) this.#paid.delete(first(this.#paid));
    this.#metrics.count("GasUsed", gas);
  }

  turned({ pending, oldest, balance }: Standing): void {
    this.#metrics.count("PublisherTurns");
    this.#metrics.gauge("OutboxDepth", pending);
    this.#metrics.gauge("OutboxOldestAge", oldest === null ? 0 : Math.max(0, this.#now() - oldest) / 1000);
    this.#metrics.gauge("RelayerBalance", Number(balance) / WEI_PER_COIN);
  }

  failed(): void {
    this.#metrics.count("PublisherFailures");
  }
}

function first<T>(all: ReadonlySet<T>): T {
  return all.values().next().value as T;
}

function factsOf({ id, request, signed }: Entry): { statement: string; account: string; requestId?: string } {
  return { ...(request !== undefined && { requestId: request }), statement: id, account: signed.author };
}
