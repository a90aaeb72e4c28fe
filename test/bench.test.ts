import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import type { Row } from "../bench/transfer/trial.ts";

const BENCH = fileURLToPath(new URL("../dist/bench/transfer.js", import.meta.url));
/** What the benchmark measures with; without it, it must say so. */
const hasTime = (process.env.PATH ?? "").split(":").some((folder) => existsSync(`${folder}/time`));

function bench(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [BENCH, ...args], {
    encoding: "utf8",
    timeout: 60_000,
    env: { ...process.env, TMPDIR: scratch },
  });
}

const scratch = mkdtempSync(join(tmpdir(), "waybill-benchtest-"));
afterAll(() => rmSync(scratch, { recursive: true }));

test("the benchmark gives a row for each of Waybill's clients, and leaves nothing", () => {
  const { status, stdout, stderr } = bench(
    "--json",
    "--size",
    "8",
    "--runs",
    "1",
    "--case",
    "embedded",
    "--only",
    "waybill",
  );

  expect(readdirSync(scratch)).toEqual([]);
  if (!hasTime) return void expect(stderr).toContain("needs GNU time");
  const { rows, missing } = JSON.parse(stdout) as { rows: Row[]; missing: string[] };
  expect(rows.map((row) => [row.case, row.tool, row.verify, row.error])).toEqual([
    ["download, embedded store", "waybill", "sha-256", undefined],
    ["upload, embedded store", "waybill", "sha-256", undefined],
    ["whole channel, embedded stack", "waybill", "sha-256, on the chain", undefined],
  ]);
  for (const { wallS, gibPerS, cpuS, rssMiB } of rows)
    for (const figure of [wallS, gibPerS, cpuS, rssMiB]) expect(figure).toBeGreaterThan(0);
  expect(Array.isArray(missing)).toBe(true);
  expect(status).toBe(0);
});

test("a size that is none is refused before anything is started", () => {
  const { status, stdout, stderr } = bench("--size", "much");
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toContain("must be numbers above 0");
});
