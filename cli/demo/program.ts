import { WaybillError } from "../../lib/index.ts";
import type { CommonWord } from "./words.ts";

/** Tells the demo something. */
export function say<Word extends { is: string }>(word: Word): void {
  process.send?.(word);
}

/** Makes this process a member's: it obeys orders, one answer each, until the demo is gone. */
export function serve<Order, Word extends { is: string }>(obey: (order: Order) => Promise<Word>): void {
  process.on("message", (order: Order) => void obey(order).catch(failure).then(say));
  // A member without its demo has nothing to do; this also ends it when the demo is killed.
  process.on("disconnect", () => process.exit());
  // A terminal's Ctrl-C reaches the whole group; the demo decides what happens then.
  process.on("SIGINT", () => {});
}

function failure(error: unknown): CommonWord {
  const known = error instanceof WaybillError;
  return { is: "failed", code: known ? error.code : "INTERNAL", message: known ? error.message : String(error) };
}
