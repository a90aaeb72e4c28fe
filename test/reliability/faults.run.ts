import { expect, it } from "vitest";
import { Rig } from "../support/fault-rig.ts";
import { Bench, type Verdict } from "./faults.cell.ts";
import { pageOf } from "./faults.report.ts";
import { allCells, type Cell, drawn } from "./faults.table.ts";
import { asked, record } from "./report.ts";

// Each fault at each kind of request, one trip for each. --count N, --minutes N: fewer, each fault and each step among them first.
// --only REGEX: only the cells whose "group | fault | link | step | once or lasting" matches.

/** So many stacks at a time: most of a trip with a fault is waiting. */
const RIGS = 4;

const { seed, count, minutes, only, record: recorded } = asked();

it("no fault brings wrong bytes, a false receipt, a hang or a disagreement", async () => {
  const cells = drawn(seed)
    .filter(matches)
    .slice(0, count ?? undefined);
  const verdicts = await all(cells);
  const order = new Map(allCells().map((cell, i) => [keyOf(cell), i]));
  verdicts.sort((a, b) => order.get(keyOf(a.cells[0]!))! - order.get(keyOf(b.cells[0]!))!);
  const command = `npm run faults -- --seed ${seed} --count ${verdicts.length} --record`;
  if (recorded) await record("faults", pageOf(verdicts, command));
  expect(verdicts.filter(({ violations }) => violations.length > 0).map(tell)).toEqual([]);
});

function keyOf({ group, name }: Cell): string {
  return `${group} ${name}`;
}

function nameOf({ group, name, link, step, lasting }: Cell): string {
  return [group, name, link, step, lasting ? "lasting" : "once"].join(" | ");
}

function matches(cell: Cell): boolean {
  return only === null || new RegExp(only).test(nameOf(cell));
}

function tell({ cells, outcome, violations, seconds }: Verdict): string {
  const wrong = violations.length > 0 ? ` VIOLATION: ${violations.join("; ")}` : "";
  return `${seconds.toFixed(1)} s | ${nameOf(cells[0]!)} => ${outcome}${wrong}`;
}

async function all(cells: readonly Cell[]): Promise<Verdict[]> {
  const waiting = [...cells];
  const until = performance.now() + (minutes ?? Number.POSITIVE_INFINITY) * 60_000;
  const next = (): Cell | undefined => (performance.now() < until ? waiting.shift() : undefined);
  const verdicts: Verdict[] = [];
  const work = async (): Promise<void> => {
    const rig = await Rig.start();
    const bench = new Bench(rig);
    try {
      for (let cell = next(); cell; cell = next()) {
        const verdict = await bench.run(cell);
        verdicts.push(verdict);
        process.stdout.write(`${verdicts.length}/${cells.length} ${tell(verdict)}\n`);
      }
    } finally {
      await rig.stop();
    }
  };
  await Promise.all(Array.from({ length: Math.min(RIGS, cells.length) }, work));
  return verdicts;
}
