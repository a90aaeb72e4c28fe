import type * as z from "zod/mini";
import { Moment } from "../lib/chain/moment.ts";
import type { ChainView, Cursor } from "../lib/chain/view.ts";
import type { Hex } from "../lib/protocol/hex.ts";
import { MAX_EVENT_BYTES, MAX_EVENTS } from "../lib/protocol/limits.ts";
import { type eventsQuery, wireText } from "../lib/protocol/requests.ts";
import type { eventsAnswer, Head, TaskEvent } from "../lib/protocol/wire.ts";
import { type Deps, nowOf } from "./deps.ts";
import type { Objects } from "./objects.ts";

/**
 * How long a request waits for an event where waiting is free. Its answer also carries the chain's time, by which
 * callers judge deadlines, so it must not be long.
 */
const LONG_POLL_MS = 2_000;
/** Between two looks at the chain. */
const LOOK_MS = 100;
/** Answers that are kept for others to share: each may have 4 MiB, and those that many ask for are few. */
const MAX_KEPT = 8;

type Query = z.output<typeof eventsQuery>;
type Answer = z.output<typeof eventsAnswer>;

/** Reads tasks' events for the API. */
export class Events {
  readonly #deps: Deps<Objects>;
  /** What was read a moment ago, by task and place, oldest first. */
  readonly #kept = new Map<string, { readonly answer: Promise<Answer>; readonly since: Moment }>();

  constructor(deps: Deps<Objects>) {
    this.#deps = deps;
  }

  /**
   * A task's events with `confirmations` on top, after a cursor, before one, or the newest one. Whoever asks for those after
   * the same cursor within a moment (`Config.shared`) shares one reading: members that wait for the same event all do.
   * @throws WaybillError CONFLICT if the cursor is not on this chain.
   */
  read(task: Hex, query: Query, signal: AbortSignal): Promise<Answer> {
    if (!("after" in query)) return this.#readOnce(task, query);
    const { after: seq, block, hash } = query;
    const { longPoll, shared = 0 } = this.#deps.config;
    const read = () => this.#after(task, { seq, block, hash }, signal);
    return longPoll || shared === 0 ? read() : this.#share(`${task} ${seq} ${block} ${hash}`, shared, read);
  }

  #share(name: string, ms: number, read: () => Promise<Answer>): Promise<Answer> {
    const kept = this.#kept.get(name);
    if (kept?.since.isWithin(ms)) return kept.answer;
    const since = new Moment();
    const answer = read();
    this.#kept.delete(name); // the newest one is the last
    this.#kept.set(name, { answer, since });
    for (const [old, { since }] of this.#kept)
      if (this.#kept.size > MAX_KEPT || !since.isWithin(ms)) this.#kept.delete(old);
    answer.catch(() => {
      if (this.#kept.get(name)?.answer === answer) this.#kept.delete(name);
    });
    return answer;
  }

  #readOnce(task: Hex, query: Exclude<Query, { after: number }>): Promise<Answer> {
    return this.#deps.chain.atOne(async (chain) => {
      const depth = await chain.depth(true); // who asks where things stand means now
      const [head, newest] = await Promise.all([depth.head, chain.latest(task, depth.block)]);
      if ("before" in query) return eventsBefore(chain, task, { seq: query.before, block: query.block }, head, newest);
      const events = newest.seq === 0 ? [] : await chain.eventsBefore(task, past(newest), 1);
      return { events, next: newest, head, poll: this.#poll };
    });
  }

  async #after(task: Hex, cursor: Cursor, signal: AbortSignal): Promise<Answer> {
    const deps = this.#deps;
    const until = nowOf(deps) + (deps.config.longPoll ? LONG_POLL_MS : 0);
    for (let seen = -1; ; await pause(LOOK_MS, signal)) {
      const over = nowOf(deps) >= until || signal.aborted;
      const { head, events } = await deps.chain.atOne(async (chain) => {
        const depth = await chain.depth(deps.config.longPoll); // who waits for a block looks for it
        const known = depth.block === seen && !over; // a block that was looked at has nothing new
        const found = known ? [] : chain.eventsAfter(task, cursor, depth.block, MAX_EVENTS);
        const [head, events] = await Promise.all([depth.head, found]);
        return { head, events: withinBytes(events) };
      });
      seen = head.block;
      const last = events.at(-1);
      if (last) return { events, next: { seq: last.seq, block: last.block }, head, poll: this.#poll };
      if (over) return { events, next: { seq: cursor.seq, block: cursor.block }, head, poll: this.#poll };
    }
  }

  /** Milliseconds until another look is worth it; 0 where the call itself waits. */
  get #poll(): number {
    const { longPoll, blockTime } = this.#deps.config;
    return longPoll ? 0 : blockTime;
  }
}

async function eventsBefore(chain: ChainView, task: Hex, cursor: Cursor, head: Head, newest: Cursor): Promise<Answer> {
  // What isn't deep enough yet is not there yet: a cursor beyond it means the newest.
  const from = cursor.seq > newest.seq ? past(newest) : { ...cursor, block: Math.min(cursor.block, head.block) };
  const found = from.seq <= 1 ? [] : await chain.eventsBefore(task, from, MAX_EVENTS);
  const events = withinBytes(found.reverse()).reverse();
  const first = events[0];
  const next = first ? { seq: first.seq, block: first.prevBlock } : { seq: 0, block: 0 };
  return { events, next, head, poll: 0 };
}

/** The place right after an event. */
function past({ seq, block }: Cursor): Cursor {
  return { seq: seq + 1, block };
}

/** As many from the front as an answer holds, and at least one. */
function withinBytes(events: TaskEvent[]): TaskEvent[] {
  let bytes = 0;
  const end = events.findIndex((event) => {
    bytes += wireText(event).length;
    return bytes > MAX_EVENT_BYTES;
  });
  return end === -1 ? events : events.slice(0, Math.max(1, end));
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
  });
}
