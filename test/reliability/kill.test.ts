import { expect, it } from "vitest";
import { failureOf, killAll, pointsNamed } from "./kill-report.ts";

// The short form of `npm run kill`: each kind of process once, in a trip; and a sender that gives up.

const POINTS = [
  ...["sender: the third part, carried out", "recipient: the file's name, carried out"],
  ...["functions: CompleteMultipartUpload, carried out", "publisher: the broadcast, carried out"],
  "sender: the withdrawal, carried out",
];

it("a sender, a recipient, the functions and a publisher are killed in the middle of a step, and all completes", async () => {
  const trips = await killAll(POINTS.flatMap(pointsNamed), { count: 1, seed: 1 });
  expect(trips.flatMap((trip) => (trip.violations.length > 0 ? [failureOf(trip, 1)] : []))).toEqual([]);
  expect(trips.flatMap(({ points }) => points).sort()).toEqual(POINTS.sort());
}, 600_000);
