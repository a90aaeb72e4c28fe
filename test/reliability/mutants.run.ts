import { execFile, spawn } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Mutant, mutants } from "../mutants/list.ts";
import { asked, origin, record, recorded, table } from "./report.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** A mutant may make a test wait for ever; vitest ends that after some minutes, unless nothing of its process moves. */
const HUNG_MS = 15 * 60_000;

interface Results {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[];
  }[];
}

// npm run mutants [-- --only WORDS|new] [--record]. "new": those that the recorded table doesn't have yet. What isn't run again
// keeps its row, and each is recorded when it is done, so that an hour's run may be ended at any time and gone on with.

const { only, record: recording } = asked();
const known = await recorded("mutants");
const isKnown = (name: string): boolean => known.some(([one]) => one === name);
const wanted = mutants.filter(({ name }) => (only === "new" ? !isKnown(name) : only === null || name.includes(only)));
const rows: string[][] = [];
let copy = "";

beforeAll(async () => {
  copy = await mkdtemp(join(tmpdir(), "waybill-mutants-"));
  const { stdout } = await promisify(execFile)("git", ["ls-files", "-z"], { cwd: ROOT, maxBuffer: 2 ** 26 });
  for (const name of stdout.split("\0").filter(Boolean)) {
    await mkdir(dirname(join(copy, name)), { recursive: true });
    await copyFile(join(ROOT, name), join(copy, name));
  }
  await symlink(join(ROOT, "node_modules"), join(copy, "node_modules"));
});

afterAll(async () => {
  await rm(copy, { recursive: true, force: true });
});

it("finds nothing where nothing is planted", async () => {
  const files = [...new Set(wanted.flatMap(({ tests }) => tests))];
  expect(await killerOf(files)).toBeNull();
});

it.each(wanted)("finds that $name", async (mutant) => {
  const path = join(copy, mutant.file);
  const text = await readFile(path, "utf8");
  expect(text.split(mutant.from)).toHaveLength(2);
  await writeFile(
    path,
    text.replace(mutant.from, () => mutant.to),
  );
  try {
    const killer = await killerOf(mutant.tests);
    rows.push([mutant.name, `\`${mutant.file}\``, killer ?? "**nobody**"]);
    process.stdout.write(`${rows.length} of ${wanted.length}: ${rows.at(-1)!.join(" · ")}\n`);
    if (recording) await record("mutants", reportOf(inOrder([...rows, ...known])));
    expect(killer).not.toBeNull();
  } finally {
    await writeFile(path, text);
  }
});

/** The first test that fails; null if none does. */
async function killerOf(tests: Mutant["tests"]): Promise<string | null> {
  const results = join(copy, "results.json");
  await rm(results, { force: true });
  const args = ["run", "--bail", "1", "--reporter", "json", "--outputFile", results];
  const child = spawn(
    process.execPath,
    ["node_modules/vitest/vitest.mjs", ...args, ...tests.map((one) => `test/${one}`)],
    {
      cwd: copy,
      stdio: "ignore",
      detached: true, // so that what it starts ends with it
    },
  );
  const timer = setTimeout(() => process.kill(-child.pid!, "SIGKILL"), HUNG_MS);
  const code = await new Promise<number | null>((resolve) => child.once("exit", resolve));
  clearTimeout(timer);
  if (code === 0) return null;
  if (code === null) return `${tests[0]} (it never ended)`;
  return firstFailure(JSON.parse(await readFile(results, "utf8")) as Results);
}

/** A file that can't be loaded has found nothing: the mutant is no program. */
function firstFailure({ testResults }: Results): string {
  for (const { name, status, message, assertionResults } of testResults) {
    const failed = assertionResults.find((one) => one.status === "failed");
    const file = name.slice(name.indexOf("/test/") + 1);
    if (failed) return `${file} › ${failed.fullName}`;
    if (status === "failed" && assertionResults.length === 0)
      throw new Error(`${file} was not even loaded: ${message}`);
  }
  throw new Error("The run failed, and no test did.");
}

/** As they are listed, each with its newest row; of a mutant that is gone, none. */
function inOrder(found: readonly string[][]): string[][] {
  return mutants.flatMap(({ name }) => found.filter(([one]) => one === name).slice(0, 1));
}

function reportOf(found: readonly string[][]): string {
  const killed = found.filter(([, , killer]) => killer !== "**nobody**").length;
  const head = `${origin("npm run mutants -- --record")} ${killed} of ${found.length} mutants killed; ${mutants.length} are listed.`;
  return `${head}\n\n${table(["Mutant", "Planted in", "Found first by"], found)}`;
}
