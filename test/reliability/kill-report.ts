import { type Point, points } from "./kill-points.ts";
import { KillTrip, type Trip } from "./kill-trip.ts";
import { KillWorld } from "./kill-world.ts";
import { type Asked, origin, table } from "./report.ts";

/** A task's events are read by each new process: few enough that this takes no time. */
const TRIPS_PER_TASK = 50;

/** Kills at these points, one after the other, each so many times. */
export async function killAll(
  which: readonly Point[],
  { count, seed }: { count: number; seed: number },
  onTrip: (trip: Trip) => void = () => {},
): Promise<Trip[]> {
  const world = await KillWorld.start();
  const trips: Trip[] = [];
  try {
    let cast = await world.open();
    for (let i = 0; i < count; i++)
      for (const point of which) {
        if (trips.length > 0 && trips.length % TRIPS_PER_TASK === 0) cast = await world.open();
        const trip = await new KillTrip(world, cast, point, `kill/${seed}/${i}/${point.name}`).run();
        trips.push(trip);
        onTrip(trip);
      }
  } finally {
    await world.stop();
  }
  return trips;
}

/** Points whose names have this in them. */
export const pointsNamed = (only: string | null): readonly Point[] =>
  points.filter(({ name }) => only === null || name.includes(only));

export function failureOf({ point, violations }: Trip, seed: number): string {
  return `${point}: ${violations.join("; ")}\n  again: npm run kill -- --only "${point}" --count 20 --seed ${seed}`;
}

export function killsSection(trips: readonly Trip[], { seed, count }: Pick<Asked, "seed"> & { count: number }): string {
  const rows = [...new Set(trips.map(({ point }) => point))].map((point) => {
    const mine = trips.filter((trip) => trip.point === point);
    const bad = mine.filter(({ violations }) => violations.length > 0).length;
    const sum = (of: (trip: Trip) => number): number => mine.reduce((all, trip) => all + of(trip), 0);
    const seconds = (sum((trip) => trip.seconds) / mine.length).toFixed(1);
    const outcome = bad === 0 ? "all completed" : `${bad} broke an invariant`;
    return [
      point,
      `${mine.length}`,
      outcome,
      `${sum(({ waste }) => waste)}`,
      `${sum(({ orphans }) => orphans)}`,
      seconds,
    ];
  });
  const head = ["Killed at", "kills", "outcome", "parts stored twice", "uploads left to the sweeper", "seconds a trip"];
  const command = `npm run kill -- --seed ${seed} --count ${count}`;
  return `${origin(command)} ${trips.length} kills.\n\n${table(head, rows)}`;
}
