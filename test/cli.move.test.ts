import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Wallet } from "ethers";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startStore } from "../local/store/store.ts";
import { Link } from "./support/link.ts";
import { type Cast, eventually, Scene } from "./support/members.ts";
import { ROOT } from "./support/packed.ts";
import { type Running, start } from "./support/process.ts";

// `waybill send` and `waybill receive`, each in a process of its own, over a line whose speed the test owns.

const PART = 8 * 2 ** 20;
const NAMES = ["alice", "bob", "carol", "dave"];

let scene: Scene;
let store: Awaited<ReturnType<typeof startStore>>;
let link: Link;
let cast: Cast;
let home: string;
/** Parts that came to the store, and ranges that left it. */
let moved: { UploadPart: number; GetObject: number };
const running = new Set<Said>();

beforeAll(async () => {
  moved = { UploadPart: 0, GetObject: 0 };
  store = await startStore({
    onRequest: ({ operation, key }) => {
      if (key?.startsWith("payload/") && (operation === "UploadPart" || operation === "GetObject"))
        moved[operation] += 1;
    },
  });
  link = await Link.to(store.endpoint);
  const { bucket, region, credentials: s3Credentials } = store;
  scene = await Scene.start({ config: { s3Endpoint: link.origin, bucket, region, s3Credentials } });
  home = await mkdtemp(join(tmpdir(), "waybill-test-move-"));
  cast = await scene.cast(NAMES.length);
  const names = Object.fromEntries(NAMES.map((name, i) => [name, cast.accounts[i]]));
  await writeFile(join(home, "config.json"), JSON.stringify({ names }));
  const deployment = { ...scene.stack.deployment, storeOrigin: link.origin };
  await writeFile(join(home, "deployment.json"), JSON.stringify(deployment));
}, 60_000);
afterAll(async () => {
  await link?.stop();
  await scene?.stop();
  await store?.stop();
  if (home) await rm(home, { recursive: true, force: true });
});
beforeEach(() => {
  moved = { UploadPart: 0, GetObject: 0 };
});
afterEach(async () => {
  link.rate = null;
  for (const one of running) await one.process.end("SIGKILL");
  running.clear();
});

/** One process with all that it says. */
interface Said {
  readonly process: Running;
  readonly stdout: () => string;
  readonly events: () => Record<string, unknown>[];
  readonly stderr: () => string;
}

/** Says who a member is. */
function envOf(name: string): Record<string, string> {
  return {
    WAYBILL_CONFIG: join(home, "config.json"),
    WAYBILL_DEPLOYMENT: join(home, "deployment.json"),
    WAYBILL_KEY: cast.wallets[NAMES.indexOf(name)]!.privateKey,
    WAYBILL_TASK: cast.task,
  };
}

/** Runs bash as a member, to whom the command is `waybill`. */
function shell(name: string, script: string): Promise<{ code: number; stdout: string; stderr: string }> {
  const env = { ...process.env, ...envOf(name) };
  const whole = `waybill() { ${process.execPath} ${join(ROOT, "dist/cli/waybill.js")} "$@"; }\n${script}`;
  return new Promise((resolve) => {
    execFile("bash", ["-c", whole], { env, cwd: home }, (error, stdout, stderr) =>
      resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
    );
  });
}

/** Starts the command as a member. */
function as(name: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Said {
  const process = start(args, home, { ...envOf(name), ...env });
  let text = "";
  process.child.stdout!.setEncoding("utf8").on("data", (more: string) => {
    text += more;
  });
  const events = (): Record<string, unknown>[] =>
    text
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  const said = { process, stdout: () => text, events, stderr: process.stderr };
  running.add(said);
  return said;
}

/** A file of its own with so many bytes. */
async function file(bytes: number): Promise<{ path: string; name: string; sum: string }> {
  const name = `${randomBytes(4).toString("hex")}.bin`;
  const content = randomBytes(bytes);
  await writeFile(join(home, name), content);
  return { path: join(home, name), name, sum: sumOf(content) };
}

const sumOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const sum = async (path: string): Promise<string> => sumOf(await readFile(path));
const folder = async (): Promise<string> => mkdtemp(join(home, "in-"));

/** Until a process has told of so many bytes. */
async function movedBytes(said: Said, least: number): Promise<void> {
  await eventually(() => {
    const bytes = said.events().filter(({ event }) => event === "progress");
    return Number(bytes.at(-1)?.movedBytes ?? -1) >= least || null;
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
    moved = { UploadPart: 0, GetObject: 0 };
    const again = [as("bob", receive), as("alice", ["send", path, "--to", "bob"])];
    expect(await Promise.all(again.map((one) => one.process.ended))).toEqual([0, 0]);
    expect(again[0]!.stdout()).toBe(`${join(dir, name)}\n`);
    expect(moved).toEqual({ UploadPart: 0, GetObject: 0 });
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
    expect(await receiving).toMatchObject({ stdout: `${sent}  -\n`, code: 0 });
  });
});

