#!/usr/bin/env node
import { parseArgs } from "node:util";
import { WaybillError } from "../lib/index.ts";
import { describe } from "./demo/report.ts";
import { runDemo } from "./demo/run.ts";
import { exitCodeOf, INTERRUPTED } from "./exit.ts";

const USAGE = "npm run demo -- [FILE] [--json]";

const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    if (interrupt.signal.aborted) process.exit(INTERRUPTED); // asked twice: no more tidying
    interrupt.abort(new WaybillError("ABORTED", "Interrupted."));
  });
}

function readArguments(): { file: string | undefined; json: boolean } {
  try {
    const { values, positionals } = parseArgs({ options: { json: { type: "boolean" } }, allowPositionals: true });
    if (positionals.length > 1) throw new Error("The demo sends one FILE.");
    return { file: positionals[0], json: values.json ?? false };
  } catch (cause) {
    throw new WaybillError("USAGE", `${(cause as Error).message} Usage: ${USAGE}`, { cause });
  }
}

try {
  const { file, json } = readArguments();
  const result = await runDemo(file, interrupt.signal);
  console.log(json ? JSON.stringify(result) : describe(result));
  process.exitCode = result.ok ? 0 : exitCodeOf("CORRUPT");
} catch (error) {
  const known = error instanceof WaybillError;
  console.error(
    known ? `${error.message} (${error.code})` : `Unexpected: ${error instanceof Error ? error.message : error}`,
  );
  process.exitCode = known ? exitCodeOf(error.code) : 1;
}
