import { afterAll, beforeAll, expect, it } from "vitest";
import { Rig } from "../support/fault-rig.ts";
import { Bench } from "./faults.cell.ts";
import { crowds } from "./faults.crowd.ts";
import { asked } from "./report.ts";

// `node test/reliability/run.mjs crowd`: each fault once somewhere, many to a trip; quicker than `npm run faults`, and coarser.

let rig: Rig;
beforeAll(async () => {
  rig = await Rig.start();
});
afterAll(() => rig?.stop());

it.each(crowds(asked().seed).map((trip, i) => [i + 1, trip] as const))(
  "many faults in one trip are overcome, and leave nothing wrong (%i)",
  { timeout: 900_000 },
  async (_nth, trip) => {
    const { violations } = await new Bench(rig).run(...trip);
    expect(violations, trip.map(({ name, link, step }) => `${name} at ${link}, ${step}`).join("\n")).toEqual([]);
  },
);
