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
    env: { ...process.env, TMPDIR: temp, NODE_OPTIONS: process.env.WAYBILL_TEST_PRELOAD ?? "" },
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

/** Which of these are owners' processes. */
async function owningIn(pids: readonly number[]): Promise<number[]> {
  const { stdout } = await promisify(execFile)("ps", ["-o", "pid=,args=", "-p", pids.join(",")]);
  const rows = stdout.split("\n").filter((row) => row.includes("fedavg/owner.js"));
  return rows.map((row) => Number.parseInt(row, 10));
}

/** Waits until the child has said so on stderr. */
async function said(child: ChildProcess, text: string): Promise<void> {
  let stderr = "";
  child.stderr?.on("data", (chunk: string) => {
    stderr += chunk;
  });
  await until(() => stderr.includes(text));
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

describe("the demo with a file", () => {
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

  it("makes its own when asked for a sample", async () => {
    const { code, stdout } = await start("--sample", "--json").done;
    expect(JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "")).toMatchObject({ ok: true, bytes: 64 * 2 ** 20 });
    expect(code).toBe(0);
    expect(await readdir(temp)).toEqual([]);
  });

  it("tells how it is used", async () => {
    const { code, stdout } = await start("--help").done;
    expect(code).toBe(0);
    for (const word of ["FILE", "--sample", "--json"]) expect(stdout).toContain(word);
  });

  it.each([
    ["a missing file", ["/no/such/file"], 2, "SOURCE_MISSING"],
    ["a folder", ["/"], 2, "SOURCE_MISSING"],
    ["two files", ["a", "b"], 2, "USAGE"],
    ["a file and a sample", ["a", "--sample"], 2, "USAGE"],
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
      await said(child, "is open for");
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

describe("the demo without a file", () => {
  interface Round {
    readonly round: number;
    readonly accuracy: number;
    readonly averaged: readonly string[];
    readonly bytes: number;
    readonly seconds: Record<"distribute" | "train" | "collect", number>;
    readonly killed: string | null;
    readonly late: string | null;
    readonly receipts: number;
    readonly gas: number;
  }

  it("trains a model together, in processes that are killed and late, and gets what one process gets", async () => {
    const { code, stdout, stderr } = await start("--json").done;
    expect(stderr).not.toMatch(/warn|deprecat|error/i);
    const lines = stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(1);
    const result = JSON.parse(lines[0]!);
    const rounds: readonly Round[] = result.rounds;
    expect(result.ok).toBe(true);
    expect(code).toBe(0);
    expect(result.modelSha256).toMatch(/^[0-9a-f]{64}$/);
    expect(result.modelSha256).toBe(result.referenceSha256);
    expect(result.modelBytes).toBeGreaterThan(2 ** 20);

    expect(result.localOnly).toHaveLength(3);
    expect(result.accuracyAfter).toBeGreaterThan(Math.max(result.accuracyBefore, ...result.localOnly));
    expect(rounds.at(-1)?.accuracy).toBe(result.accuracyAfter);

    // Each round: a receipt of every owner for the model, and one of the aggregator for each update that it averaged.
    expect(rounds.map(({ round }) => round)).toEqual(rounds.map((_, i) => i + 1));
    for (const { receipts, averaged } of rounds) expect(receipts).toBe(3 + averaged.length);
    expect(result.receipts).toBe(rounds.reduce((sum, { receipts }) => sum + receipts, 0));
    for (const { bytes, receipts } of rounds) expect(bytes).toBe(receipts * result.modelBytes);
    for (const { seconds } of rounds)
      for (const time of [seconds.distribute, seconds.train, seconds.collect]) expect(time).toBeGreaterThanOrEqual(0);
    expect(result.gas).toBeGreaterThan(rounds.reduce((sum, { gas }) => sum + gas, 0));
    expect(result.gas).toBe(result.transactions.reduce((sum: number, { gas }: Round) => sum + gas, 0));

    const [killed, late] = [rounds.find((round) => round.killed), rounds.find((round) => round.late)];
    expect(killed?.averaged).toContain(killed?.killed);
    expect(late?.averaged).toHaveLength(2);
    expect(late?.averaged).not.toContain(late?.late);
    expect(await readdir(temp)).toEqual([]);
  });

  it.each([
    ["SIGINT", "is open for"],
    ["SIGKILL", "is killed, and starts again"],
  ] as const)(
    "leaves no process and no file after %s when it has said that it %s",
    async (signal, text) => {
      const { child, done } = start();
      await said(child, text);
      const processes = await family(child.pid as number);
      expect(processes.length).toBeGreaterThan(4);
      child.kill(signal);
      const { code } = await done;
      expect(code).toBe(signal === "SIGKILL" ? null : 130);
      await until(() => !processes.some(alive));
      await until(async () => (await readdir(temp)).length === 0);
    },
    240_000,
  );

  it("fails, in one line, when an owner is gone for good", async () => {
    const { child, done } = start("--json");
    await said(child, "is open for");
    let owners: number[] = [];
    await until(async () => {
      owners = await owningIn(await family(child.pid as number));
      return owners.length === 3;
    });
    process.kill(owners[0]!, "SIGKILL");
    const { code, stdout, stderr } = await done;
    expect(code).toBe(1);
    expect(stdout).toBe("");
    expect(stderr.trimEnd().split("\n").at(-1)).toMatch(/^The process of .* ended before its time\. \(INTERNAL\)$/);
    expect(await readdir(temp)).toEqual([]);
  });
});
