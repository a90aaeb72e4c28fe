/**
 * The program of the guardian: a small Node process between us and a child that must never outlive us.
 *
 * It is text, run with `node -e`, so that the same file serves the sources under vitest and the compiled package, and no
 * path has to be found. Its stdin is a pipe whose other end only we hold: the kernel closes it whatever ends us, SIGKILL
 * included, and end-of-file is the guardian's order to end the child and to remove its scratch folders. The first line on
 * stdin is the order what to start; on file descriptor 3 it reports, a line of JSON each, what it started and how that ended.
 */
export const GUARDIAN: string = `
"use strict";
const { spawn } = require("node:child_process");
const { rmSync, writeSync } = require("node:fs");
// Only end-of-file counts: a signal to the whole group must not make the guardian go before its child.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {});

let order, child, text = "", ending = false;

function report(fact) {
  try { writeSync(3, JSON.stringify(fact) + "\\n"); } catch {} // nobody is left to read it
}
function finish(fact) {
  for (const path of order?.scratch ?? []) {
    try { rmSync(path, { recursive: true, force: true, maxRetries: 3 }); } catch {} // as good as it gets
  }
  report(fact);
  process.exit(0);
}
function end() {
  if (ending) return;
  ending = true;
  if (!child) return finish({ exit: null, signal: null });
  child.kill("SIGTERM");
  setTimeout(() => child.kill("SIGKILL"), order.grace);
}
function start() {
  child = spawn(order.command, order.args, {
    env: order.env, cwd: order.cwd, stdio: ["ignore", "inherit", "inherit"], windowsHide: true,
  });
  child.on("spawn", () => report({ pid: child.pid }));
  child.on("error", (error) => { if (child.pid === undefined) finish({ error: error.code ?? "UNKNOWN" }); });
  child.on("exit", (exit, signal) => finish({ exit, signal }));
}
process.stdin.setEncoding("utf8");
process.stdin.on("data", (chunk) => {
  if (order) return;
  text += chunk;
  if (!text.includes("\\n")) return;
  order = JSON.parse(text);
  start();
});
for (const event of ["end", "error", "close"]) process.stdin.on(event, end);
`;
