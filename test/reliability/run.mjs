// The long runs: `npm run faults|kill|soak|fuzz|load`. Each is a file NAME.run.ts beside this one, and its short form
// NAME.test.ts belongs to `npm test`.
import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    /** How long it runs, where it can run for ever. */
    minutes: { type: "string" },
    /** Repeats a run. */
    seed: { type: "string" },
    /** How many inputs, kills or requests a second, as the run says. */
    count: { type: "string" },
    /** Only what has this in its name. */
    only: { type: "string" },
    /** How many at once. */
    parallel: { type: "string" },
    /** Writes the run's table into docs/reliability.md. */
    record: { type: "boolean", default: false },
  },
});
const { minutes, seed = String(randomInt(2 ** 31)), count, only, parallel, record } = values;
process.stdout.write(`seed ${seed}\n`);
const numbers = { MINUTES: minutes, SEED: seed, COUNT: count, PARALLEL: parallel };
const asked = { ...numbers, ONLY: only, RECORD: record ? "1" : undefined };
const env = { ...process.env };
for (const [name, value] of Object.entries(asked)) if (value !== undefined) env[`WAYBILL_RUN_${name}`] = value;
const child = spawn(
  process.execPath,
  [
    "node_modules/vitest/vitest.mjs",
    "run",
    "--config",
    "vitest.reliability.config.ts",
    ...positionals.map((name) => `test/reliability/${name}.run.ts`),
  ],
  { stdio: "inherit", env },
);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code) => process.exit(code ?? 1));
