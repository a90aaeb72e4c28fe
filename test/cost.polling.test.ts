import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Follower } from "../lib/chain/follower.ts";
import { Ledger } from "../lib/chain/ledger.ts";
import type { EventSource } from "../lib/chain/source.ts";
import type { Address, Hex } from "../lib/protocol/hex.ts";
import type { TaskEvent } from "../lib/protocol/wire.ts";
import { ApiWorld } from "./support/api.ts";
import { newKey, type Task } from "./support/contract.ts";

// Whoever waits long on an idle task looks less and less often, and often again when there is news.

const MINUTE = 60_000;
const POLL = 2_000;

describe("a follower", () => {
  let reads: number[];
  let news: TaskEvent[];
  let seq: number;
  let follower: Follower;
  const ending = new AbortController();

  beforeEach(async () => {
    const opened = await events;
    vi.useFakeTimers();
    reads = [];
    news = [];
    seq = 0;
    const source: EventSource = {
      read: async () => {
        reads.push(Date.now());
        return { events: news.splice(0), head: { block: 1 + reads.length, timestamp: 1 + reads.length }, poll };
      },
      look: async () => ({ head: { block: 1_000, timestamp: 1_000 }, seq }),
      close: () => {},
    };
    const ledger = new Ledger({ domain: opened.domain, task: opened.task, trusted: true });
    follower = new Follower({ ledger, source, blockTime: 2_000, maxBlockAge: 60_000 });
  });
  afterEach(() => {
    vi.useRealTimers();
    follower.close();
  });
  let poll = POLL;

  /** Somebody who waits for what never comes. */
  const wait = (signal = ending.signal): void =>
    void follower.until(() => undefined, { signal }).catch(() => undefined);
  const gaps = (): number[] => reads.slice(1).map((at, i) => at - reads[i]!);

  it("looks as often as the source says at first, never more often, and in the end once a minute", async () => {
    wait();
    await vi.advanceTimersByTimeAsync(60 * MINUTE);
    expect(gaps()[0]).toBe(POLL);
    expect(Math.min(...gaps())).toBe(POLL);
    expect(Math.max(...gaps())).toBe(MINUTE);
    expect(gaps().at(-1)).toBe(MINUTE);
    expect(reads.length).toBeLessThan(120); // and not 1,800
  });

  it("never lets news lie for longer than a tenth of the time that there was none", async () => {
    wait();
    await vi.advanceTimersByTimeAsync(8 * MINUTE);
    for (const [i, gap] of gaps().entries()) {
      const idle = reads[i]! - reads[0]!;
      expect(gap).toBeLessThanOrEqual(Math.max(POLL, idle / 10 + 1));
    }
  });

  it("looks often again after news", async () => {
    wait();
    await vi.advanceTimersByTimeAsync(30 * MINUTE);
    news = [(await events).opened];
    await vi.advanceTimersByTimeAsync(MINUTE);
    expect(follower.ledger.position.seq).toBe(1);
    reads.length = 0;
    await vi.advanceTimersByTimeAsync(POLL * 5);
    expect(reads.length).toBeGreaterThanOrEqual(2);
    expect(Math.max(...gaps())).toBeLessThan(2 * POLL + 6_000);
  });

  it("looks at once when somebody else begins to wait, and often from then on", async () => {
    wait();
    await vi.advanceTimersByTimeAsync(30 * MINUTE);
    const before = reads.length;
    wait();
    await vi.advanceTimersByTimeAsync(1);
    expect(reads.length).toBe(before + 1);
    await vi.advanceTimersByTimeAsync(POLL);
    expect(reads.length).toBe(before + 2);
  });

  it("reads at once what a look at the chain tells of", async () => {
    wait();
    void follower.until(() => undefined, { at: 3_000, signal: ending.signal }).catch(() => undefined);
    await vi.advanceTimersByTimeAsync(30 * MINUTE);
    const [event] = [(await events).opened];
    const pause = gaps().at(-1)!;
    expect(pause).toBeGreaterThan(20_000);
    seq = 1;
    news = [event];
    await vi.advanceTimersByTimeAsync(31_000); // the longest time between two looks at a deadline
    expect(follower.ledger.position.seq).toBe(1);
  });

  it("asks again at once where asking itself waits", async () => {
    poll = 0;
    wait();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(reads.length).toBeGreaterThan(100);
    poll = POLL;
  });
});

/** A task's opening, as an event. */
const events: Promise<{ domain: { chainId: number; contract: Address }; task: Hex; opened: TaskEvent }> = (async () => {
  const api = await ApiWorld.start();
  try {
    const task: Task = await api.task([newKey()]);
    const { block } = await api.deps.chain.tip();
    const [opened] = await api.deps.chain.eventsAfter(task.id, { seq: 0, block: 0 }, block, 1);
    return { domain: api.world.domain, task: task.id, opened: opened! };
  } finally {
    await api.stop();
  }
})();