describe("a process that ends in the middle", () => {
  it("is started again, on both sides, and what was done is not done again", async () => {
    const { path, name, sum: sent } = await file(6 * PART);
    const dir = await folder();
    link.rate = PART; // the whole takes six seconds
    const first = as("alice", ["send", path, "--to", "bob", "--json"]);
    await movedBytes(first, 3 * PART);
    await first.process.end("SIGKILL");
    const before = moved.UploadPart;
    expect(before).toBeLessThan(6 + 4);
    const sending = as("alice", ["send", path, "--to", "bob", "--json"]);
    await eventually(() => sending.events().find(({ event }) => event === "notice") ?? null);
    const receive = ["receive", "--from", "alice", "--tag", name, "--out", dir, "--json"];
    const receiving = as("bob", receive);
    await eventually(async () => ((await held(dir)) >= 2 ? true : null));
    await receiving.process.end("SIGKILL");
    const had = await held(dir);
    moved = { UploadPart: 0, GetObject: 0 };
    const last = as("bob", receive);
    expect(await last.process.ended).toBe(0);
    expect(await sending.process.ended).toBe(0);
    expect(moved.GetObject).toBeLessThanOrEqual(6 - had + 1);
    expect(await sum(join(dir, name))).toBe(sent);
    expect(await readdir(dir)).toEqual([name]);
  });

  it("by Ctrl-C leaves the notice standing, says by which command to go on, and that joins it", async () => {
    const { path } = await file(100);
    const first = as("alice", ["send", path, "--to", "bob", "--rpc", scene.stack.rpc, "--json"]);
    const notice = await eventually(() => first.events().find(({ event }) => event === "notice") ?? null);
    first.process.child.kill("SIGINT");
    expect(await first.process.ended).toBe(130);
    const { error } = JSON.parse(first.stderr().trim().split("\n").at(-1)!) as { error: Record<string, string> };
    expect(error).toMatchObject({ code: "ABORTED", again: `waybill send ${path} --to bob --rpc … --json` });
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
    const { notice } = await eventually(() => sending.events().find(({ event }) => event === "notice") ?? null);
    sending.process.child.kill("SIGINT");
    expect(await sending.process.ended).toBe(130);
    expect((await cast.process(0).contractor.status(String(notice))).withdrawn).toBe(true);
  });

  it.each(["send", "receive"])("by a stop, such as Ctrl-Z or a lid, goes on when it is woken: %s", async (which) => {
    const { path, name, sum: sent } = await file(4 * PART);
    const dir = await folder();
    link.rate = PART / 2; // the whole takes eight seconds
    const sending = as("alice", ["send", path, "--to", "bob", "--json"]);
    if (which === "receive") await eventually(() => sending.events().find(({ event }) => event === "notice") ?? null);
    const receiving = as("bob", ["receive", "--from", "alice", "--tag", name, "--out", dir, "--json"]);
    const stopped = which === "send" ? sending : receiving;
    await movedBytes(stopped, PART);
    stopped.process.child.kill("SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, 12_000)); // longer than a connection without a byte is kept
    link.rate = null;
    stopped.process.child.kill("SIGCONT");
    expect(await Promise.all([sending.process.ended, receiving.process.ended])).toEqual([0, 0]);
    expect(await sum(join(dir, name))).toBe(sent);
  });
});

/** Parts that lie verified beside a file that is being received. */
async function held(dir: string): Promise<number> {
  const journal = (await readdir(dir)).find((name) => name.endsWith(".journal"));
  const text = journal ? await readFile(join(dir, journal), "utf8").catch(() => "") : "";
  return text.split("\n").length - 2;
}

describe("recipients of whom one is slow, one is quick and one is dead", () => {
  it("are told apart, and --idle-timeout gives up the dead one alone", async () => {
    const { path, name } = await file(5 * PART);
    const [b, c, d] = [await folder(), await folder(), await folder()];
    const sending = as("alice", ["send", path, "--to", "bob,carol,dave", "--idle-timeout", "15s", "--json"]);
    const { notice } = await eventually(() => sending.events().find(({ event }) => event === "notice") ?? null);
    const quick = as("bob", ["receive", "--from", "alice", "--tag", name, "--out", b]);
    expect(await quick.process.ended).toBe(0);
    link.rate = PART / 5; // the whole takes 25 seconds
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
  }, 120_000);
});

describe("a wrong invocation", () => {
  const cases: [string, string[], number, RegExp, NodeJS.ProcessEnv?][] = [
    ["without recipients", ["send", "x"], 2, /--to <members>.* not specified/],
    ["without a sender", ["receive"], 2, /--from <members>.* not specified/],
    ["with somebody unknown", ["send", "x", "--to", "zoe"], 2, /"zoe" is no account/],
    ["without such a file", ["send", "nowhere.bin", "--to", "bob"], 2, /nowhere\.bin/],
    ["with a folder for a file", ["send", ".", "--to", "bob"], 2, /not a regular file/],
    ["from stdin without a name", ["send", "-", "--to", "bob"], 2, /--tag round-7\/model/],
    ["to oneself", ["send", "config.json", "--to", "alice"], 2, /can't send to yourself/],
    ["with somebody twice", ["send", "config.json", "--to", "bob,bob"], 2, /names somebody twice/],
    ["with members in a row", ["send", "config.json", "--to", "bob", "carol"], 2, /with commas: bob,carol/],
    ["with seconds for milliseconds", ["receive", "--from", "bob", "--timeout", "30"], 2, /Did you mean "30s"\?/],
    ["with a time that is none", ["receive", "--from", "bob", "--timeout", "soon"], 2, /"90s", "10m"/],
    ["with a size that is none", ["receive", "--from", "bob", "--max-bytes", "big"], 2, /"500MiB"/],
    [
      "with little patience for idleness",
      ["send", "config.json", "--to", "bob", "--idle-timeout", "2s"],
      2,
      /at least 15/,
    ],
    ["of stdout for two things", ["receive", "--from", "bob", "--out", "-", "--json"], 2, /both want stdout/],
    ["of stdout for two payloads", ["receive", "--from", "bob,carol", "--out", "-"], 2, /Name a folder/],
    ["of one file for two payloads", ["receive", "--from", "bob,carol", "--out", "one.bin"], 2, /need a folder/],
    ["with a grace and no count", ["receive", "--from", "bob", "--grace", "5s"], 2, /goes with --at-least/],
    ["with a count beyond all", ["receive", "--from", "bob", "--at-least", "2"], 2, /--from names 1/],
    ["into a folder that isn't there", ["receive", "--from", "bob", "--out", "no/where/x"], 1, /Its folder must exist/],
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
    const last = lines.findLast((line) => !line.startsWith("To go on: "))!;
    expect(last).toMatch(/\([A-Z_]+\)$|^\{"error":/);
    expect(said.stderr()).not.toMatch(/at .*\.js:|node:internal/);
  });

  it("of an API that doesn't answer ends with 5, and with the command to try again", async () => {
    const deployment = JSON.parse(await readFile(join(home, "deployment.json"), "utf8")) as object;
    const dead = join(home, "dead.json");
    await writeFile(dead, JSON.stringify({ ...deployment, api: "http://127.0.0.1:9" }));
    const said = as("alice", ["send", "config.json", "--to", "bob", "--deployment", dead]);
    expect(await said.process.ended).toBe(5);
    expect(said.stderr().trim().split("\n").slice(-2)).toEqual([
      expect.stringMatching(/did not answer.*\(UNREACHABLE\)$/),
      `To go on: waybill send config.json --to bob --deployment ${dead}`,
    ]);
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
