#!/usr/bin/env node
import { WaybillError } from "../lib/protocol/errors.ts";
import { INTERRUPTED } from "./exit.ts";
import { main } from "./program.ts";

const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    if (interrupt.signal.aborted) process.exit(INTERRUPTED); // asked twice: no more tidying
    interrupt.abort(new WaybillError("ABORTED", "Interrupted."));
  });
}

process.exitCode = await main(process.argv.slice(2), interrupt.signal);
