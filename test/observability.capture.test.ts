import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeEach, expect, it } from "vitest";

// The run of tests that we are part of fails if any log of it holds a secret. Here runs of tests that plant one.

const ROOT = fileURLToPath(new URL("..", import.meta.url));

const folder = mkdtempSync(join(tmpdir(), "waybill-test-fatal-"));
const fatal = join(folder, "fatal");

beforeEach(() => rmSync(fatal, { force: true }));
afterAll(() => rmSync(folder, { recursive: true }));

function run(leak: string): { status: number | null; text: string } {
  const vitest = fileURLToPath(new URL("node_modules/vitest/vitest.mjs", `file://${ROOT}`));
  const args = [vitest, "run", "--config", "test/support/leaking/vitest.config.ts"];
  const env = { ...process.env, LEAK: leak, WAYBILL_TEST_FATAL: fatal, NODE_OPTIONS: "", NO_COLOR: "1" };
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: ROOT, env, encoding: "utf8" });
  return { status, text: stdout + stderr };
}

it("a run whose logs are clean passes, and says at how many lines it looked", () => {
  const { status, text } = run("none");
  expect(text).toMatch(/Log lines of this run: 1, of 1 processes; secrets looked for: \d+/);
  expect(status).toBe(0);
  expect(() => readFileSync(fatal)).toThrow("ENOENT");
});

it.each([
  ["past the redactor", "a presigned URL"],
  ["on stdout", "a presigned URL"],
  ["of a child", "a presigned URL"],
  ["a key as an id", "a private key of the suite"],
  ["a password", "a secret of the suite"],
])("a run that leaks %s fails although all its tests pass, and the report quotes no secret", (leak, what) => {
  const { status, text } = run(leak);
  expect(text).toMatch(/1 passed/);
  expect(text).toContain("There are secrets in the logs");
  expect(text).toContain(what);
  expect(text.split("There are secrets")[1]).not.toMatch(/X-Amz|horse|0x[0-9a-f]{64}/);
  expect(status).toBe(1);
  expect(readFileSync(fatal, "utf8")).toBe("secrets in the logs\n"); // so CI tries nothing again
});
