import { allCells, type Cell, random, shuffled } from "./faults.table.ts";

// Trips that meet many faults each.

/** Of one trip; a step gets two at most, for a call is tried a few times. */
const PER_TRIP = 24;
const PER_STEP = 2;

/** What is silent or asks for a year costs seconds, and has its place in the long run; at the store patience is short. */
export function isQuick(cell: Cell): boolean {
  const { group, name, link } = cell;
  return (group !== "Silence" || link === "client-store") && !/of a year|below zero/.test(name);
}

/** Each fault once, somewhere; as many of them together as go. */
export function crowds(seed: number): Cell[][] {
  const byFault = new Map<string, Cell>();
  for (const cell of shuffled(allCells(), random(seed)))
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
