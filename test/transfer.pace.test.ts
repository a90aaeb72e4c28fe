import { describe, expect, it } from "vitest";
import { RetryBudget } from "../lib/transfer/budget.ts";
import { type Running, Stragglers } from "../lib/transfer/hedge.ts";
import { Pace } from "../lib/transfer/pace.ts";

// Pure arithmetic, played over links that exist nowhere: no clock, no chance.

const MiB = 2 ** 20;
const STEP_MS = 10;
const LOOK_MS = 100;

interface Link {
  /** MiB per second of one connection. */
  readonly each?: number;
  /** ... of all together. */
  readonly all?: number;
  /** Milliseconds until the first byte of a request. */
  readonly latency?: number;
  readonly partSize?: number;
  /** Requests over this many at a time are answered 503. */
  readonly sheds?: number;
  /** What the link gives at a time, of what it could. */
  readonly weather?: (ms: number) => number;
  readonly most?: number;
  /** No more is to be had after so many bytes. */
  readonly size?: number;
}

interface Seen {
  readonly at: number;
  readonly allowed: number;
  /** MiB per second since the last look. */
  readonly goodput: number;
  /** Answers of 503 so far. */
  readonly shed: number;
}

/** Plays a transfer over a link. */
function play(seconds: number, link: Link): Seen[] {
  const { each = 1e9, all = 1e9, latency = 50, partSize = 8 * MiB, sheds = 1e9, weather = () => 1 } = link;
  const pace = new Pace(link.most ?? 32);
  let running: { left: number; from: number }[] = [];
  let unasked = link.size ?? 1e15;
  let bytes = 0;
  let shed = 0;
  let patient = 0;
  const seen: Seen[] = [];
  for (let now = 0; now < seconds * 1000; now += STEP_MS) {
    while (running.length < pace.allowed && unasked > 0 && now >= patient) {
      if (running.length >= sheds) {
        shed += 1;
        pace.slowDown(now);
        patient = now + 200; // as retries back off
      }
      running.push({ left: Math.min(partSize, unasked), from: now + latency });
      unasked -= partSize;
    }
    const flowing = running.filter(({ from }) => from <= now);
    const rate = Math.min(each, all / Math.max(1, flowing.length)) * weather(now);
    for (const part of flowing) {
      const moved = Math.min(part.left, (rate * MiB * STEP_MS) / 1000);
      part.left -= moved;
      bytes += moved;
    }
    running = running.filter(({ left }) => left > 0);
    if (now % LOOK_MS !== 0) continue;
    pace.tick(now, bytes, running.length);
    seen.push({ at: now, allowed: pace.allowed, goodput: bytes, shed });
  }
  return seen.map((one, i) => ({
    ...one,
    goodput: ((one.goodput - (seen[i - 1]?.goodput ?? 0)) / MiB / LOOK_MS) * 1000,
  }));
}

const between = (seen: Seen[], from: number, to: number): Seen[] =>
  seen.filter(({ at }) => at >= from * 1000 && at < to * 1000);
const mean = (seen: Seen[]): number => seen.reduce((sum, { goodput }) => sum + goodput, 0) / seen.length;
const levels = (seen: Seen[]): number[] => seen.map(({ allowed }) => allowed);

/** The same numbers every time, between -1 and 1. */
function noise(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return state / 1073741824 - 1;
  };
}

