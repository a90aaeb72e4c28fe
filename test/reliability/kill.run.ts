import { expect, it } from "vitest";
import { failureOf, KillRecord, killAll, pointsNamed } from "./kill-report.ts";
import type { Trip } from "./kill-trip.ts";
import { asked } from "./report.ts";

// `npm run kill -- [--count N] [--minutes M] [--parallel P] [--seed S] [--only "part of a point's name"] [--record]`

const REPEATS = 100;
/** So often is a long run's record written: it may be ended at any time. */
const RECORD_EVERY = 10;

it("whatever is killed, and wherever, the trip completes and no invariant is broken", async () => {
  const { seed, only, count, minutes, parallel, record: kept } = asked();
  const end = minutes === null ? Number.POSITIVE_INFINITY : performance.now() + minutes * 60_000;
  const record = kept ? await KillRecord.open(seed, parallel ?? 1) : null;
  const done: Trip[] = [];
  let writing: Promise<unknown> = Promise.resolve(); // several trips end at once
  const plan = { seed, count: count ?? REPEATS, parallel: parallel ?? 1, until: () => performance.now() > end };
  await killAll(pointsNamed(only), plan, async (trip) => {
    done.push(trip);
    const words = trip.violations.length === 0 ? `ok: ${trip.points.join(" + ")}` : failureOf(trip, seed);
    process.stdout.write(`${trip.seconds.toFixed(1)} s  ${words}\n`);
    if (done.length % RECORD_EVERY === 0) writing = writing.then(() => record?.keep(done));
  });
  await writing;
  const section = await record?.keep(done);
  process.stdout.write(`${section ?? `${done.length} trips`}\n`);
  expect(done.filter(({ violations }) => violations.length > 0)).toEqual([]);
});
