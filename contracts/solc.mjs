#!/usr/bin/env node
// npm's solc as the binary that forge expects: answers `--version`, and `--standard-json` from stdin.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const solc = createRequire(import.meta.url)("solc");

// No process.exit after writing: it would cut the output off at a pipe's 64 KiB.
if (process.argv.includes("--version")) {
  process.stdout.write(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}\n`);
} else if (process.argv.includes("--standard-json")) {
  process.stdout.write(solc.compile(readFileSync(0, "utf8")));
} else {
  process.stderr.write("Only --version and --standard-json are answered.\n");
  process.exitCode = 2;
}
