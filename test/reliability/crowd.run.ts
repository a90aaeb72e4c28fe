import { afterAll, beforeAll, expect, it } from "vitest";
import { Rig } from "../support/fault-rig.ts";
import { Bench, losesReceipt } from "./faults.cell.ts";
import { allCells, type Cell, random, shuffled } from "./faults.table.ts";

// A short form of `npm run faults`, `node test/reliability/run.mjs crowd`: each fault once somewhere, many to a trip.

const SEED = 20_261_123;
/** Of one trip; a step gets two at most, for a call is tried a few times. */
const PER_TRIP = 24;
const PER_STEP = 2;

let rig: Rig;
beforeAll(async () => {
  rig = await Rig.start();
});
afterAll(() => rig?.stop());

/** What is silent or asks for a year costs seconds, and has its place in the long run; at the store patience is short. */
function isQuick(cell: Cell): boolean {
  const { group, name, link } = cell;
  return !losesReceipt(cell) && (group !== "Silence" || link === "client-store") && !/of a year|below zero/.test(name);
}

/** Each fault once, somewhere; as many of them together as go. */
function trips(): Cell[][] {
  const byFault = new Map<string, Cell>();
  for (const cell of shuffled(allCells(), random(SEED)))
    if (!cell.lasting && isQuick(cell)) byFault.set(`${cell.group} ${cell.name}`, cell);
  const made: Cell[][] = [];
  for (const cell of byFault.values()) {
    const room = made.find((trip) => fits(trip, cell));
    if (room) room.push(cell);
    else made.push([cell]);
  }
  return made;
}

function fits(trip: readonly Cell[], { link, step }: Cell): boolean {
  const own = (one: string): boolean => one === "client-rpc";
  const same = trip.filter((cell) => cell.link === link && cell.step === step);
  return trip.length < PER_TRIP && same.length < PER_STEP && own(trip[0]!.link) === own(link);
}

it.each(trips().map((trip, i) => [i + 1, trip] as const))(
  "many faults in one trip are overcome, and leave nothing wrong (%i)",
  { timeout: 900_000 },
  async (_nth, trip) => {
    const { violations } = await new Bench(rig).run(...trip);
    expect(violations, trip.map(({ name, link, step }) => `${name} at ${link}, ${step}`).join("\n")).toEqual([]);
  },
);
