import http from "node:http";
import type { AddressInfo } from "node:net";
import { beforeEach, describe, expect, it } from "vitest";
import { startServer } from "../../local/server.ts";
import { Shedding } from "../../local/shedding.ts";
import { Generator, Phase } from "../support/load.ts";
import { Rounds } from "../support/load-rounds.ts";
import { transferMany } from "../support/load-transfers.ts";
import { LoadWorld, newKey } from "../support/load-world.ts";
import { eventually } from "../support/members.ts";
import { recoveryOf } from "./load-phases.ts";

// The short form of `npm run load`: that what is too much is refused in time and passes, and that the run measures what it says.
// No time decides.

const MOST = 16;

describe("a server with more to do than it can", () => {
  it("refuses the rest at once (503, Retry-After), answers what it took, and then takes all again", async () => {
    const release: (() => void)[] = [];
    const server = await startServer();
    const slow = { fetch: () => new Promise<Response>((done) => release.push(() => done(new Response("done")))) };
    server.mount(new Shedding(slow, MOST));
    const url = `${server.origin}/v1/tasks`;
    try {
      const taken = Array.from({ length: MOST }, () => fetch(url));
      await eventually(() => (release.length === MOST ? true : null));
      const refused = await fetch(url);
      expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "2"]);
      expect(await refused.json()).toMatchObject({ code: "UNAVAILABLE", status: 503 });
      const free = [fetch(`${server.origin}/health`), fetch(`${url}/0x00/events`)];
      await eventually(() => (release.length === MOST + 2 ? true : null));
      for (const one of release) one();
      const answers = await Promise.all([...taken, ...free]);
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
      const later = fetch(url);
      await eventually(() => (release.length === MOST + 3 ? true : null));
      release.at(-1)!();
      expect((await later).status).toBe(200);
    } finally {
      await server.stop();
    }
  });
});

describe("a queue", () => {
  let now: number;
  let waiting: (() => void)[];
  let door: Shedding;
  beforeEach(() => {
    now = 1_000_000;
    waiting = [];
    const app = { fetch: () => new Promise<Response>((done) => waiting.push(() => done(new Response("done")))) };
    door = new Shedding(app, 1_000, () => now);
  });
  const ask = (): Promise<Response> => door.fetch(new Request("http://api.test/v1/tasks"));
  const come = (count: number): void => {
    for (let left = count; left > 0; left--) void ask();
  };
  const answer = async (count: number): Promise<void> => {
    for (const one of waiting.splice(0, count)) one();
    await new Promise((done) => setImmediate(done));
  };
  const isLetIn = async (): Promise<boolean> => {
    const before = waiting.length;
    const asked = ask();
    if (waiting.length > before) return true;
    expect((await asked).status).toBe(503);
    return false;
  };

  it("that moves slowly takes nobody who would wait for more than ten seconds, and does again when it is gone", async () => {
    come(200);
    for (let second = 0; second < 4; second++) {
      now += 1_000;
      await answer(10);
      expect(await isLetIn()).toBe(true);
    }
    for (let second = 4; second < 20; second++) {
      now += 1_000;
      await answer(10);
      // 10 a second: who comes behind 100 waits for ten seconds, and below 128 nobody calls it a queue.
      expect(await isLetIn()).toBe(waiting.length < 128);
    }
    await answer(1_000);
    expect(await isLetIn()).toBe(true);
  });

  it("that moves quickly takes whoever comes, as many as there may be", async () => {
    come(900);
    for (let second = 0; second < 30; second++) {
      now += 1_000;
      await answer(95);
      come(95);
      expect(await isLetIn()).toBe(true);
      expect(waiting).toHaveLength(901);
      await answer(1);
    }
    come(100);
    expect([waiting.length, await isLetIn()]).toEqual([1_000, false]);
  });
});

describe("an open loop", () => {
  it("asks a server that doesn't answer as often as one that does, and counts a request from when it was due", async () => {
    const release: (() => void)[] = [];
    const server = http.createServer((_, response) => void release.push(() => response.end("{}")));
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    const { port } = server.address() as AddressInfo;
    const domain = { chainId: 1, contract: `0x${"00".repeat(20)}` } as const;
    const target = { origin: `http://127.0.0.1:${port}`, authority: "load.test", domain, keys: [newKey()] };
    let answered = 0;
    const more = (): void =>
      void generator.ask({ who: 0, route: "any", method: "GET", path: "/" }).then(() => void answered++);
    const generator = new Generator(target, { seed: 1, more });
    try {
      const phase = await generator.during(40, 2);
      expect([phase.asked.length > 1, answered]).toEqual([true, 0]);
      await eventually(() => (release.length === phase.asked.length ? true : null));
      for (const one of release) one();
      await phase.done();
      expect([...phase.statuses]).toEqual([[200, phase.asked.length]]);
      for (const { ms, late } of phase.asked) expect(ms).toBeGreaterThanOrEqual(late);
    } finally {
      await generator.stop();
      server.closeAllConnections();
      server.close();
    }
  });
});

describe("many members at once", () => {
  it("have all their requests answered where they are few, and all their statements on the chain", async () => {
    const world = await LoadWorld.start();
    try {
      const crew = await world.crew(6);
      const generator = new Generator(world.target(crew), { seed: 1, more: () => rounds.start() });
      const rounds = new Rounds(world.roundsOf(crew), generator, 1);
      try {
        const phases = [await generator.during(8, 1)];
        generator.fresh = false;
        while (rounds.running > 0) phases.push(await generator.during(40, 1));
        const statuses = new Set(phases.flatMap(({ asked }) => asked.map(({ status }) => status)));
        expect(rounds.faults).toEqual([]);
        expect([...statuses].toSorted()).toEqual([200, 202]);
        expect([rounds.begun > 0, rounds.finished]).toEqual([true, rounds.begun]);
      } finally {
        rounds.stop();
        await generator.stop();
      }
    } finally {
      await world.stop();
    }
  });

  it("have transfers under way all the time, and each arrives", async () => {
    const few = { members: 6, transfers: 2, processes: 1 };
    const { transfers, samples, live } = await transferMany(few, (seen) => seen.transfers >= 2);
    expect(transfers).toBeGreaterThanOrEqual(2);
    expect([samples.length > 0, live.every((bytes) => bytes > 0)]).toEqual([true, true]);
  });
});

describe("a flood is over", () => {
  const phaseOf = (bad: readonly number[]): Phase => {
    const phase = new Phase(1, 10);
    for (let second = 0; second < 10; second++) {
      const status = bad.includes(second) ? 503 : 200;
      phase.asked.push({ route: "any", due: phase.begun + second * 1000 + 500, late: 0, ms: 1, status });
    }
    return phase;
  };

  it.each([
    ["with its end, where nobody was refused any more", [], 0],
    ["with the first of five good seconds", [0, 1, 3], 4],
    ["never, where there are no five in a row", [2, 7], null],
  ] as const)("%s", (_, bad, expected) => {
    expect(recoveryOf(phaseOf(bad))).toBe(expected);
  });
});
