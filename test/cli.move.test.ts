import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Wallet } from "ethers";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { Commands, held, movedBytes, noticed, type Said, sum } from "./support/commands.ts";
import { type Cast, eventually } from "./support/members.ts";
import { ROOT } from "./support/packed.ts";
import { powerless } from "./support/powerless.ts";

// `waybill send` and `waybill receive`, each in a process of its own, over a line whose speed the test owns.

const PART = 8 * 2 ** 20;

// Processes start one after the other, on machines that have other work.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });
let commands: Commands;
let home: string;
let cast: Cast;

beforeAll(async () => {
  commands = await Commands.start(["alice", "bob", "carol", "dave"]);
  ({ home, cast } = commands);
});
afterAll(() => commands?.stop());
afterEach(() => commands.forget());

const as = (name: string, args: readonly string[], env?: NodeJS.ProcessEnv): Said => commands.as(name, args, env);
const file = (bytes: number): ReturnType<Commands["file"]> => commands.file(bytes);
const folder = (): Promise<string> => commands.folder();

/** Runs bash as a member, to whom the command is `waybill`. */
function shell(name: string, script: string): Promise<{ code: number; stdout: string; stderr: string }> {
  const env = { ...process.env, ...commands.envOf(name) };
  const whole = `waybill() { ${process.execPath} ${join(ROOT, "dist/cli/waybill.js")} "$@"; }\n${script}`;
  return new Promise((resolve) => {
    execFile("bash", ["-c", whole], { env, cwd: home }, (error, stdout, stderr) =>
      resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
    );
  });
}

