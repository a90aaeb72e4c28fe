import type { Mined } from "../lib/chain/relay.ts";
import type { Hex } from "../lib/protocol/hex.ts";
import type { Book, Line } from "./book.ts";
import { Failures } from "./failures.ts";
import type { Entry, Outbox, Settlement } from "./outbox.ts";
import { provenBy, skippedIn } from "./proof.ts";
import type { Teller } from "./telling.ts";
import type { Scene, Viewpoint } from "./viewpoint.ts";

/** Settled together: their entries go with one request. A worker that dies in between leaves these to be settled again. */
const SETTLE_AT_ONCE = 500;

/** The statements of one turn: those whose end isn't known, and those whose end is known and not written down. */
export class Endings {
  readonly #outbox: Outbox;
  readonly #teller: Teller;
  readonly #waiting: Map<Hex, Entry>;
  readonly #ended = new Map<Entry, Settlement>();

  constructor({ outbox, teller }: { outbox: Outbox; teller: Teller }, entries: readonly Entry[]) {
    this.#outbox = outbox;
    this.#teller = teller;
    this.#waiting = new Map(entries.map((entry) => [entry.id, entry]));
  }

  /** How many wait. */
  get size(): number {
    return this.#waiting.size;
  }

  /** Those that wait, in the order of their arrival. */
  waiting(): Entry[] {
    return [...this.#waiting.values()];
  }

  /** Those of them that wait. */
  of(ids: Iterable<Hex>): Entry[] {
    return [...ids].flatMap((id) => this.#waiting.get(id) ?? []);
  }

  /** It is no longer waiting; what became of it is written down by `settle`. */
  end(entry: Entry, settlement: Settlement): void {
    this.#waiting.delete(entry.id);
    this.#ended.set(entry, settlement);
  }

  /** Finds what is final; answers what failed although its nonce is used up. */
  async moveOut(node: Viewpoint, scene: Scene, book: Book): Promise<Failures> {
    const failures = new Failures();
    for (const { id, reason } of book.refusals) {
      const [entry] = this.of([id]); // whoever refused it died, or is about to settle it
      if (entry) this.end(entry, { state: "refused", reason });
    }
    const lines = book.lines(0, scene.final).filter((line) => this.#carriedBy(line).length > 0);
    const found = await Promise.all(lines.map((line) => minedOf(node, line)));
    for (const [i, line] of lines.entries()) {
      const mined = found[i];
      // Otherwise somebody else's transaction used the nonce, or this node can't tell.
      if (mined && mined.block <= scene.head) this.#close(line, mined, failures);
    }
    return failures;
  }

  async settle(): Promise<void> {
    const all = [...this.#ended];
    for (let i = 0; i < all.length; i += SETTLE_AT_ONCE) {
      const some = all.slice(i, i + SETTLE_AT_ONCE);
      await this.#outbox.settleAll(some);
      for (const [entry, settlement] of some) this.#teller.ended(entry, settlement);
      for (const [entry] of some) this.#ended.delete(entry);
    }
  }

  #close(line: Line, { transaction, block, gas, logs }: Mined & { transaction: Hex }, failures: Failures): void {
    this.#teller.mined(transaction, gas);
    const carried = this.#carriedBy(line);
    const proven = new Set(provenBy(logs, carried));
    for (const entry of proven) this.end(entry, { state: "settled", transaction, block });
    const skipped = skippedIn(logs);
    for (const entry of carried)
      if (!proven.has(entry)) failures.add(entry.id, line.attempts.at(-1)!.time, skipped.get(entry.id) ?? null);
  }

  #carriedBy({ attempts }: Line): Entry[] {
    return this.of(new Set(attempts.flatMap(({ statements }) => statements)));
  }
}

/** Any of a nonce's transactions may be the one that was mined. */
async function minedOf(node: Viewpoint, { attempts }: Line): Promise<(Mined & { transaction: Hex }) | null> {
  const all = await Promise.all(attempts.map(({ transaction }) => node.mined(transaction)));
  const nth = all.findIndex((found) => found !== null);
  return nth < 0 ? null : { ...all[nth]!, transaction: attempts[nth]!.transaction };
}
