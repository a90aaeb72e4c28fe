import { afterAll, beforeAll, expect, it } from "vitest";
import { Rig } from "../support/fault-rig.ts";
import { Bench } from "./faults.cell.ts";
import { crowds, isQuick } from "./faults.crowd.ts";
import { type Cell, columnOf, columns, drawn } from "./faults.table.ts";

// The short form of `npm run faults`: a fault at one step of each column of its table, and one trip that meets many.

const SEED = 1;

let rig: Rig;
let bench: Bench;
beforeAll(async () => {
  rig = await Rig.start();
  bench = new Bench(rig);
});
afterAll(() => rig?.stop());

/** A fault of its own for each column, at a step that no trip is without. */
function sample(): Cell[] {
  const cells = drawn(SEED).filter((cell) => isQuick(cell) && isAlways(cell));
  const faults = new Set<string>();
  return columns.map((column) => {
    const cell = cells.find((one) => columnOf(one) === column && !faults.has(one.name))!;
    faults.add(cell.name);
    return cell;
  });
}

/** What is asked only where something else took long, or failed, may not come. */
function isAlways({ step }: Cell): boolean {
  return !/read parts|GET settled|list uploads|list parts|HEAD payload|GET outbox|relay$|refused|getBalance|eip712|code/.test(
    step,
  );
}

it.each(sample().map((cell) => [`${cell.name}, at ${columnOf(cell).name}`, cell] as const))(
  "a trip overcomes %s",
  { timeout: 900_000 },
  async (_name, cell) => {
    const { violations, met } = await bench.run(cell);
    expect(violations).toEqual([]);
    expect(met).toBe(1);
  },
);

it("a trip overcomes many faults, and leaves nothing wrong", { timeout: 900_000 }, async () => {
  const crowd = crowds(SEED)[0]!;
  const { violations, met } = await bench.run(...crowd);
  expect(violations, crowd.map(({ name, link, step }) => `${name} at ${link}, ${step}`).join("\n")).toEqual([]);
  expect(met).toBeGreaterThan(0);
});
