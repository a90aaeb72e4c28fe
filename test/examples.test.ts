import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Stack, startStack } from "../local/stack.ts";
import { type Consumer, packedConsumer, ROOT, type Run, run } from "./support/packed.ts";

// The examples as somebody runs them who has installed the packed package: copied, and against an operator's deployment.

let consumer: Consumer;
let stack: Stack;
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  [consumer, stack] = await Promise.all([packedConsumer(), startStack()]);
  await cp(join(ROOT, "examples"), join(consumer.dir, "examples"), { recursive: true });
  await writeFile(join(consumer.dir, "deployment.json"), JSON.stringify(stack.deployment));
  env = { WAYBILL_DEPLOYMENT: join(consumer.dir, "deployment.json"), TMPDIR: await temporary("tmp") };
});
afterAll(() => Promise.allSettled([consumer?.remove(), stack?.stop()]));

/** A folder for a run's temporary files, to be found empty afterwards. */
async function temporary(name: string): Promise<string> {
  const dir = join(consumer.dir, name);
  await mkdir(dir);
  return dir;
}

/** `name  word account ...` lines by the member's name. */
function said({ stdout }: Run): Map<string, string[]> {
  const lines = new Map<string, string[]>();
  for (const line of stdout.trimEnd().split("\n")) {
    const [, name, words] = /^(\S+)\s+(.*)$/.exec(line) ?? [];
    lines.set(name!, [...(lines.get(name!) ?? []), words!]);
  }
  return lines;
}

/** What a member says of each of the others, by the other's account: a digest. */
function digests(words: readonly string[], verb: string): Map<string, string> {
  const pattern = new RegExp(`^(0x[0-9a-fA-F]{40}) ${verb} 1000000 weights, SHA-256 ([0-9a-f]{64})$`);
  return new Map(words.map((text) => pattern.exec(text)!.slice(1) as [string, string]));
}

describe("an example, with the packed package", () => {
  it("one to one: the receiver holds what the sender sent, and the sender knows", async () => {
    const result = await run(process.execPath, ["examples/run.mjs", "one-to-one"], consumer.dir, env);
    expect(result).toMatchObject({ code: 0, stderr: "" });
    const words = said(result);
    const [sent] = digests(words.get("sender-1")!, "has verified").values();
    const [got] = digests(words.get("receiver-1")!, "sent").values();
    expect(got).toBe(sent);
  });

  it("one to many: both receivers hold what the sender sent, and the sender knows", async () => {
    const result = await run(process.execPath, ["examples/run.mjs", "one-to-many"], consumer.dir, env);
    expect(result).toMatchObject({ code: 0, stderr: "" });
    const words = said(result);
    const verified = digests(words.get("sender-1")!, "has verified");
    expect(verified.size).toBe(2);
    const [sent] = verified.values();
    for (const receiver of ["receiver-1", "receiver-2"])
      expect([...digests(words.get(receiver)!, "sent").values()]).toEqual([sent]);
  });

  it("two to one: the receiver holds what each sender sent, and both know", async () => {
    const result = await run(process.execPath, ["examples/run.mjs", "two-to-one"], consumer.dir, env);
    expect(result).toMatchObject({ code: 0, stderr: "" });
    const words = said(result);
    const sent = ["sender-1", "sender-2"].flatMap((name) => [...digests(words.get(name)!, "has verified").values()]);
    const got = digests(words.get("receiver-1")!, "sent");
    expect(new Set(sent).size).toBe(2);
    expect([...got.values()].sort()).toEqual(sent.sort());
  });

  it("leaves no file behind", async () => {
    expect(await readdir(join(consumer.dir, "tmp"))).toEqual([]);
  });

  it("without a deployment says what a stack of its own would need", async () => {
    const result = await run(process.execPath, ["examples/run.mjs", "one-to-one"], consumer.dir, {
      TMPDIR: env.TMPDIR,
    });
    expect(result).toMatchObject({ code: 1, stdout: "" });
    expect(result.stderr).toMatch(/^waybill\/local lacks [^\n]+ npm install "[^\n]+\n$/);
  });
});

it("in the repository an example starts its own stack, and leaves nothing of it", async () => {
  const TMPDIR = await temporary("own");
  const result = await run(process.execPath, ["examples/run.mjs", "one-to-one"], ROOT, { TMPDIR });
  expect(result).toMatchObject({ code: 0, stderr: "" });
  expect([...said(result).keys()].sort()).toEqual(["receiver-1", "sender-1", "task"]);
  expect(await readdir(TMPDIR)).toEqual([]);
});

it("an example that is interrupted leaves nothing behind, either", async () => {
  const TMPDIR = await temporary("interrupted");
  const child = spawn(process.execPath, ["examples/run.mjs", "one-to-one"], {
    cwd: ROOT,
    env: { ...process.env, WAYBILL_DEPLOYMENT: "", TMPDIR },
    stdio: ["ignore", "pipe", "ignore"],
  });
  await once(child.stdout, "data"); // the task is open, and the members begin
  child.kill("SIGTERM");
  const [code] = await once(child, "close"); // when the last one that holds its stdout has ended
  expect(code).toBe(130);
  expect(await readdir(TMPDIR)).toEqual([]);
});

it("says which examples there are", async () => {
  const result = await run(process.execPath, ["examples/run.mjs", "three-to-none"], ROOT);
  expect(result).toMatchObject({ code: 1, stdout: "", stderr: "Name one of: one-to-one, one-to-many, two-to-one.\n" });
});
