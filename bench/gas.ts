import { parseArgs } from "node:util";
import { measure, type Row } from "./gas/rows.ts";
import { tableOf } from "./table.ts";

// What the contract's statements cost in gas, next to the budget of the design, for both artifacts. Whole transactions:
// their 21,000 and their calldata are shared among their statements. Exit code 1 if a figure is over its budget.

const HELP = `npm run gas -- [--json]

--json   one object with all rows`;

const isOver = ({ gas, budget }: Row): boolean => budget !== null && gas > budget;

function describe(rows: readonly Row[]): string {
  const heads = ["artifact", "statement", "gas each", "budget", ""];
  const cells = rows.map((row) => [row.artifact, row.name, row.gas, row.budget ?? "", isOver(row) ? "OVER" : ""]);
  return tableOf(heads, cells);
}

const options = { json: { type: "boolean" }, help: { type: "boolean" } } as const;
const { values } = parseArgs({ options });
if (values.help) {
  process.stdout.write(`${HELP}\n`);
} else {
  const rows = [...(await measure("current")), ...(await measure("paris"))];
  process.stdout.write(`${values.json ? JSON.stringify({ rows }) : describe(rows)}\n`);
  if (rows.some(isOver)) process.exitCode = 1;
}
