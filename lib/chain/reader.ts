import type { WaybillError } from "../protocol/errors.ts";
import type { Address, Hex } from "../protocol/hex.ts";
import type { Head, TaskEvent } from "../protocol/wire.ts";
import { Nodes, type NodesOptions } from "./nodes.ts";
import type { ChainView, Cursor, Depth, Membership, NoticeState, Roster, Stretch } from "./view.ts";

export interface ReaderOptions extends NodesOptions {
  /** JSON-RPC URLs of nodes of the same chain, the preferred one first. May carry keys: they appear in no error. */
  readonly rpc: string | readonly string[];
}

/**
 * Reads the contract over one node, or over several of which one at a time is asked: the next one when that one fails, lags,
 * or can't prove its answer. It polls nothing, and keeps only the newest block, as long as it is told to.
 *
 * Every method throws WaybillError UNAVAILABLE when no node can be asked or all lag behind, WRONG_CHAIN when all serve another
 * chain, or one without a Waybill contract at the address, or one whose blocks are numbered otherwise than its contracts
 * see; and BAD_SERVER when answers make no sense.
 */
export class ChainReader implements ChainView {
  readonly #nodes: Nodes;

  /** @throws WaybillError USAGE if `rpc` is no http(s) URL. */
  constructor({ rpc, ...options }: ReaderOptions) {
    this.#nodes = new Nodes(typeof rpc === "string" ? [rpc] : rpc, options);
  }

  /**
   * Several readings that must fit each other, such as a head and the events up to it: all at one node. Repeated from the
   * beginning when that one fails, so `work` must do nothing but read.
   */
  atOne<T>(work: (view: ChainView) => Promise<T>): Promise<T> {
    return this.#nodes.ask(work);
  }

  /** What a node answered can't be true: it is left alone for a while. @returns Whether there is another one to ask. */
  blame(view: ChainView, error: WaybillError): boolean {
    return this.#nodes.blame(view, error);
  }

  head(fresh?: boolean): Promise<Head> {
    return this.#nodes.ask((view) => view.head(fresh));
  }

  async depth(fresh?: boolean): Promise<Depth> {
    const head = await this.head(fresh);
    return { block: head.block, head: Promise.resolve(head) };
  }

  tip(fresh?: boolean): Promise<Head> {
    return this.#nodes.ask((view) => view.tip(fresh));
  }

  member(task: Hex, account: Address, at?: number): Promise<Membership | null> {
    return this.#nodes.ask((view) => view.member(task, account, at));
  }

  roster(task: Hex, at?: number): Promise<Roster | null> {
    return this.#nodes.ask((view) => view.roster(task, at));
  }

  members(task: Hex, at?: number): Promise<({ account: Address } & Membership)[]> {
    return this.#nodes.ask((view) => view.members(task, at));
  }

  latest(task: Hex, at?: number): Promise<Cursor> {
    return this.#nodes.ask((view) => view.latest(task, at));
  }

  newest(task: Hex, at: number): Promise<Cursor> {
    return this.#nodes.ask((view) => view.newest(task, at));
  }

  notice(task: Hex, page: number, id: Hex, at?: number): Promise<NoticeState | null> {
    return this.#nodes.ask((view) => view.notice(task, page, id, at));
  }

  stretch(task: Hex, cursor: Cursor, toBlock: number, limit: number): Promise<Stretch> {
    return this.#nodes.ask((view) => view.stretch(task, cursor, toBlock, limit));
  }

  eventsAfter(task: Hex, cursor: Cursor, toBlock: number, limit: number): Promise<TaskEvent[]> {
    return this.#nodes.ask((view) => view.eventsAfter(task, cursor, toBlock, limit));
  }

  eventsBefore(task: Hex, cursor: Cursor, limit: number): Promise<TaskEvent[]> {
    return this.#nodes.ask((view) => view.eventsBefore(task, cursor, limit));
  }

  close(): void {
    this.#nodes.close();
  }
}
