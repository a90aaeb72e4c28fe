import type { Api } from "./api.ts";
import type { ChainReader } from "./chain/reader.ts";
import type { EventSource, Sight } from "./chain/source.ts";
import type { ChainView } from "./chain/view.ts";
import type { Deployment } from "./protocol/deployment.ts";
import { WaybillError } from "./protocol/errors.ts";
import type { Hex } from "./protocol/hex.ts";
import { MAX_EVENTS } from "./protocol/limits.ts";

/** A server that says "at once, again" without having waited is not asked more often than this, and none more rarely. */
const API_POLL_MS = { least: 250, most: 30_000 };
/** How often a node of one's own is asked, however slow or fast its chain is. */
const NODE_POLL_MS = { least: 100, most: 2_000 };
/** Tries to learn where the chain stands. */
const LOOKS = 4;

/** Reads a task's events over HTTPS. */
export function apiSource(api: Api, task: Hex): EventSource {
  return {
    read: async (after, signal) => {
      const began = performance.now();
      const { events, head, poll } = await api.events(task, after, signal);
      // A full answer may end before its head.
      if (events.length > 0) return { events, head: null, poll: 0 };
      const waited = performance.now() - began;
      return { events, head, poll: Math.min(API_POLL_MS.most, Math.max(poll, API_POLL_MS.least - waited)) };
    },
    look: async (signal) => {
      const { events, next, head } = await api.newest(task, signal);
      if (next.seq === 0) throw tooFresh();
      return { head, seq: next.seq, hash: events[0]?.blockHash };
    },
    close: () => {},
  };
}

/** Reads a task's events from nodes of one's own. */
export function nodeSource(reader: ChainReader, { blockTime }: Deployment, task: Hex): EventSource {
  const poll = Math.min(NODE_POLL_MS.most, Math.max(NODE_POLL_MS.least, blockTime / 2));
  let last: ChainView | null = null;
  return {
    read: (after) =>
      reader.atOne(async (view) => {
        last = view;
        const head = await view.head();
        const { events, whole } = await view.stretch(task, after, head.block, MAX_EVENTS);
        return whole ? { events, head, poll } : { events, head: null, poll: 0 };
      }),
    look: () => withPatience(() => reader.atOne((view) => lookAt(view, task))),
    blame: (error) => last !== null && reader.blame(last, error),
    close: () => reader.close(),
  };
}

async function lookAt(view: ChainView, task: Hex): Promise<Sight> {
  const head = await view.head();
  const { seq, hash } = await view.newest(task, head.block);
  if (seq === 0) throw tooFresh();
  return { head, seq, hash };
}

function tooFresh(): WaybillError {
  return new WaybillError("UNKNOWN_TASK", "There is no such task on the chain, or its opening is too fresh.");
}

async function withPatience<T>(act: () => Promise<T>): Promise<T> {
  for (let failures = 1; ; failures++) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof WaybillError) || error.code !== "UNAVAILABLE" || failures >= LOOKS) throw error;
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 200 * 2 ** failures));
    }
  }
}
