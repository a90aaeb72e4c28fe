import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { startServer } from "../../local/server.ts";
import { Shedding } from "../../local/shedding.ts";
import { load } from "../support/load.ts";
import { type Cast, eventually, Scene } from "../support/members.ts";

// The short form of `npm run load`: that what is too much is refused in time, and that it passes. No time decides.

const MOST = 16;

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

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

describe("signed requests of many members", () => {
  let scene: Scene;
  let cast: Cast;
  beforeAll(async () => {
    scene = await Scene.start();
    cast = await scene.cast(10);
  });
  afterAll(() => scene?.stop());

  it("are all answered where they are few", async () => {
    const { statuses, latencies } = await load(cast, 4, (asked) => asked < 20);
    expect([...statuses]).toEqual([[200, 20]]);
    expect(latencies).toHaveLength(20);
  });
});