describe("concurrency", () => {
  it("begins at four, doubles while that pays, and is at its cap within a second", () => {
    const seen = play(20, { each: 25, most: 16 });
    expect(seen[0]!.allowed).toBe(4);
    expect(Math.min(...levels(between(seen, 1, 20)))).toBeGreaterThanOrEqual(15); // it looks below now and then
    expect(mean(between(seen, 1, 20))).toBeGreaterThan(0.97 * (16 * 25 * (320 / 370)));
  });

  it("grows to more than twenty where every connection has its own limit", () => {
    const seen = play(30, { each: 5, most: 32, partSize: 4 * MiB });
    expect(Math.max(...levels(seen))).toBe(32);
    expect(mean(between(seen, 3, 30))).toBeGreaterThan(0.95 * (32 * 5 * (800 / 850)));
  });

  it("stays low where the link as a whole is the limit", () => {
    const seen = play(30, { all: 100, latency: 20 });
    expect(Math.max(...levels(seen))).toBeLessThanOrEqual(9);
    expect(mean(between(seen, 1, 30))).toBeGreaterThan(0.9 * 100);
  });

  it("goes on doubling no further than what is enough", () => {
    const seen = play(60, { each: 10, all: 100, latency: 0 });
    expect(mean(between(seen, 5, 60))).toBeGreaterThan(0.97 * 100);
    expect(Math.max(...levels(seen))).toBeLessThanOrEqual(17);
  });

  it("goes down when the store sheds, stays below, and looks again only now and then", () => {
    const seen = play(60, { each: 25, sheds: 10 });
    expect(seen.at(-1)!.shed).toBeLessThanOrEqual(40);
    expect(Math.max(...levels(between(seen, 3, 60)))).toBeLessThanOrEqual(12);
    expect(mean(between(seen, 5, 60))).toBeGreaterThan(0.75 * (10 * 25 * (320 / 370)));
  });

  it("takes a storm's many answers for one, falls to one request at the least, and comes back by itself", () => {
    const pace = new Pace(32);
    for (let i = 0; i < 50; i++) pace.slowDown(1000);
    expect(pace.allowed).toBe(3);
    for (let now = 2000; now < 20_000; now += 300) pace.slowDown(now);
    expect(pace.allowed).toBe(1);
    let bytes = 0;
    let now = 20_000;
    for (; pace.allowed < 16 && now < 60_000; now += 100) {
      bytes += pace.allowed * MiB;
      pace.tick(now, bytes, pace.allowed);
    }
    expect(now).toBeLessThan(32_000);
  });

  it("takes one such answer among many for an accident", () => {
    const pace = new Pace(32);
    for (let now = 1000; now < 60_000; now += 1000) pace.slowDown(now);
    expect(pace.allowed).toBe(4);
  });

  it.each([
    ["each connection", { each: 25 }],
    ["all together", { all: 200 }],
  ])("is back after a link that fell to a tenth for half a minute, %s, and never stuck", (_name, link) => {
    const seen = play(120, { ...link, most: 16, weather: (ms) => (ms > 20_000 && ms < 50_000 ? 0.1 : 1) });
    const before = mean(between(seen, 10, 20));
    expect(Math.min(...levels(between(seen, 20, 50)))).toBeLessThanOrEqual(8); // it was halved
    expect(Math.min(...levels(between(seen, 20, 50)))).toBeGreaterThanOrEqual(2); // and that was all
    expect(mean(between(seen, 60, 120))).toBeGreaterThan(0.95 * before);
  });

  it("is not stuck after ten collapses, nor after a link that was dead for a minute", () => {
    const often = play(200, { each: 25, most: 16, weather: (ms) => (ms % 20_000 > 15_000 ? 0.1 : 1) });
    for (let from = 40; from < 200; from += 20)
      expect(mean(between(often, from + 9, from + 15))).toBeGreaterThan(0.9 * 16 * 25 * (320 / 370));
    const dead = play(160, { each: 25, most: 16, weather: (ms) => (ms > 20_000 && ms < 80_000 ? 0 : 1) });
    expect(mean(between(dead, 95, 160))).toBeGreaterThan(0.9 * 16 * 25 * (320 / 370));
  });

  it("is steady over noisy ticks", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const wobble = noise(seed);
      const seen = play(60, { each: 25, most: 16, latency: 20, weather: () => 1 + 0.5 * wobble() });
      expect(mean(between(seen, 10, 60))).toBeGreaterThan(0.85 * 16 * 25 * (320 / 340));
      const slow = noise(seed + 100);
      const gusts = Array.from({ length: 100 }, () => 1 + 0.4 * slow()); // of 700 ms
      const gusty = play(60, { all: 100, weather: (ms) => gusts[Math.floor(ms / 700)]! });
      expect(mean(between(gusty, 10, 60))).toBeGreaterThan(0.8 * 100);
    }
  });

  it("judges parts of 64 MiB over slow connections by their bytes, although no part ends within many ticks", () => {
    const seen = play(60, { each: 2, partSize: 64 * MiB, most: 12 });
    expect(Math.min(...levels(between(seen, 3, 60)))).toBeGreaterThanOrEqual(11);
  });

  it("of a payload that is over before a tick stays what it was", () => {
    const seen = play(5, { each: 1000, size: 20 * MiB });
    expect(new Set(levels(seen))).toEqual(new Set([4]));
  });

  it("learns nothing from a time in which nothing more was asked for, and calls it no collapse", () => {
    const pace = new Pace(32);
    let bytes = 0;
    for (let now = 0; now < 5000; now += 100) {
      bytes += 10 * MiB;
      pace.tick(now, bytes, pace.allowed);
    }
    const { allowed } = pace;
    for (let now = 5000; now < 60_000; now += 100) pace.tick(now, bytes + now, pace.allowed - 1);
    expect(pace.allowed).toBe(allowed);
  });

  it("is measured by what was verified: bytes that are taken back don't raise it", () => {
    const pace = new Pace(32);
    let bytes = 0;
    for (let now = 0; now < 60_000; now += 100) {
      bytes += 4 * MiB; // good ones; of the others all that come are wrong
      pace.tick(now, bytes + (now % 200 === 0 ? (pace.allowed - 4) * MiB : 0), pace.allowed);
      expect(pace.allowed).toBeLessThanOrEqual(9);
    }
  });

  it("obeys a limit that comes later", () => {
    const pace = new Pace(32);
    pace.limit(2);
    expect(pace.allowed).toBe(2);
  });
});

