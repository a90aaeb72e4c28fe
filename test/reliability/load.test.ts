import http from "node:http";
import type { AddressInfo } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { describe, expect, it } from "vitest";
import { startServer } from "../../local/server.ts";
import { Shedding } from "../../local/shedding.ts";
import type { Patience } from "../../local/turnstile.ts";
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
    server.mount(new Shedding(slow, { most: MOST }));
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

const turn = (): Promise<void> => new Promise((next) => setImmediate(next));

describe("a server with as much to do as it can", () => {
  it("takes new connections several times as fast as it takes up work, so that none is kept waiting where nobody can refuse it", async () => {
    const server = http.createServer();
    let [connections, done] = [0, 0];
    const seen: number[] = [];
    const busy = async (): Promise<Response> => {
      seen.push(connections);
      for (let left = 50; left > 0; left--, await turn()) burn(1);
      done += 1;
      return new Response("done");
    };
    const shedding = new Shedding({ fetch: busy }, { patience: { burst: 60_000, standing: 60_000 } });
    server.on("connection", () => void connections++);
    server.on(
      "request",
      getRequestListener((request) => shedding.fetch(request)),
    );
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    const { port } = server.address() as AddressInfo;
    try {
      const ask = (): Promise<number> =>
        new Promise((answered, failed) => {
          const request = http.get({ port, host: "127.0.0.1", agent: false }, (response) => {
            response.resume().once("end", () => answered(response.statusCode!));
          });
          request.once("error", failed);
        });
      const answers = await Promise.all(Array.from({ length: 80 }, ask));
      expect([new Set(answers), done]).toEqual([new Set([200]), 80]);
      for (const nth of [5, 10, 20]) expect(seen[nth - 1]).toBeGreaterThanOrEqual(3 * nth);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  it("takes up those who came at once, in their order, and refuses who has waited for too long; whether it lives it tells at once", async () => {
    const { order, come, answers } = lineOf({ burst: 500, standing: 500 }, () => {});
    for (const name of ["a", "b", "c"]) come(name);
    burn(600);
    for (const name of ["d", "health", "events"]) come(name);
    expect(await answers()).toEqual([200, 503, 503, 200, 200, 200]);
    expect(order).toEqual(["health", "a", "d", "events"]);
    come("e");
    expect(await answers()).toEqual([200, 503, 503, 200, 200, 200, 200]);
  });

  it("keeps nobody waiting for more than a moment while the line stands", async () => {
    const { order, come, answers } = lineOf({ burst: 1_000, standing: 300 }, (name) => {
      if (name !== "first") return;
      for (const one of ["a", "b"]) come(one);
      burn(1_400);
      for (const one of ["c", "d"]) come(one);
    });
    for (const name of ["first", "second", "third"]) come(name);
    await answers();
    expect(order).toEqual(["first", "c", "d"]);
  });

  it("does nothing for who has gone while waiting", async () => {
    let worked = 0;
    const shedding = new Shedding({ fetch: async () => new Response(String(++worked)) });
    const gone = new AbortController();
    const [first, second] = [
      new Request("http://load.test/"),
      new Request("http://load.test/", { signal: gone.signal }),
    ];
    const answers = [shedding.fetch(first), shedding.fetch(second)];
    gone.abort();
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 503]);
    expect(worked).toBe(1);
  });
});

/** Requests that come one by one; at the first turn of each happens what the test says. */
function lineOf(patience: Patience, happens: (name: string) => void) {
  const [order, asked]: [string[], Promise<Response>[]] = [[], []];
  const app = {
    fetch: async ({ url }: Request) => {
      const name = url.split("/").at(-1)!;
      order.push(name);
      happens(name);
      return new Response("done");
    },
  };
  const shedding = new Shedding(app, { patience });
  return {
    order,
    come: (name: string): void => void asked.push(shedding.fetch(new Request(`http://load.test/${name}`))),
    answers: async (): Promise<number[]> => {
      for (let seen = -1; seen < asked.length; await Promise.all(asked)) seen = asked.length;
      return (await Promise.all(asked)).map(({ status }) => status);
    },
  };
}

function burn(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end; );
}

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
    const { transfers, samples, alive } = await transferMany(few, (seen) => seen.transfers >= 2);
    expect(transfers).toBeGreaterThanOrEqual(2);
    expect([samples.length > 0, alive.every(({ live, objects }) => live > 0 && objects > 0)]).toEqual([true, true]);
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
