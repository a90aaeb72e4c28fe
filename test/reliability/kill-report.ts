import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { KillPool } from "./kill-child.ts";
import { type Point, points, tripsOf } from "./kill-points.ts";
import { KillTrip, type Trip } from "./kill-trip.ts";
import { type KillTask, KillWorld } from "./kill-world.ts";
import { origin, record, table } from "./report.ts";

/** A task's events are read by each new process: few enough that this takes no time. */
const TRIPS_PER_TASK = 50;

/** Kills, without an end or until nobody wants more. */
export interface Plan {
  readonly seed: number;
  /** How often each point. */
  readonly count: number;
  /** Trips at once, each beside a stack of its own; they wait most of their time. Default 1. */
  readonly parallel?: number;
  /** After this, no more trips begin. */
  readonly until?: () => boolean;
}

/** Kills at these points, each so many times. */
export async function killAll(
  which: readonly Point[],
  { seed, count, parallel = 1, until = () => false }: Plan,
  onTrip: (trip: Trip) => void | Promise<void> = () => {},
): Promise<Trip[]> {
  const pool = await KillPool.start();
  const trips: Trip[] = [];
  const coming = inOrder(which, seed, count);
  const lane = async (): Promise<void> => {
    const world = await KillWorld.start(pool);
    try {
      let cast: KillTask | undefined;
      for (let done = 0; !until(); done++) {
        const next = coming.next();
        if (next.done) return;
        if (!cast || done % TRIPS_PER_TASK === 0) cast = await world.open();
        const trip = await new KillTrip(world, cast, next.value.points, next.value.name).run();
        trips.push(trip);
        await onTrip(trip);
      }
    } finally {
      await world.stop();
    }
  };
  try {
    await Promise.all(Array.from({ length: parallel }, lane));
  } finally {
    await pool.stop();
  }
  return trips;
}

/** Round after round, so that an early end leaves every point about as many kills. */
function* inOrder(
  which: readonly Point[],
  seed: number,
  count: number,
): Generator<{ points: readonly Point[]; name: string }, undefined> {
  for (let round = 0; round < count; round++) {
    let drawn = 0;
    const draw = (): number => createHash("sha256").update(`${seed}/${round}/${drawn++}`).digest().readUInt32BE();
    for (const [nth, some] of tripsOf(which, draw).entries())
      yield { points: some, name: `kill/${seed}/${round}/${nth}` };
  }
  return undefined;
}

/** Points whose names have this in them; several, joined by " + ", die in one trip. */
export const pointsNamed = (only: string | null): readonly Point[] =>
  points.filter(({ name }) => only === null || only.split(" + ").some((part) => name.includes(part)));

export function failureOf({ points: killed, violations }: Trip, seed: number): string {
  const names = killed.join(" + ");
  return `${names}: ${violations.join("; ")}\n  again: npm run kill -- --only "${names}" --count 20 --seed ${seed}`;
}

/** What came of the kills at one point. */
interface Tally {
  readonly kills: number;
  /** Kills in trips in which an invariant was broken. */
  readonly broken: number;
  readonly waste: number;
  readonly orphans: number;
  readonly seconds: number;
}

/** All runs that were recorded. */
interface Kept {
  readonly runs: readonly { readonly origin: string; readonly kills: number; readonly trips: number }[];
  readonly points: Readonly<Record<string, Tally>>;
}

const KEPT = new URL("kill-record.json", import.meta.url);
const NONE: Tally = { kills: 0, broken: 0, waste: 0, orphans: 0, seconds: 0 };

/** Runs are added up, for a hundred kills at each point take hours. */
export class KillRecord {
  readonly #before: Kept;
  readonly #origin: string;

  static async open(seed: number, parallel: number): Promise<KillRecord> {
    const kept = JSON.parse(await readFile(KEPT, "utf8").catch(() => '{ "runs": [], "points": {} }')) as Kept;
    return new KillRecord(kept, origin(`npm run kill -- --seed ${seed} --parallel ${parallel}`));
  }

  private constructor(before: Kept, from: string) {
    this.#before = before;
    this.#origin = from;
  }

  /** Of a run that has made these trips until now. */
  async keep(trips: readonly Trip[]): Promise<string> {
    const kept = this.#with(trips);
    await writeFile(KEPT, `${JSON.stringify(kept, null, 2)}\n`);
    const section = sectionOf(kept);
    await record("kills", section);
    return section;
  }

  #with(trips: readonly Trip[]): Kept {
    const tallies = points.map(({ name }) => {
      const mine = trips.filter((trip) => trip.points.includes(name));
      return [name, mine.reduce(added, this.#before.points[name] ?? NONE)] as const;
    });
    const kills = trips.reduce((sum, trip) => sum + trip.points.length, 0);
    const runs = [...this.#before.runs, { origin: this.#origin, kills, trips: trips.length }];
    return { runs, points: Object.fromEntries(tallies) };
  }
}

function added({ kills, broken, waste, orphans, seconds }: Tally, trip: Trip): Tally {
  return {
    ...{ kills: kills + 1, broken: broken + Number(trip.violations.length > 0) },
    ...{ waste: waste + trip.waste, orphans: orphans + trip.orphans },
    seconds: Math.round((seconds + trip.seconds) * 10) / 10,
  };
}

function sectionOf({ runs, points: tallies }: Kept): string {
  const rows = Object.entries(tallies).map(([name, { kills, broken, waste, orphans, seconds }]) => {
    const mean = kills === 0 ? "" : (seconds / kills).toFixed(1);
    return [name, `${kills}`, `${kills - broken}`, `${broken}`, `${waste}`, `${orphans}`, mean];
  });
  const head = ["Killed at", "kills", "completed", "broke an invariant"];
  const beside = ["parts stored twice", "uploads left to the sweeper", "seconds a trip"];
  const sum = (of: "kills" | "trips"): number => runs.reduce((all, run) => all + run[of], 0);
  const each = runs.map(({ origin: from, kills, trips }) => `- ${from} ${kills} kills in ${trips} trips.`);
  const all = `${sum("kills")} kills in ${sum("trips")} trips; in one trip die up to four processes, each of another role.`;
  return [`${all}\n`, ...each, "", table([...head, ...beside], rows)].join("\n");
}
