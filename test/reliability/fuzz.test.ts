import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { feed, plan } from "../support/fuzz.ts";
import { parsers } from "../support/fuzz-parsers.ts";
import { RouteFuzz, UNCAPPED } from "../support/fuzz-routes.ts";
import { Stage } from "../support/roles.ts";

// The short form of `npm run fuzz`: the same inputs in every run.

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });
const SEED = 8;

describe("hostile inputs end in our own errors, and nothing is taken that the rule refuses:", () => {
  it.each(plan(parsers, 20_000).map(([subject, count]) => [subject.name, subject, count] as const))(
    "%s",
    async (_, subject, count) => {
      expect((await feed(subject, count, SEED)).inputs).toBe(count);
    },
  );
});

describe("hostile requests are refused in our own words, without a URL for who isn't a party:", () => {
  let stage: Stage;
  let fuzz: RouteFuzz;
  beforeAll(async () => {
    stage = await Stage.start(UNCAPPED);
    fuzz = await RouteFuzz.start(stage);
  });
  afterAll(async () => {
    await fuzz?.stop();
    await stage?.stop();
  });

  it("on every route, signed or not, on the wire and at the store", async () => {
    for (const subject of fuzz.subjects) {
      const count = Math.ceil(subject.share / 10);
      expect((await feed(subject, count, SEED)).inputs).toBe(count);
    }
  });
});
