import type { ChainView } from "../../lib/chain/view.ts";
import type { Hex } from "../../lib/protocol/hex.ts";
import type { Head } from "../../lib/protocol/wire.ts";
import type { Records, TransferRecord } from "../records.ts";

/**
 * On a chain that makes no blocks all payloads come to be looked at by their notices, every time: so many in a run are
 * enough.
 */
const MAX_ASKED = 1_000;

/** Tells whether the chain, too, holds a transfer's time for over. One for each run: it asks for the head once. */
export class Closing {
  readonly #chain: Pick<ChainView, "head" | "notice">;
  readonly #records: Records;
  readonly #onFault: (error: unknown) => void;
  #head: Promise<Head | null> | undefined;
  #asked = 0;

  /** @param onFault Told that the chain doesn't answer; nothing is closed then. */
  constructor(chain: Pick<ChainView, "head" | "notice">, records: Records, onFault: (error: unknown) => void) {
    this.#chain = chain;
    this.#records = records;
    this.#onFault = onFault;
  }

  /**
   * Deadlines are the chain's, and only a block ends them. Where blocks come with transactions only, the last notices of a
   * task never see one: if nobody is outstanding in them, they are closed as well.
   */
  async isClosed(task: Hex, { keepUntil, notices }: TransferRecord): Promise<boolean> {
    this.#head ??= this.#orNull(() => this.#chain.head());
    const head = await this.#head;
    if (head === null) return false;
    if (head.timestamp > keepUntil) return true;
    if (++this.#asked > MAX_ASKED) return false;
    for (const id of notices) if (!(await this.#isAnswered(task, id, head))) return false;
    return true;
  }

  async #isAnswered(task: Hex, id: Hex, head: Head): Promise<boolean> {
    const notice = (await this.#records.notice(task, id))?.notice;
    if (!notice) return false; // a finish may be about to write it
    if (notice.deadline < head.timestamp) return true;
    const state = await this.#orNull(() => this.#chain.notice(task, notice.page, id, head.block));
    return state?.outstanding === 0n;
  }

  async #orNull<T>(work: () => Promise<T | null>): Promise<T | null> {
    try {
      return await work();
    } catch (error) {
      this.#onFault(error);
      return null;
    }
  }
}