describe("a file", () => {
  it("goes from one member to two others, named by its tag, and everybody is told in few words", async () => {
    const { path, name, sum: sent } = await file(3 * PART + 5);
    const [b, c] = [await folder(), await folder()];
    const receiving = [
      as("bob", ["receive", "--from", "alice", "--out", b]),
      as("carol", ["receive", "--from", "alice", "--out", c]),
    ];
    const sending = as("alice", ["send", "--to", "bob", "--to", "carol", path]);
    expect(await Promise.all([sending, ...receiving].map((one) => one.process.ended))).toEqual([0, 0, 0]);
    expect(sending.stdout().trim().split("\n").sort()).toEqual(["bob verified", "carol verified"]);
    expect(receiving[0]!.stdout()).toBe(`${join(b, name)}\n`);
    expect([await sum(join(b, name)), await sum(join(c, name))]).toEqual([sent, sent]);
    expect(sending.stderr().trim().split("\n").length).toBeLessThan(8);
    expect(sending.stderr()).toContain(`The tag is "${name}", the file's name.`);
    expect(receiving[0]!.stderr().trim().split("\n").length).toBeLessThan(4);
  });

  it("that was sent and received is so again at once, without a byte, and comes back when it is missing", async () => {
    const { path, name, sum: sent } = await file(PART);
    const dir = await folder();
    const receive = ["receive", "--from", "alice", "--tag", name, "--out", dir];
    const first = [as("bob", receive), as("alice", ["send", path, "--to", "bob"])];
    expect(await Promise.all(first.map((one) => one.process.ended))).toEqual([0, 0]);
    commands.moved = { UploadPart: 0, GetObject: 0 };
    const again = [as("bob", receive), as("alice", ["send", path, "--to", "bob"])];
    expect(await Promise.all(again.map((one) => one.process.ended))).toEqual([0, 0]);
    expect(again[0]!.stdout()).toBe(`${join(dir, name)}\n`);
    expect(commands.moved).toEqual({ UploadPart: 0, GetObject: 0 });
    await rm(join(dir, name));
    expect(await as("bob", receive).process.ended).toBe(0);
    expect(await sum(join(dir, name))).toBe(sent);
    const into = join(dir, name);
    const untagged = as("bob", ["receive", "--from", "alice", "--out", into]);
    expect(await untagged.process.ended).toBe(0);
    expect(untagged.stdout()).toBe(`${into}\n`);
  });

  it("with other bytes under the same name is a conflict that names a free tag", async () => {
    const { path, name } = await file(100);
    const dir = await folder();
    const both = [
      as("bob", ["receive", "--from", "alice", "--tag", name, "--out", dir]),
      as("alice", ["send", path, "--to", "bob"]),
    ];
    expect(await Promise.all(both.map((one) => one.process.ended))).toEqual([0, 0]);
    await writeFile(path, randomBytes(100));
    const sending = as("alice", ["send", path, "--to", "bob"]);
    expect(await sending.process.ended).toBe(1);
    expect(sending.stderr()).toMatch(new RegExp(`For these give another name: --tag ${name}-2 \\(CONFLICT\\)\n$`));
  });

  it.each(["../../escaped", "-rf", "\u202e.hidden"])(
    "whose tag is %j lands in its folder and nowhere else",
    async (tag) => {
      const { path, sum: sent } = await file(10);
      const dir = await folder();
      const receiving = as("bob", ["receive", "--from", "alice", `--tag=${tag}`, "--out", `${dir}/new/`]);
      expect(await as("alice", ["send", path, "--to", "bob", `--tag=${tag}`]).process.ended).toBe(0);
      expect(await receiving.process.ended).toBe(0);
      const [only, ...more] = await readdir(join(dir, "new"));
      expect(more).toEqual([]);
      expect(only).toMatch(/^[A-Za-z0-9_][A-Za-z0-9._-]*$/);
      expect(receiving.stdout()).toBe(`${join(dir, "new", only!)}\n`);
      expect(await sum(join(dir, "new", only!))).toBe(sent);
    },
  );

  it("goes through pipes, from stdin to stdout", async () => {
    const { path, sum: sent } = await file(2 * PART + 1);
    const tag = randomBytes(4).toString("hex");
    const receiving = shell("bob", `waybill receive --from alice --tag ${tag} --out - | sha256sum`);
    const sending = shell("alice", `cat ${path} | waybill send - --to bob --tag ${tag}`);
    expect(await sending).toMatchObject({ stdout: "bob verified\n", code: 0 });
    expect(await receiving).toMatchObject({
      stdout: `${sent}  -\n`,
      stderr: expect.stringContaining("The payload from alice is verified, and its receipt is on the chain.\n"),
      code: 0,
    });
  });

  it("that came from stdin and is interrupted says that stdin is needed again", async () => {
    const { path } = await file(100);
    const sending = commands.as("alice", ["send", "-", "--to", "bob", "--tag", path], {}, [
      "bash",
      "-c",
      `exec "$@" < ${path}`,
      "-",
    ]);
    await eventually(() => (/It is in the store/.test(sending.stderr()) ? true : null));
    sending.process.child.kill("SIGINT");
    expect(await sending.process.ended).toBe(130);
    expect(sending.stderr()).toMatch(/\nTo go on, with the same bytes on stdin: .*waybill send - --to bob /);
  });
});

