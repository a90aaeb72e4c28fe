import { expect, it } from "vitest";
import { Rig } from "../support/fault-rig.ts";
import { Bench, type Verdict } from "./faults.cell.ts";
import { pageOf } from "./faults.report.ts";
import { type Cell, drawn } from "./faults.table.ts";
import { asked, record } from "./report.ts";

// Each fault at each kind of request, one trip for each. --count N: fewer, each fault among them first.
// WAYBILL_FAULTS=REGEX: only the cells whose "group | fault | link | step | once or lasting" matches.

/** So many stacks at a time: most of a trip with a fault is waiting. */
const RIGS = 4;

const { seed, count, record: recorded } = asked();
const only = process.env.WAYBILL_FAULTS;

it("no fault brings wrong bytes, a false receipt, a hang or a disagreement", async () => {
  const cells = drawn(seed, only === undefined ? count : null).filter((cell) => matches(cell));
  const verdicts = await all(only === undefined ? cells : cells.slice(0, count ?? cells.length));
  const order = new Map(cells.map((cell, i) => [`${cell.group} ${cell.name}`, i]));
  verdicts.sort((a, b) => order.get(keyOf(a))! - order.get(keyOf(b))!);
  const command = `npm run faults -- --seed ${seed}${count === null ? "" : ` --count ${count}`} --record`;
  if (recorded) await record("faults", pageOf(verdicts, command));
  expect(verdicts.filter(({ violations }) => violations.length > 0).map(tell)).toEqual([]);
});

function keyOf({ cells: [cell] }: Verdict): string {
  return `${cell!.group} ${cell!.name}`;
}

function nameOf({ group, name, link, step, lasting }: Cell): string {
  return [group, name, link, step, lasting ? "lasting" : "once"].join(" | ");
}

function matches(cell: Cell): boolean {
  return only === undefined || new RegExp(only).test(nameOf(cell));
}

function tell({ cells, outcome, violations, seconds }: Verdict): string {
  const wrong = violations.length > 0 ? ` VIOLATION: ${violations.join("; ")}` : "";
  return `${seconds.toFixed(1)} s | ${nameOf(cells[0]!)} => ${outcome}${wrong}`;
}

async function all(cells: readonly Cell[]): Promise<Verdict[]> {
  const waiting = [...cells];
  const verdicts: Verdict[] = [];
  const work = async (): Promise<void> => {
    const rig = await Rig.start();
    const bench = new Bench(rig);
    try {
      for (let cell = waiting.shift(); cell; cell = waiting.shift()) {
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
