import { WaybillError } from "../protocol/errors.ts";
import type { Head } from "../protocol/wire.ts";
import { Node, type NodeOptions } from "./node.ts";
import type { ChainView } from "./view.ts";

/**
 * A node that is behind by more than both is out of step; less is the way of blocks through the network. In blocks alone
 * fast chains would seem to lag, and in time alone idle ones that make no empty blocks.
 */
const BEHIND = { blocks: 3, seconds: 15 };
/** When nobody has shown the highest block for so long, the chain was rolled back, or that block never was. */
const FORGET_MS = 30_000;
/** When the preferred node shows no new block for so long, the others are looked at. */
const LOOK_AROUND_MS = 10_000;
/** How long a node that failed is left alone while there is another; it doubles with each failure. */
const COOL_DOWN_MS = { first: 1_000, most: 60_000 };
/** A node's own faults, beginning with what says most about the chain when all nodes have one. */
const faults = ["CONFLICT", "UNAVAILABLE", "BAD_SERVER", "WRONG_CHAIN"] as const;

export interface NodesOptions extends NodeOptions {
  /** Milliseconds, by this machine's clock, after which a newest block is too old. Without it, none is. */
  readonly staleAfter?: number | undefined;
}

interface Member {
  readonly node: Node;
  /** Failures since its last answer. */
  failures: number;
  /** Left alone until then, by the monotonic clock. */
  until: number;
  /** Its last failure, until it answers again. */
  fault: WaybillError | null;
}

/** Several nodes of one chain. Each piece of work is done at one of them; the next one gets it when that one fails. */
export class Nodes {
  readonly #members: readonly Member[];
  readonly #staleAfter: number;
  /** Who answered last. */
  #preferred: Member;
  /** The highest block that any node showed: since when, when last, and by whom. */
  #highest: (Head & { since: number; at: number; by: Member }) | null = null;
  #lookedAround = 0;

  /** @throws WaybillError USAGE if a URL is no http(s) URL, or there is none. */
  constructor(urls: readonly string[], options: NodesOptions) {
    this.#staleAfter = options.staleAfter ?? Number.POSITIVE_INFINITY;
    this.#members = urls.map((url) => {
      const node = new Node(url, options, (tip) => this.#judge(tip, member));
      const member: Member = { node, failures: 0, until: 0, fault: null };
      return member;
    });
    const [first] = this.#members;
    if (!first) throw new WaybillError("USAGE", "There must be at least one RPC URL.");
    this.#preferred = first;
  }

  /**
   * Does a piece of work at one node, from its beginning again at the next one if that fails. A cursor that one node doesn't
   * know may be on another's chain: whoever proves its line is right.
   */
  async ask<T>(work: (view: ChainView) => Promise<T>): Promise<T> {
    const found: WaybillError[] = [];
    const others: Member[] = []; // that don't know a cursor
    for (const member of this.#order()) {
      try {
        const answer = await work(member.node);
        for (const other of others) this.#failed(other, elsewhere());
        this.#answered(member);
        return answer;
      } catch (error) {
        if (!isFault(error)) throw error;
        found.push(error);
        if (error.code === "CONFLICT") others.push(member);
        else this.#failed(member, error);
      }
    }
    throw worst([...found, ...this.#members.flatMap(({ fault }) => fault ?? [])]);
  }

  /** A node's answers turned out to be impossible. @returns Whether there is another one to ask. */
  blame(view: ChainView, error: WaybillError): boolean {
    const guilty = this.#members.find(({ node }) => node === view);
    if (guilty) this.#failed(guilty, error);
    if (this.#highest?.by === guilty) this.#highest = null; // it may have made that up, too
    return this.#members.some((member) => member !== guilty && member.until <= performance.now());
  }

  close(): void {
    for (const { node } of this.#members) node.close();
  }

  /** The preferred node and then the others, without those that failed lately; if all did, the one that may come back first. */
  #order(): Member[] {
    this.#lookAround();
    const now = performance.now();
    const ready = this.#members.filter(({ until }) => until <= now);
    if (ready.length === 0) return [this.#members.reduce((a, b) => (b.until < a.until ? b : a))];
    return ready.sort((a, b) => Number(b === this.#preferred) - Number(a === this.#preferred));
  }

  #answered(member: Member): void {
    this.#preferred = member;
    member.failures = 0;
    member.until = 0;
    member.fault = null;
  }

  #failed(member: Member, error: WaybillError): void {
    member.fault = error;
    const now = performance.now();
    if (member.until > now) return; // one fault, seen by several pieces of work at once
    const first = error.code === "WRONG_CHAIN" ? COOL_DOWN_MS.most : COOL_DOWN_MS.first;
    member.until = now + Math.min(COOL_DOWN_MS.most, first * 2 ** Math.min(member.failures, 16));
    member.failures += 1;
  }

  /** @throws WaybillError UNAVAILABLE when a node's newest block is far behind what has been seen, or too old. */
  #judge(tip: Head, by: Member): void {
    const now = performance.now();
    const age = Date.now() - tip.timestamp * 1000;
    if (age > this.#staleAfter) throw stale(`its newest block is ${Math.round(age / 1000)} s old`);
    const highest = this.#highest;
    if (highest && now - highest.at <= FORGET_MS) {
      if (isFarBehind(tip, highest)) throw stale(`its newest block is ${highest.block - tip.block} blocks behind`);
      if (tip.block === highest.block) highest.at = now;
      if (tip.block <= highest.block) return;
    }
    this.#highest = { ...tip, since: now, at: now, by };
  }

  /** Nobody notices that a node stands still as long as only that one is asked. */
  #lookAround(): void {
    const now = performance.now();
    const since = Math.max(this.#highest?.since ?? 0, this.#lookedAround);
    if (this.#members.length === 1 || this.#highest === null || now - since < LOOK_AROUND_MS) return;
    this.#lookedAround = now;
    for (const member of this.#members) {
      if (member === this.#preferred || member.until > now) continue;
      member.node.tip().catch((error: unknown) => {
        if (isFault(error)) this.#failed(member, error);
      });
    }
  }
}

function isFault(error: unknown): error is WaybillError {
  return error instanceof WaybillError && (faults as readonly string[]).includes(error.code);
}

/** Of everybody's faults the one that says most: a chain is called wrong only when all nodes serve another one. */
function worst(all: readonly WaybillError[]): WaybillError {
  const rank = ({ code }: WaybillError): number => (faults as readonly string[]).indexOf(code);
  return all.reduce((a, b) => (rank(b) < rank(a) ? b : a));
}

function isFarBehind(tip: Head, highest: Head): boolean {
  return highest.block - tip.block > BEHIND.blocks && highest.timestamp - tip.timestamp > BEHIND.seconds;
}

function stale(why: string): WaybillError {
  return new WaybillError("UNAVAILABLE", `The RPC node is out of step: ${why}. Try again, or use another.`);
}

function elsewhere(): WaybillError {
  return new WaybillError("UNAVAILABLE", "The RPC node is on another fork of the chain. Try again, or use another.");
}
