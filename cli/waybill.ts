#!/usr/bin/env node
import module from "node:module";
import { join } from "node:path";
import { WaybillError } from "../lib/protocol/errors.ts";
import { INTERRUPTED, READER_GONE } from "./exit.ts";
import { unwritten } from "./files.ts";
import { describe } from "./output.ts";
import { cacheHome } from "./places.ts";

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

// Where Node can (22.1), what is loaded from here on is compiled once and kept: in a folder of this person's, because whoever could
// write there could have us run anything.
(module as { enableCompileCache?: (folder: string) => unknown }).enableCompileCache?.(join(cacheHome(), "compiled"));
const { main } = await import("./program.ts");
process.exitCode = await main(process.argv.slice(2), interrupt.signal);
// What an interrupted command leaves behind, such as a wait for the chain, holds up nobody.
if (interrupt.signal.aborted) process.exit();
