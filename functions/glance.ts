import type { ChainReader } from "../lib/chain/reader.ts";
import type { Membership, NoticeState, Roster } from "../lib/chain/view.ts";
import type { Address, Hex } from "../lib/protocol/hex.ts";
import type { Head } from "../lib/protocol/wire.ts";

/** What the functions read of the chain. */
export type Chain = Pick<ChainReader, "atOne" | "head" | "tip" | "member" | "members" | "roster" | "notice">;

/**
 * The chain during one request: each reading is made once. So a route can ask ahead, while the caller's standing is asked
 * for, and all of it travels in one batch; nobody is told anything before the standing is known.
 */
export class Glance implements Chain {
  readonly #chain: Chain;
  readonly #made = new Map<string, Promise<unknown>>();

  constructor(chain: Chain) {
    this.#chain = chain;
  }

  /** The reading of that name, made by `read` if it wasn't yet. */
  once<T>(name: string, read: () => Promise<T>): Promise<T> {
    const made = this.#made.get(name) ?? read();
    made.catch(() => undefined); // asked ahead and then not needed
    this.#made.set(name, made);
    return made as Promise<T>;
  }

  readonly atOne: Chain["atOne"] = (work) => this.#chain.atOne(work);

  head(fresh?: boolean): Promise<Head> {
    return this.once(`head ${fresh}`, () => this.#chain.head(fresh));
  }

  tip(fresh?: boolean): Promise<Head> {
    return this.once(`tip ${fresh}`, () => this.#chain.tip(fresh));
  }

  member(task: Hex, account: Address, at?: number): Promise<Membership | null> {
    return this.once(`member ${task} ${account} ${at}`, () => this.#chain.member(task, account, at));
  }

  members(task: Hex, at?: number): Promise<({ account: Address } & Membership)[]> {
    return this.once(`members ${task} ${at}`, () => this.#chain.members(task, at));
  }

  roster(task: Hex, at?: number): Promise<Roster | null> {
    return this.once(`roster ${task} ${at}`, () => this.#chain.roster(task, at));
  }

  notice(task: Hex, page: number, id: Hex, at?: number): Promise<NoticeState | null> {
    return this.once(`notice ${task} ${page} ${id} ${at}`, () => this.#chain.notice(task, page, id, at));
  }
}
