import type { Hex } from "../lib/protocol/hex.ts";
import { type Statement, taskOf } from "../lib/protocol/statements.ts";
import type { Entry } from "./outbox.ts";

/**
 * What is on its way and not in the chain's newest block yet. A simulation there doesn't see it; but it will be mined before
 * anything of a later nonce. Tasks don't touch each other, and what a task's notices, messages and receipts do doesn't change
 * whether another notice, message or receipt counts, unless that needs them. So behind these everything may go that would
 * take effect without them, and the rest waits; while behind what changes a roster or withdraws a notice, and behind an
 * author's receipt for the same notice, nothing is known.
 */
export class Ahead {
  /** Tasks of which something is on its way. */
  readonly touched = new Set<Hex>();
  readonly #closed = new Set<Hex>();
  readonly #answered = new Set<string>();

  add(entries: Iterable<Entry>): void {
    for (const entry of entries) {
      const { statement } = entry.signed;
      this.touched.add(taskOf(statement));
      if (isReceipt(statement)) this.#answered.add(answerOf(entry));
      else if (statement.kind !== "notice" && statement.kind !== "message") this.close(taskOf(statement));
    }
  }

  /** Lets nothing more of a task go. */
  close(task: Hex): void {
    this.touched.add(task);
    this.#closed.add(task);
  }

  /** Must it wait until what is on its way is mined? */
  holds(entry: Entry): boolean {
    const { statement } = entry.signed;
    return this.#closed.has(taskOf(statement)) || (isReceipt(statement) && this.#answered.has(answerOf(entry)));
  }
}

function isReceipt(statement: Statement): boolean {
  return statement.kind === "receipt" || statement.kind === "walletReceipt";
}

function answerOf({ signed: { statement, author } }: Entry): string {
  return `${"notice" in statement ? statement.notice : ""} ${author}`;
}
