#!/usr/bin/env node
import { WaybillError } from "../lib/protocol/errors.ts";
import { keepCompiled } from "./compiled.ts";
import { INTERRUPTED, READER_GONE } from "./exit.ts";
import { unwritten } from "./files.ts";
import { describe } from "./output.ts";

const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    if (interrupt.signal.aborted) process.exit(INTERRUPTED); // asked twice: no more tidying
    interrupt.abort(new WaybillError("ABORTED", "Interrupted."));
  });
}

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (process.stdout.listenerCount("error") > 1) return; // whoever streams a payload there tells its own end
  if (error.code === "EPIPE") process.exit(READER_GONE);
  process.stderr.write(`${describe(unwritten(error), process.argv.includes("--json"))}\n`);
  process.exit(1);
});

keepCompiled();
const { main } = await import("./program.ts");
process.exitCode = await main(process.argv.slice(2), interrupt.signal);
// What an interrupted command leaves behind, such as a wait for the chain, holds up nobody.
if (interrupt.signal.aborted) process.exit();
