import { expect, it } from "vitest";
import { failureOf, killAll, killsSection, pointsNamed } from "./kill-report.ts";
import { asked, record } from "./report.ts";

// `npm run kill -- [--count N] [--seed S] [--only "part of a point's name"] [--record]`

const REPEATS = 100;

it("whatever is killed, and wherever, the trip completes and no invariant is broken", async () => {
  const { seed, only, count: wanted, record: kept } = asked();
  const count = wanted ?? REPEATS;
  const trips = await killAll(pointsNamed(only), { count, seed }, (trip) => {
    const words = trip.violations.length === 0 ? "ok" : failureOf(trip, seed);
    process.stdout.write(`${trip.seconds.toFixed(1)} s  ${trip.point}: ${words}\n`);
  });
  const section = killsSection(trips, { seed, count });
  process.stdout.write(`${section}\n`);
  if (kept) await record("kills", section);
  expect(trips.filter(({ violations }) => violations.length > 0)).toEqual([]);
});