describe("a process that ends in the middle", () => {
  it("is started again, on both sides, and what was done is not done again", async () => {
    const { path, name, sum: sent } = await file(6 * PART);
    const dir = await folder();
    commands.link.rate = PART; // the whole takes six seconds
    const first = as("alice", ["send", path, "--to", "bob", "--json"]);
    await movedBytes(first, 3 * PART);
    await first.process.end("SIGKILL");
    const before = commands.moved.UploadPart;
    expect(before).toBeLessThan(6 + 4);
    const sending = as("alice", ["send", path, "--to", "bob", "--json"]);
    await noticed(sending);
    const receive = ["receive", "--from", "alice", "--tag", name, "--out", dir, "--json"];
    const receiving = as("bob", receive);
    await eventually(async () => ((await held(dir)) >= 2 ? true : null));
    await receiving.process.end("SIGKILL");
    const had = await held(dir);
    commands.moved = { UploadPart: 0, GetObject: 0 };
    const last = as("bob", receive);
    expect(await last.process.ended).toBe(0);
    expect(await sending.process.ended).toBe(0);
    expect(commands.moved.GetObject).toBeLessThanOrEqual(6 - had + 1);
    expect(await sum(join(dir, name))).toBe(sent);
    expect(await readdir(dir)).toEqual([name]);
  });

  it("by Ctrl-C leaves the notice standing, says by which command to go on, and that joins it", async () => {
    const { path } = await file(100);
    const first = as("alice", ["send", path, "--to", "bob", "--rpc", commands.scene.stack.rpc, "--json"]);
    const notice = await noticed(first);
    first.process.child.kill("SIGINT");
    expect(await first.process.ended).toBe(130);
    const { error } = JSON.parse(first.stderr().trim().split("\n").at(-1)!) as { error: Record<string, string> };
    expect(error).toMatchObject({
      code: "ABORTED",
      again: `WAYBILL_CONFIG=${join(home, "config.json")} waybill send ${path} --to bob --rpc … --json`,
    });
    const dir = await folder();
    const receiving = as("bob", ["receive", "--from", "alice", "--tag", path.split("/").at(-1)!, "--out", dir]);
    const second = as("alice", ["send", path, "--to", "bob", "--json"]);
    expect(await Promise.all([second.process.ended, receiving.process.ended])).toEqual([0, 0]);
    const joined = second.events().find(({ event }) => event === "notice");
    expect(joined).toMatchObject({ notice: notice.notice, joined: true });
  });

  it("by Ctrl-C takes the notice back when it was told to", async () => {
    const { path } = await file(100);
    const sending = as("alice", ["send", path, "--to", "bob", "--withdraw-on-interrupt", "--json"]);
    const { notice } = await noticed(sending);
    sending.process.child.kill("SIGINT");
    expect(await sending.process.ended).toBe(130);
    expect((await cast.process(0).contractor.status(String(notice))).withdrawn).toBe(true);
  });

  it.each(["send", "receive"])("by a stop, such as Ctrl-Z or a lid, goes on when it is woken: %s", async (which) => {
    const { path, name, sum: sent } = await file(4 * PART);
    const dir = await folder();
    commands.link.rate = PART / 2; // the whole takes eight seconds
    const sending = as("alice", ["send", path, "--to", "bob", "--json"]);
    if (which === "receive") await noticed(sending);
    const receiving = as("bob", ["receive", "--from", "alice", "--tag", name, "--out", dir, "--json"]);
    const stopped = which === "send" ? sending : receiving;
    await movedBytes(stopped, PART);
    stopped.process.child.kill("SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, 12_000)); // longer than a connection without a byte is kept
    commands.link.rate = null;
    stopped.process.child.kill("SIGCONT");
    expect(await Promise.all([sending.process.ended, receiving.process.ended])).toEqual([0, 0]);
    expect(await sum(join(dir, name))).toBe(sent);
  });
});

describe("recipients of whom one is slow, one is quick and one is dead", () => {
  it("are told apart, and --idle-timeout gives up the dead one alone", async () => {
    const { path, name } = await file(5 * PART);
    const [b, c, d] = [await folder(), await folder(), await folder()];
    const sending = as("alice", ["send", path, "--to", "bob,carol,dave", "--idle-timeout", "15s", "--json"]);
    const { notice } = await noticed(sending);
    const quick = as("bob", ["receive", "--from", "alice", "--tag", name, "--out", b]);
    expect(await quick.process.ended).toBe(0);
    commands.link.rate = PART / 5; // the whole takes 25 seconds
    const slow = as("carol", ["receive", "--from", "alice", "--tag", name, "--out", c]);
    const dead = as("dave", ["receive", "--from", "alice", "--tag", name, "--out", d, "--json"]);
    await movedBytes(dead, 1);
    await dead.process.end("SIGKILL");
    const { channel } = cast.process(0);
    const told = await eventually(async () => {
      const { recipients } = await channel.status(String(notice));
      const one = recipients.find(({ account }) => account === cast.accounts[2]!.toLowerCase());
      return one?.progress ?? null;
    });
    expect(told).toMatchObject({ state: "downloading", totalBytes: 5 * PART, stalled: false });
    expect(told.bytes).toBeGreaterThan(0);
    expect(await slow.process.ended).toBe(0);
    expect(await sending.process.ended).toBe(6);
    const events = sending.events();
    expect(
      events.filter(({ event, recipient }) => event === "recipient" && recipient === "carol").length,
    ).toBeGreaterThan(2);
    expect(events.at(-1)).toEqual({ event: "result", tag: name, received: ["bob", "carol"], failed: { dave: "IDLE" } });
    expect((await channel.status(String(notice))).withdrawn).toBe(true);
  });
});

describe("a wrong invocation", () => {
  const cases: [string, string[], number, RegExp, NodeJS.ProcessEnv?][] = [
    ["without recipients", ["send", "x"], 2, /^Say --to <members>: accounts or names, with commas/],
    [
      "with a misspelt option",
      ["send", "x", "--too", "bob"],
      2,
      /Unknown option '--too' \(Did you mean --to\?\)\. --help/,
    ],
    ["without a sender", ["receive"], 2, /^Say --from <members>: accounts or names/],
    ["with somebody unknown", ["send", "x", "--to", "zoe"], 2, /"zoe" is no account/],
    ["without such a file", ["send", "nowhere.bin", "--to", "bob"], 2, /nowhere\.bin/],
    ["with a folder for a file", ["send", ".", "--to", "bob"], 2, /not a regular file/],
    ["from stdin without a name", ["send", "-", "--to", "bob"], 2, /--tag round-7\/model/],
    ["to oneself", ["send", "config.json", "--to", "alice"], 2, /can't send to yourself/],
    ["with somebody twice", ["send", "config.json", "--to", "bob,bob"], 2, /names somebody twice/],
    ["with members in a row", ["send", "config.json", "--to", "bob", "carol"], 2, /with commas: bob,carol/],
    [
      "with seconds for milliseconds",
      ["receive", "--from", "bob", "--timeout", "30"],
      2,
      /Did you mean "30s"\? --help/,
    ],
    ["with a time that is none", ["receive", "--from", "bob", "--timeout", "soon"], 2, /"90s", "10m"/],
    ["with a size that is none", ["receive", "--from", "bob", "--max-bytes", "big"], 2, /"500MiB"/],
    [
      "with little patience for idleness",
      ["send", "config.json", "--to", "bob", "--idle-timeout", "2s"],
      2,
      /^--idle-timeout is at least 15000 ms/,
    ],
    ["of stdout for two things", ["receive", "--from", "bob", "--out", "-", "--json"], 2, /both want stdout/],
    ["of stdout for two payloads", ["receive", "--from", "bob,carol", "--out", "-"], 2, /Name a folder/],
    ["of one file for two payloads", ["receive", "--from", "bob,carol", "--out", "one.bin"], 2, /need a folder/],
    [
      "at one's own cost without a node",
      ["send", "config.json", "--to", "bob", "--relay", "self"],
      2,
      /one with --rpc, in WAYBILL_RPC, or .*\(NEEDS_RPC\)/,
    ],
    [
      "with a price that nobody pays",
      ["send", "config.json", "--to", "bob", "--max-fee-per-gas", "20gwei"],
      2,
      /^--max-fee-per-gas goes with --relay self\./,
    ],
    ["with a grace and no count", ["receive", "--from", "bob", "--grace", "5s"], 2, /goes with --at-least/],
    ["with a count beyond all", ["receive", "--from", "bob", "--at-least", "2"], 2, /--from names 1/],
    [
      "into a folder that isn't there",
      ["receive", "--from", "bob", "--out", "no/where/x"],
      1,
      /^Nothing can be written at .*no\/where \(ENOENT\)\. The folder must exist already\./,
    ],
    [
      "by a stranger",
      ["send", "config.json", "--to", "bob"],
      3,
      /not? (active )?member/i,
      { WAYBILL_KEY: Wallet.createRandom().privateKey },
    ],
    [
      "in a task that isn't there",
      ["send", "config.json", "--to", "bob"],
      1,
      /UNKNOWN_TASK/,
      { WAYBILL_TASK: `0x${"12".repeat(32)}` },
    ],
    ["in no task", ["send", "config.json", "--to", "bob"], 2, /Say the task: --task/, { WAYBILL_TASK: "" }],
  ];
  it.each(cases)("%s says in one sentence what to do", async (_, args, code, words, env) => {
    const said = as("alice", args, env);
    expect([await said.process.ended, said.stderr()]).toEqual([code, expect.stringMatching(words)]);
    expect(said.stdout()).toBe("");
    const lines = said.stderr().trim().split("\n");
    expect(lines).toHaveLength(1); // and no advice to make the same mistake again
    expect(lines[0]).toMatch(/\([A-Z_]+\)$|^\{"error":/);
    expect(said.stderr()).not.toMatch(/at .*\.js:|node:internal/);
  });
});

describe("what a newcomer runs into is told in one sentence that says what to do, with its exit code", () => {
  const FULL_STDOUT = ["bash", "-c", 'exec "$@" > /dev/full', "-"];
  const SMALL_DISK = ["bash", "-c", 'ulimit -f 4096; exec "$@"', "-"];
  const POWERLESS = powerless();
  const fetching = ["receive", "--from", "alice", "--tag", "newcomer.bin"];
  const sending = ["send", "newcomer.bin", "--to", "bob"];

  beforeAll(async () => {
    await writeFile(join(home, "newcomer.bin"), randomBytes(2 * PART));
    const deployment = JSON.parse(await readFile(join(home, "deployment.json"), "utf8")) as object;
    await writeFile(join(home, "nobody.json"), JSON.stringify({ ...deployment, api: "http://127.0.0.1:9" }));
    await writeFile(join(home, "other.json"), JSON.stringify({ ...deployment, chainId: 5 }));
    await writeFile(join(home, "closed"), "x", { mode: 0 });
    await mkdir(join(home, "sealed"), { mode: 0o555 });
    const first = as("alice", [...sending, "--timeout", "2h", "--json"]);
    await noticed(first);
  });

  interface Mistake {
    readonly args: readonly string[];
    readonly code: number;
    readonly says: RegExp;
    readonly env?: NodeJS.ProcessEnv;
    readonly before?: readonly string[] | null;
    /** Does the same command go on, when what is wrong has been mended? */
    readonly again?: true;
  }
  const stranger = Wallet.createRandom().privateKey;
  const mistakes: Record<string, Mistake> = {
    "a missing flag": { args: ["send", "x"], code: 2, says: /^Say --to <members>: accounts or names, .*\(USAGE\)$/ },
    "a misspelt flag": { args: ["send", "x", "--too", "bob"], code: 2, says: /Did you mean --to\?/ },
    "a key that is none": {
      args: sending,
      code: 2,
      says: /^WAYBILL_KEY holds no private key: 64 hex digits\. /,
      env: { WAYBILL_KEY: "0x12" },
    },
    "somebody else's key": {
      args: sending,
      code: 3,
      says: /no member of this task\. Ask its owner.*\(NOT_MEMBER\)$/,
      env: { WAYBILL_KEY: stranger },
    },
    "a task that is none": { args: [...sending, "--task", "7"], code: 2, says: /A task is 0x and 64 hex digits\./ },
    "another task": {
      args: sending,
      code: 1,
      says: /\(UNKNOWN_TASK\)$/,
      env: { WAYBILL_TASK: `0x${"12".repeat(32)}` },
    },
    "another chain": {
      args: [...sending, "--deployment", "other.json"],
      code: 2,
      says: /serves chain 31337, and the request is signed for 5\. \(WRONG_CHAIN\)$/,
    },
    "an API that doesn't answer": {
      args: [...sending, "--deployment", "nobody.json"],
      code: 5,
      says: /did not answer\. Check the address.*\(UNREACHABLE\)$/,
      again: true,
    },
    "a disk that is full": {
      args: [...fetching, "--out", "got/"],
      code: 1,
      says: /^There is no space for .*\. Free some, then receive again\. \(NO_SPACE\)$/,
      before: SMALL_DISK,
      again: true,
    },
    "a full disk behind stdout": {
      args: [...fetching, "--out", "-"],
      code: 1,
      says: /^There is no room where stdout leads\. Make some, .*\(NO_SPACE\)$/,
      before: FULL_STDOUT,
      again: true,
    },
    "a full disk behind an answer": {
      args: ["task", "show"],
      code: 1,
      says: /^There is no room where stdout leads\./,
      before: FULL_STDOUT,
    },
    "a file that one may not read": {
      args: ["send", "closed", "--to", "bob"],
      code: 2,
      says: /^There is no readable file closed\. Name a file that exists\. \(SOURCE_MISSING\)$/,
      before: POWERLESS,
    },
    "a folder that one may not write": {
      args: [...fetching, "--out", "sealed/"],
      code: 1,
      says: /sealed.*\(TARGET_UNWRITABLE\)$/,
      before: POWERLESS,
    },
    "a new key in such a folder": {
      args: ["key", "new", "--out", "sealed/k.json", "--password-file", "newcomer.bin"],
      code: 1,
      says: /can't be written \(EACCES\)\. Check its folder\. \(TARGET_UNWRITABLE\)$/,
      before: POWERLESS,
    },
    "a keystore that one may not read": {
      args: ["key", "show", "--keystore", "closed"],
      code: 2,
      says: /^You may not read closed\. Ask its owner, or change its mode\. \(USAGE\)$/,
      before: POWERLESS,
    },
    "a config that one may not read": {
      args: ["task", "show", "--config", "closed"],
      code: 2,
      says: /^You may not read .*closed\. Ask its owner/,
      before: POWERLESS,
    },
    "a password that one may not read": {
      args: ["key", "new", "--out", "k.json", "--password-file", "closed"],
      code: 2,
      says: /^The password file closed can't be read \(EACCES\)\. Check its path and mode\. \(USAGE\)$/,
      before: POWERLESS,
    },
  };

  for (const [what, { args, code, says, env, before = [], again }] of Object.entries(mistakes))
    it.runIf(before !== null)(what, async () => {
      const said = commands.as(args[0] === "receive" ? "bob" : "alice", args, env, before ?? []);
      const ended = await said.process.ended;
      const lines = said.stderr().trimEnd().split("\n");
      if (again) expect(lines.pop()).toMatch(/^To go on: .*waybill (send|receive) /);
      expect(lines.filter((line) => !line.startsWith("Warning: others may read")).at(-1)).toMatch(says);
      expect([ended, said.stdout()]).toEqual([code, ""]);
      expect(said.stderr()).not.toMatch(/Unexpected|at .*\.js:|node:internal|To go on: .*\n.+/);
    });
});

describe("a place that can't take the file", () => {
  it("because it is full says so, leaves nothing there, and the notice stays open", async () => {
    const { path, name, sum: sent } = await file(2 * PART);
    const dir = await folder();
    const sending = as("alice", ["send", path, "--to", "bob"]);
    const { code, stderr } = await shell(
      "bob",
      `ulimit -f 4096; waybill receive --from alice --tag ${name} --out ${dir}`,
    );
    expect([code, stderr]).toEqual([1, expect.stringContaining("There is no space")]);
    expect(await readdir(dir)).toEqual([]);
    expect(await as("bob", ["receive", "--from", "alice", "--tag", name, "--out", dir]).process.ended).toBe(0);
    expect(await sending.process.ended).toBe(0);
    expect(await sum(join(dir, name))).toBe(sent);
  });

  it("because another file is there leaves that one, and takes its place with --force", async () => {
    const { path, name, sum: sent } = await file(50);
    const dir = await folder();
    await mkdir(join(dir, "sub"));
    const into = join(dir, "sub", "mine.bin");
    await writeFile(into, "mine");
    const sending = as("alice", ["send", path, "--to", "bob"]);
    const receive = ["receive", "--from", "alice", "--tag", name, "--out", into];
    const refused = as("bob", receive);
    expect(await refused.process.ended).toBe(1);
    expect(refused.stderr()).toMatch(/exists\..*\(TARGET_EXISTS\)\n$/);
    expect(await readFile(into, "utf8")).toBe("mine");
    expect(await as("bob", [...receive, "--force"]).process.ended).toBe(0);
    expect(await sending.process.ended).toBe(0);
    expect(await sum(into)).toBe(sent);
  });

  it("because who reads it has had enough ends without a word", async () => {
    const { path, name } = await file(PART);
    const sending = as("alice", ["send", path, "--to", "bob"]);
    const { stdout, stderr } = await shell(
      "bob",
      `waybill receive --from alice --tag ${name} --out - | head -c 10 | wc -c; echo \${PIPESTATUS[0]}`,
    );
    expect(stdout.trim().split(/\s+/)).toEqual(["10", "141"]);
    expect(stderr).not.toMatch(/EPIPE|Unexpected|To go on/);
    expect(await sending.process.ended).toBe(0);
  });
});