describe("the retries that a transfer's parts share", () => {
  it("are there at once for as many as can fail together, then one a second", () => {
    const budget = new RetryBudget();
    expect(Array.from({ length: 64 }, () => budget.take(0))).toEqual(Array(64).fill(0));
    expect([budget.take(0), budget.take(0), budget.take(0)]).toEqual([1000, 2000, 3000]);
    expect(budget.take(4000)).toBe(0);
  });

  it("last for ever where one part in twenty fails, and slow down where every second does", () => {
    const waits = (every: number): number => {
      const budget = new RetryBudget();
      let sum = 0;
      for (let part = 0; part < 10_000; part++) {
        if (part % every === 0) sum += budget.take(0);
        budget.earn();
      }
      return sum;
    };
    expect(waits(20)).toBe(0);
    expect(waits(2)).toBeGreaterThan(0);
  });
});

describe("a straggler", () => {
  const running = (began: number): Running => ({ began, memory: 0, hedge: () => {} });
  /** A hundred requests that took a second each, and those that run. */
  const having = (requests: number, ...more: Running[]): Stragglers => {
    const stragglers = new Stragglers();
    for (let i = 0; i < requests; i++) {
      const one = running(0);
      stragglers.add(one);
      stragglers.learn(1000);
      stragglers.remove(one);
    }
    for (const one of more) stragglers.add(one);
    return stragglers;
  };

  it("takes more than three times what is usual, and half a second at least", () => {
    const one = running(10_000);
    expect(having(100, one).find(12_999)).toBe(null);
    expect(having(100, one).find(13_001)).toBe(one);
    const quick = new Stragglers();
    for (let i = 0; i < 10; i++) quick.learn(1);
    quick.add(one);
    expect(quick.find(10_500)).toBe(null);
    expect(quick.find(10_501)).toBe(one);
  });

  it("is nobody as long as nothing is known", () => {
    expect(having(2, running(0)).find(1e9)).toBe(null);
  });

  it("is found once, the oldest first, one request in twenty, but always one", () => {
    const all = [0, 1, 2, 3, 4, 5, 6, 7].map(running);
    const found = (stragglers: Stragglers): number[] => {
      const began: number[] = [];
      for (let one = stragglers.find(1e6); one; one = stragglers.find(1e6)) {
        stragglers.hedged(one);
        began.push(one.began);
      }
      return began;
    };
    expect(found(having(4, ...all.slice(0, 2)))).toEqual([0]);
    expect(found(having(92, ...all))).toEqual([0, 1, 2, 3, 4]);
  });
});
