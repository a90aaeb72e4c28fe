import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

// The built demo as a user runs it (`npm test` builds first), in a temporary folder of its own that must be empty afterwards.

const DEMO = new URL("../dist/cli/demo.js", import.meta.url).pathname;

interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

let home: string;
let temp: string;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "waybill-test-demo-"));
  temp = join(home, "tmp");
  await mkdir(temp);
});
afterAll(() => rm(home, { recursive: true, force: true }));

function start(...args: string[]): { child: ChildProcess; done: Promise<Run> } {
  const child = spawn(process.execPath, [DEMO, ...args], {
    env: { ...process.env, TMPDIR: temp, NODE_OPTIONS: "" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const text = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    text.stdout += chunk;
  });
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    text.stderr += chunk;
  });
  const done = new Promise<Run>((resolve) => child.once("close", (code) => resolve({ code, ...text })));
  return { child, done };
}

/** The demo's whole family, anvil included, by the temporary folder in their environment. */
async function family(pid: number): Promise<number[]> {
  const { stdout } = await promisify(execFile)("ps", ["-A", "-o", "pid=,ppid="]);
  const pairs = stdout.split("\n").map((row) => row.trim().split(/\s+/).map(Number) as [number, number]);
  const found = [pid];
  for (const member of found) found.push(...pairs.filter(([, parent]) => parent === member).map(([child]) => child));
  return found;
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(truth: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await truth())) await new Promise((resolve) => setTimeout(resolve, 50));
}

describe("the demo", () => {
  it.each([0, 1, 3_000_000])("brings %i bytes to three others and says so in one JSON object", async (size) => {
    const bytes = randomBytes(size);
    const file = join(home, `file-${size}`);
    await writeFile(file, bytes);
    const { code, stdout, stderr } = await start(file, "--json").done;
    expect(stderr).not.toMatch(/warn|deprecat|error/i);
    expect(code).toBe(0);
    const result = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "");
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    expect(result).toMatchObject({ ok: true, bytes: size, sha256 });
    expect(result.recipients.map((recipient: { sha256: string }) => recipient.sha256)).toEqual([
      sha256,
      sha256,
      sha256,
    ]);
    expect(result.gas).toBeGreaterThan(100_000);
    expect(await readdir(temp)).toEqual([]);
  });

  it.each([
    ["a missing file", ["/no/such/file"], 2, "SOURCE_MISSING"],
    ["a folder", ["/"], 2, "SOURCE_MISSING"],
    ["two files", ["a", "b"], 2, "USAGE"],
    ["an unknown flag", ["--jsno"], 2, "USAGE"],
  ])("says in one line what is wrong with %s", async (_name, args, exit, code) => {
    const run = await start(...args).done;
    expect(run.code).toBe(exit);
    expect(run.stdout).toBe("");
    expect(run.stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(run.stderr).toContain(code);
    expect(await readdir(temp)).toEqual([]);
  });

  it.each(["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"] as const)(
    "leaves no process and no file after %s",
    async (signal) => {
      const file = join(home, "large");
      await writeFile(file, randomBytes(40_000_000));
      const { child, done } = start(file);
      let stderr = "";
      child.stderr?.on("data", (chunk: string) => {
        stderr += chunk;
      });
      await until(() => stderr.includes("is open for"));
      const processes = await family(child.pid as number);
      expect(processes.length).toBeGreaterThan(5); // itself, four members, the guardian, anvil
      child.kill(signal);
      const { code } = await done;
      expect(code).toBe(signal === "SIGKILL" ? null : 130);
      await until(() => !processes.some(alive));
      await until(async () => (await readdir(temp)).length === 0);
    },
  );
});
