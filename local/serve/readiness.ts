import type { Objects } from "../../functions/objects.ts";
import type { ChainReader } from "../../lib/chain/reader.ts";

/** Whoever asks more often gets the same answer: asking must cost store and chain nothing. */
const KEPT_MS = 5_000;
/** Read by every sweeper, so nobody minds; that it isn't there is an answer, too. */
const ANY_KEY = "transfer/sweeper.json";

/** Whether the store and the chain answer now. */
export class Readiness {
  readonly #store: Pick<Objects, "getBytes">;
  readonly #chain: Pick<ChainReader, "tip">;
  #asked: { readonly answer: Promise<string | null>; readonly at: number } | null = null;

  constructor(store: Pick<Objects, "getBytes">, chain: Pick<ChainReader, "tip">) {
    this.#store = store;
    this.#chain = chain;
  }

  /** Null, or what doesn't answer. */
  readonly ask = (): Promise<string | null> => {
    const now = performance.now();
    if (this.#asked === null || now - this.#asked.at > KEPT_MS) this.#asked = { answer: this.#look(), at: now };
    return this.#asked.answer;
  };

  async #look(): Promise<string | null> {
    const [store, chain] = await Promise.allSettled([this.#store.getBytes(ANY_KEY), this.#chain.tip(true)]);
    const silent = [
      ...(store.status === "rejected" ? ["The store does not answer."] : []),
      ...(chain.status === "rejected" ? ["No node of the chain answers."] : []),
    ];
    return silent.length === 0 ? null : silent.join(" ");
  }
}
