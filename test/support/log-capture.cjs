// Preloaded into every Node process of a test run (log-setup.ts): keeps a copy of all that it logs, also where its log has
// no sink, and of all that it writes to stdout and stderr.
const { subscribe } = require("node:diagnostics_channel");
const { appendFileSync } = require("node:fs");
const { join } = require("node:path");
const { isMainThread } = require("node:worker_threads");

const folder = process.env.WAYBILL_TEST_LOGS;
/** A test's own process says what its functions log to nobody but us. */
const isTest = /[\\/]vitest[\\/]/.test(process.argv[1] ?? "");

function keep(kind, text) {
  try {
    appendFileSync(join(folder, `${process.pid}.${kind}`), text);
  } catch (error) {
    if (error.code !== "ENOENT") throw error; // the run is over, and what it kept was looked through
  }
}

if (folder && isMainThread) {
  subscribe("waybill:log", (line) => keep("log", `${line}\n`));
  for (const stream of [process.stdout, process.stderr]) {
    const { write } = stream;
    stream.write = function (chunk, ...more) {
      keep("out", chunk);
      if (isTest && /^\{"(time|_aws)":/.test(String(chunk).slice(0, 9))) return true;
      return write.call(this, chunk, ...more);
    };
  }
}
