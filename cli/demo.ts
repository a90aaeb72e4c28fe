#!/usr/bin/env node
import { parseArgs } from "node:util";
import { WaybillError } from "../lib/index.ts";
import { runFedAvg } from "./demo/fedavg/run.ts";
import { describe as describeFedAvg } from "./demo/fedavg/table.ts";
import { describe as describeTrip } from "./demo/file/report.ts";
import { runTrip } from "./demo/file/trip.ts";
import { exitCodeOf, INTERRUPTED } from "./exit.ts";

const USAGE = "npm run demo -- [FILE | --sample] [--json]";
const HELP = `${USAGE}

Without FILE: federated averaging. An aggregator and three data owners train a model together.
FILE       sends it from one member of a task to three others
--sample   sends 64 MiB of random bytes so
--json     one JSON object as the last line of stdout`;

interface Arguments {
  readonly file: string | undefined;
  readonly sample: boolean;
  readonly json: boolean;
  readonly help: boolean;
}

const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    if (interrupt.signal.aborted) process.exit(INTERRUPTED); // asked twice: no more tidying
    interrupt.abort(new WaybillError("ABORTED", "Interrupted."));
  });
}

function readArguments(): Arguments {
  const options = { json: { type: "boolean" }, sample: { type: "boolean" }, help: { type: "boolean" } } as const;
  try {
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    const { json = false, sample = false, help = false } = values;
    if (positionals.length > (sample ? 0 : 1)) throw new Error("The demo sends one FILE, or a sample.");
    return { file: positionals[0], sample, json, help };
  } catch (cause) {
    const [what] = (cause as Error).message.split(/\.(?: |$)/); // the parser's advice behind it is about its own syntax
    throw new WaybillError("USAGE", `${what}. Usage: ${USAGE}`, { cause });
  }
}

async function run({ file, sample }: Arguments): Promise<{ result: { readonly ok: boolean }; text: string }> {
  if (file !== undefined || sample) {
    const result = await runTrip(file, interrupt.signal);
    return { result, text: describeTrip(result) };
  }
  const result = await runFedAvg(interrupt.signal);
  return { result, text: describeFedAvg(result) };
}

async function main(): Promise<number> {
  const choice = readArguments();
  if (choice.help) {
    console.log(HELP);
    return 0;
  }
  const { result, text } = await run(choice);
  console.log(choice.json ? JSON.stringify(result) : text);
  return result.ok ? 0 : exitCodeOf("CORRUPT");
}

try {
  process.exitCode = await main();
} catch (error) {
  const known = error instanceof WaybillError;
  console.error(
    known ? `${error.message} (${error.code})` : `Unexpected: ${error instanceof Error ? error.message : error}`,
  );
  process.exitCode = known ? exitCodeOf(error.code) : 1;
}
