import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encryptKeystoreJsonSync, type HDNodeWallet, Wallet } from "ethers";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { SharedFileDataChannel, TaskContractor } from "../lib/index.ts";
import { type Stack, startStack } from "../local/stack.ts";
import { ROOT, type Run, run } from "./support/packed.ts";
import { start } from "./support/process.ts";
import { secret } from "./support/secrets.ts";
import { openTerminal } from "./support/terminal.ts";

// The built command as participants run it: processes of their own, against one stack.

const WAYBILL = join(ROOT, "dist/cli/waybill.js");

// Processes start one after the other, on machines that have other work.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });
const PASSWORD = "correct horse";

let stack: Stack;
let home: string;
let task: string;
let dir: string;
const [alice, bob, carol] = [Wallet.createRandom(), Wallet.createRandom(), Wallet.createRandom()];
const account = (wallet: HDNodeWallet): string => wallet.address.toLowerCase();

beforeAll(async () => {
  for (const wallet of [alice, bob, carol]) secret(wallet.privateKey.slice(2));
  secret(PASSWORD);
  stack = await startStack();
  home = await mkdtemp(join(tmpdir(), "waybill-test-people-"));
  await writeFile(join(home, "deployment.json"), JSON.stringify(stack.deployment));
  await writeFile(join(home, "password"), `${PASSWORD}\n`, { mode: 0o600 });
  const names = { alice: account(alice), bob: account(bob), carol: account(carol) };
  await writeFile(join(home, "config.json"), JSON.stringify({ deployment: "deployment.json", names }));
  await keystoreOf(alice, join(home, "alice.json"));
  task = (await as(alice, "task", "open", "alice", "bob")).stdout.trim();
});
afterAll(async () => {
  await stack?.stop();
  if (home) await rm(home, { recursive: true, force: true });
});
beforeEach(async () => {
  dir = await mkdtemp(join(home, "case-"));
});

/** Quick to open, for a password that isn't guessed here. */
async function keystoreOf(wallet: HDNodeWallet, file: string, more: object = {}): Promise<string> {
  const { address, privateKey } = wallet;
  const json = encryptKeystoreJsonSync({ address, privateKey }, PASSWORD, { scrypt: { N: 1024, r: 8, p: 1 } });
  await writeFile(file, JSON.stringify({ ...JSON.parse(json), ...more }), { mode: 0o600 });
  return file;
}

/** Nothing of who runs the tests, and nothing of npm. */
function envOf(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { XDG_CONFIG_HOME: join(dir ?? home, "xdg"), XDG_STATE_HOME: join(dir ?? home, "state"), ...env };
}

function waybill(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Run> {
  return run(process.execPath, [WAYBILL, ...args], dir ?? home, envOf(env));
}

const settings = (wallet: HDNodeWallet): NodeJS.ProcessEnv => ({
  WAYBILL_CONFIG: join(home, "config.json"),
  WAYBILL_KEY: wallet.privateKey,
  ...(task && { WAYBILL_TASK: task }),
});

function as(wallet: HDNodeWallet, ...args: string[]): Promise<Run> {
  return waybill(args, settings(wallet));
}

describe("waybill key", () => {
  it("makes a keystore that only its owner may read, which holds the key of the account that it prints", async () => {
    const made = await waybill(["key", "new", "--password-file", join(home, "password")]);
    expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/^0x[0-9a-f]{40}\n$/) });
    const file = join(dir, "xdg/waybill/key.json");
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readdir(join(dir, "xdg/waybill"))).toEqual(["key.json"]);
    const wallet = Wallet.fromEncryptedJsonSync(await readFile(file, "utf8"), PASSWORD);
    secret(wallet.privateKey.slice(2));
    expect(`${wallet.address.toLowerCase()}\n`).toBe(made.stdout);
    const again = await waybill(["key", "new", "--password-file", join(home, "password")]);
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining("is there already") });
  });

  it("imports a key from stdin, in any spelling, and refuses what is none without repeating it", async () => {
    const put = (text: string, out: string): Promise<Run> =>
      run(
        "sh",
        [
          "-c",
          `printf %s "$SECRET" | "${process.execPath}" "${WAYBILL}" key import --out ${out} --json --password-file ../password`,
        ],
        dir,
        envOf({ SECRET: text }),
      );
    expect(JSON.parse((await put(`${alice.privateKey.slice(2).toUpperCase()}\n`, "a.json")).stdout)).toEqual({
      account: account(alice),
      keystore: join(dir, "a.json"),
    });
    const refused = await put("0xdecafbad", "b.json");
    expect(refused).toMatchObject({ code: 2, stdout: "" });
    expect(refused.stderr).toContain("no private key");
    expect(refused.stderr).not.toContain("decafbad");
    expect(await readdir(dir)).toEqual(["a.json"]);
  });

  it("shows the account without the password, and opens the keystore with --check", async () => {
    const shown = await waybill(["key", "show", "--keystore", join(home, "alice.json"), "--json"]);
    expect(shown).toMatchObject({ code: 0, stdout: `${JSON.stringify({ account: account(alice) })}\n`, stderr: "" });
    const file = await keystoreOf(bob, join(dir, "bob.json"), { address: undefined });
    const opened = ["key", "show", "--keystore", file, "--password-file", "../password"];
    expect(await waybill([...opened, "--check"])).toMatchObject({ code: 0, stdout: `${account(bob)}\n` });
  });

  it("warns of a keystore and of a password file that others may read", async () => {
    const file = await keystoreOf(bob, join(dir, "bob.json"));
    await writeFile(join(dir, "open"), `${PASSWORD}\n`, { mode: 0o644 });
    const shown = await waybill(["key", "show", "--check", "--keystore", file, "--password-file", "open"]);
    expect(shown).toMatchObject({ code: 0, stderr: "Warning: others may read open. Run: chmod 600 open\n" });
    await chmod(file, 0o644);
    expect((await waybill(["key", "show", "--keystore", file])).stderr).toContain(`chmod 600 ${file}`);
  });
});

describe("who takes part", () => {
  it("is said by flags before variables before the config file, whose paths begin at itself", async () => {
    await mkdir(join(dir, "conf"));
    const [one, two] = [
      await keystoreOf(alice, join(dir, "conf/one.json")),
      await keystoreOf(bob, join(dir, "two.json")),
    ];
    const config = join(dir, "conf/config.json");
    await writeFile(config, JSON.stringify({ keystore: "one.json" }));
    const who = async (args: string[], env: NodeJS.ProcessEnv): Promise<string> =>
      (await waybill(["key", "show", ...args], env)).stdout.trim();
    expect(await who(["--config", config], {})).toBe(account(alice));
    expect(await who([], { WAYBILL_CONFIG: config, WAYBILL_KEYSTORE: "two.json" })).toBe(account(bob));
    expect(await who(["--keystore", one], { WAYBILL_CONFIG: config, WAYBILL_KEYSTORE: two })).toBe(account(alice));
    expect(await who(["--keystore", one], { WAYBILL_KEY: bob.privateKey })).toBe(account(alice));
    expect(await who(["--config", config], { WAYBILL_KEYSTORE: "" })).toBe(account(alice)); // empty says nothing
  });

  it("signs with a keystore and its password file all the way to the chain", async () => {
    const config = join(dir, "config.json");
    const paths = { deployment: "../deployment.json", keystore: "../alice.json", passwordFile: "../password", task };
    await writeFile(config, JSON.stringify(paths));
    expect(await waybill(["post", "check_in", '{"from":"keystore"}', "--config", config])).toMatchObject({ code: 0 });
  });
});

describe("waybill task", () => {
  it("shows members with their index and name, admits by name, and expels", async () => {
    expect(JSON.parse((await as(bob, "task", "show", "--json")).stdout)).toMatchObject({
      task,
      owner: account(alice),
      roster: 1,
      members: [
        { index: 0, account: account(alice), active: true, name: "alice" },
        { index: 1, account: account(bob), active: true, name: "bob" },
      ],
    });
    expect(await as(alice, "task", "admit", "carol")).toMatchObject({
      code: 0,
      stdout: `${account(carol)} admitted\n`,
    });
    expect(await as(carol, "task", "show")).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/2 {2}0x\w+ {2}active {4}carol/),
    });
    expect(await as(alice, "task", "admit", "carol")).toMatchObject({
      code: 0,
      stdout: `${account(carol)} was a member already\n`,
    });
    expect(await as(alice, "task", "expel", "carol")).toMatchObject({ code: 0 });
    expect(await as(alice, "task", "expel", "carol")).toMatchObject({
      code: 0,
      stdout: `${account(carol)} was expelled already\n`,
    });
    expect(await as(alice, "task", "expel", `0x${"01".repeat(20)}`)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("never was a member"),
    });
    for (const said of [
      ["task", "show"],
      ["post", "k"],
      ["send", "../config.json", "--to", "bob"],
      ["receive", "--from", "bob"],
    ])
      expect(await as(carol, ...said)).toMatchObject({ code: 3, stderr: expect.stringMatching(/\(EXPELLED\)\n$/) });
    expect(await as(bob, "task", "admit", "carol")).toMatchObject({
      code: 3,
      stderr: expect.stringContaining("NOT_OWNER"),
    });
  });

  it("opens the same task again with the same salt, by a member's own transaction where it has a node and gas", async () => {
    const salt = `0x${"5a".repeat(32)}`;
    const first = await as(carol, "task", "open", "--salt", salt, "carol", "--json");
    expect(JSON.parse(first.stdout)).toMatchObject({ owner: account(carol), members: [account(carol)], salt });
    expect(JSON.parse((await as(carol, "task", "open", "--salt", salt, "carol", "--json")).stdout).task).toBe(
      JSON.parse(first.stdout).task,
    );
    const mine = ["--task", JSON.parse(first.stdout).task];
    expect(await as(carol, "task", "expel", "carol", ...mine)).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/^Warning: you expel yourself\. The task stays yours, .* admit yourself\.\n$/),
    });
    expect(await as(carol, "task", "admit", "carol", ...mine)).toMatchObject({ code: 0, stderr: "" });
    expect((await as(carol, "task", "show", ...mine)).stdout).toMatch(
      /^ {3}0 {2}0x\w+ {2}expelled, and again a member as 1 {2}carol\n {3}1 {2}0x\w+ {2}active {4}carol\n/m,
    );
    expect(await as(carol, "task", "open", "bob")).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/^Note: you don't name yourself\. You own the task, /),
    });
    expect(await as(carol, "task", "open", "--relay", "self", "bob")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("NEEDS_RPC"),
    });
    const poor = await waybill(["task", "open", "--relay", "self", "bob", "--rpc", stack.rpc], settings(carol));
    expect(poor).toMatchObject({ code: 5, stderr: expect.stringContaining("NOT_PUBLISHED") });
    expect(poor.stderr).toContain("--salt 0x"); // to go on with the same task
  });
});

describe("waybill status and tail", () => {
  const channels: SharedFileDataChannel[] = [];
  const contractors: TaskContractor[] = [];
  beforeAll(() => {
    for (const signer of [alice, bob]) {
      const contractor = new TaskContractor({ task, signer, deployment: stack.deployment });
      contractors.push(contractor);
      channels.push(new SharedFileDataChannel(contractor));
    }
  });
  afterAll(async () => {
    for (const contractor of contractors) await contractor.close();
  });

  it("follow a transfer: waiting, then verified; the watch of a notice ends when nobody is outstanding", async () => {
    const [sender, recipient] = channels;
    let notice = "";
    let known = (): void => {};
    const noticed = new Promise<void>((resolve) => {
      known = resolve;
    });
    const sending = sender!.sendStream({
      target: bob.address,
      dataStream: Buffer.from("weights"),
      tag: "evil\u202e tag",
      onNotice: (event) => {
        notice = event.notice;
        known();
      },
    });
    await noticed;
    const tail = start(["tail", "--json"], dir, envOf(settings(alice)));
    const log = start(["tail", "--from", "0"], dir, envOf(settings(alice)));
    expect(await log.line()).toMatch(/^#1 {2}block \d+ {2}alice opened the task with alice, bob {2}tx 0x[0-9a-f]{64}$/);
    while (!(await log.line()).includes(`"evil\\u{202e} tag" (notice ${notice}) to bob`));
    const waiting = await as(alice, "status");
    expect(waiting.stdout).toContain(`${notice}\n  "evil\\u{202e} tag", 7 B from you, until 20`);
    expect(waiting.stdout).toContain("\n  bob  waiting, nothing heard yet\n");
    const route = `/v1/tasks/{task}/notices/${notice}/progress`;
    await as(bob, "request", "PUT", route, "--data", '{"bytes":3,"state":"downloading"}');
    expect((await as(alice, "status")).stdout).toMatch(/bob {2}downloading 42 % \(3 B of 7 B\), heard of \d+ s ago\n/);
    const mine = JSON.parse((await as(bob, "status", notice, "--json")).stdout);
    expect(mine).toMatchObject({ notice, role: "recipient", sender: account(alice), tag: "evil\u202e tag", size: 7 });
    const watching = as(alice, "status", notice, "--watch", "--json");
    await recipient!.receiveStream({ source: alice.address, tag: "evil\u202e tag" });
    expect(await sending).toBe(bob.address);
    const watched = await watching;
    expect(watched.code).toBe(0);
    const states = watched.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).recipients[0].state);
    expect(states.at(-1)).toBe("verified");
    for (;;) {
      const event = JSON.parse(await tail.line());
      if (event.type !== "receipts") continue;
      expect(event).toMatchObject({ receipts: [{ notice, outcome: "VERIFIED", account: account(bob) }] });
      break;
    }
    expect([await tail.end("SIGINT"), await log.end("SIGINT")]).toEqual([130, 130]);
    expect(JSON.parse(tail.stderr().trim().split("\n").at(-1)!).error.code).toBe("ABORTED");
    expect(await as(alice, "status")).toMatchObject({ code: 0, stdout: "" });
  });

  it("tell who turned a payload down and why, and end with 6 when not all have verified", async () => {
    const [sender, recipient] = channels;
    const notices: string[] = [];
    const sending = sender!.sendStream({
      target: bob.address,
      dataStream: Buffer.from("unwanted"),
      tag: "unwanted",
      onNotice: ({ notice }) => notices.push(notice),
    });
    await expect(
      recipient!.receiveStream({ source: alice.address, tag: "unwanted", accept: () => false }),
    ).rejects.toMatchObject({
      code: "REFUSED",
    });
    expect(await sending).toBeNull();
    expect((await as(alice, "status", notices[0]!)).stdout).toContain("bob  rejected: REFUSED");
    const over = await as(alice, "status", notices[0]!, "--watch");
    expect(over).toMatchObject({ code: 6, stderr: "Not all have verified it: bob (REFUSED). (NOT_ALL_RECEIVED)\n" });
  });

  it("show what members write in a form that a terminal doesn't obey, and programs read as it was", async () => {
    const body = { text: "\u001b]0;owned\u0007\u202e" };
    await as(bob, "post", "note\u001b[2J", JSON.stringify(body));
    const log = start(["tail", "--from", "0"], dir, envOf(settings(alice)));
    for (;;) {
      const line = await log.line();
      if (!line.includes("posted note")) continue;
      expect(line).toContain("bob posted note\\x1b[2J to everyone: ");
      expect(line).not.toMatch(/[\p{Cc}\p{Cf}]/u);
      break;
    }
    await log.end("SIGINT");
    const objects = start(["tail", "--from", "0", "--json"], dir, envOf(settings(alice)));
    let stdout = await objects.line();
    while (!stdout.includes("note")) stdout = await objects.line();
    await objects.end("SIGINT");
    expect(stdout).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(JSON.parse(stdout)).toMatchObject({ type: "posted", kind: "note\u001b[2J", body });
  });
});

describe("waybill request", () => {
  it("gives the API's answer as it came, and its refusals also as an error with an exit code", async () => {
    const { stdout, code } = await as(bob, "request", "GET", "/v1/tasks/{task}");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ task, owner: account(alice) });
    const refused = await as(carol, "request", "GET", "/v1/tasks/{task}/events?after=0&block=0");
    expect(refused.code).toBe(3);
    expect(JSON.parse(refused.stdout)).toMatchObject({ code: "EXPELLED", status: 403 });
    expect(refused.stderr).toContain("(EXPELLED)");
    await writeFile(join(dir, "body.json"), "{}");
    for (const data of ["{}", "@body.json"])
      expect(await as(bob, "request", "post", "/v1/tasks/{task}/messages", "--data", data)).toMatchObject({
        code: 2,
        stderr: expect.stringContaining("(BAD_REQUEST)"),
      });
  });

  it("goes to the deployment's API and nowhere else", async () => {
    for (const path of ["//evil.example/x", "https://evil.example/", "v1", "/\\evil.example/x"])
      expect(await as(bob, "request", "GET", path)).toMatchObject({ code: 2, stdout: "" });
  });
});

describe("waybill participant init", () => {
  it("makes config, key and deployment once, and says what is missing until all is there", async () => {
    const init = (...args: string[]): Promise<Run> => waybill(["participant", "init", ...args]);
    const first = await init("../deployment.json", "--password-file", "../password");
    expect(first).toMatchObject({ code: 0, stdout: expect.stringMatching(/clock +ok .*\napi +ok .*\nstore +ok /) });
    const mine = /Tell the task's owner your account: (0x[0-9a-f]{40})\n$/.exec(first.stdout)![1]!;
    expect((await readdir(join(dir, "xdg/waybill"))).sort()).toEqual(["config.json", "deployment.json", "key.json"]);
    const stranger = await init("--task", task);
    expect(stranger).toMatchObject({ code: 3, stdout: expect.stringMatching(/task +FAILED/) });
    expect(stranger.stderr).toMatch(/\(NOT_MEMBER\)\n$/);
    await as(alice, "task", "admit", mine);
    const done = await init("--check", "--json", "--rpc", stack.rpc);
    expect(done.code).toBe(0);
    expect(JSON.parse(done.stdout)).toMatchObject({ account: mine, task });
    const states = JSON.parse(done.stdout).checks.map(({ name, state }: Record<string, string>) => `${name} ${state}`);
    expect(states).toEqual(["clock ok", "api ok", "store ok", "node 1 ok", "task ok"]);
    const again = await init("--check");
    expect(again).toMatchObject({ code: 0, stdout: expect.stringMatching(new RegExp(`\nYour account: ${mine}\n$`)) });
    expect(await waybill(["task", "show"])).toMatchObject({ code: 0 }); // with what init has written alone
    await as(alice, "task", "expel", mine);
  });

  it("takes no other deployment in place of the first one unless it is told to", async () => {
    const key = { WAYBILL_KEY: alice.privateKey };
    const other = { ...stack.deployment, chainId: 5 };
    await writeFile(join(dir, "other.json"), JSON.stringify(other));
    expect(await waybill(["participant", "init", "../deployment.json"], key)).toMatchObject({ code: 0 });
    const refused = await waybill(["participant", "init", "other.json"], key);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("another deployment") });
    const forced = await waybill(
      ["participant", "init", "other.json", "--force", "--rpc", `${stack.rpc}/?key=s3cret`],
      key,
    );
    expect(forced.stdout).toMatch(/node 1 +FAILED +it serves chain 31337, and the deployment is on 5/);
    expect(forced).toMatchObject({ code: 2, stderr: expect.stringContaining("(WRONG_CHAIN)") });
    expect(forced.stdout + forced.stderr).not.toContain("s3cret");
  });
});

describe("each wrong invocation says in one sentence what to do, and exits with its code", () => {
  const config = (text: string): Promise<void> => writeFile(join(dir, "c.json"), text);
  const WITH = ["--config", "c.json"];
  const cases: [
    what: string,
    code: number,
    says: RegExp,
    args: string[],
    prepare?: (() => unknown) | undefined,
    env?: NodeJS.ProcessEnv,
  ][] = [
    ["no command", 2, /A command is missing/, []],
    ["an unknown command", 2, /Did you mean status\?/, ["statsu"]],
    ["an unknown subcommand", 2, /Did you mean open\?/, ["task", "opn"]],
    ["an unknown option", 2, /unknown option '--tsk'.*--task/i, ["task", "show", "--tsk", "1"]],
    ["a task that is none", 2, /A task is 0x and 64 hex digits/, ["task", "show", "--task", "7"]],
    ["no deployment", 2, /Say the operator's deployment: --deployment FILE, WAYBILL_DEPLOYMENT/, ["task", "show"]],
    [
      "no key",
      2,
      /Say your key: --keystore FILE.*waybill key new/,
      ["task", "show", "--deployment", "../deployment.json"],
    ],
    [
      "no task",
      2,
      /Say the task: --task ID, WAYBILL_TASK/,
      ["task", "show", "--deployment", "../deployment.json"],
      undefined,
      { WAYBILL_KEY: "1".padStart(64, "0") },
    ],
    ["no config where one was named", 2, /There is no .*nowhere.json/, ["task", "show", "--config", "nowhere.json"]],
    ["a config that is no JSON", 2, /c.json is no JSON/, ["task", "show", ...WITH], () => config("{")],
    [
      "a config with a misspelt setting",
      2,
      /"keystroe" that there is not. There are: deployment, keystore/,
      ["task", "show", ...WITH],
      () => config('{"keystroe":"x"}'),
    ],
    [
      "a config with a wrong value",
      2,
      /"task" in .*c.json must be 0x and 64 hex digits/,
      ["task", "show", ...WITH],
      () => config('{"task":"7"}'),
    ],
    [
      "a name that is no account",
      2,
      /"names.bob" in .*c.json must be an account/,
      ["task", "show", ...WITH],
      () => config('{"names":{"bob":"0x12"}}'),
    ],
    [
      "an RPC URL that is none",
      2,
      /must be an http or https URL/,
      ["task", "show", "--deployment", "../deployment.json", "--rpc", "wss://n/s3cret"],
    ],
    [
      "a deployment that is none",
      2,
      /no complete deployment \(api/,
      ["task", "show", "--deployment", "c.json"],
      () => config("{}"),
    ],
    [
      "a keystore that isn't there",
      2,
      /There is no keystore .*no.json. Make one with: waybill key new/,
      ["key", "show", "--keystore", "no.json"],
    ],
    ["a keystore that can't be read", 2, /can't be read \(EISDIR\)/, ["key", "show", "--keystore", "."]],
    ["a keystore that is none", 2, /is no keystore v3/, ["key", "show", "--keystore", "c.json"], () => config("{}")],
    [
      "a wrong password",
      2,
      /the password is wrong, or the file is damaged/,
      ["key", "show", "--check", "--keystore", "../alice.json", "--password-file", "c.json"],
      () => config("wrong"),
    ],
    [
      "a password that can't be asked for",
      2,
      /can't be asked for here. Give --password-file FILE/,
      ["key", "show", "--check", "--keystore", "../alice.json"],
    ],
    [
      "a key in the environment that is none",
      2,
      /WAYBILL_KEY holds no private key/,
      ["key", "show"],
      undefined,
      { WAYBILL_KEY: "s3cret" },
    ],
    [
      "two keys in the environment",
      2,
      /both set. Unset one/,
      ["key", "show"],
      undefined,
      { WAYBILL_KEY: "s3cret", WAYBILL_KEYSTORE: "x" },
    ],
    [
      "somebody without a name",
      2,
      /"dave" is no account .* knows alice, bob, carol/,
      ["task", "open", "dave", "--config", "../config.json"],
      undefined,
      { WAYBILL_KEY: "1".padStart(64, "0") },
    ],
    ["a body that is no JSON", 2, /The body is no JSON/, ["post", "k", "{"]],
    [
      "an account that is no member",
      3,
      /NOT_MEMBER/,
      ["task", "show", "--config", "../config.json"],
      undefined,
      { WAYBILL_KEY: "1".padStart(64, "0"), WAYBILL_TASK: "given" },
    ],
    [
      "another task",
      1,
      /UNKNOWN_TASK/,
      ["task", "show", "--config", "../config.json", "--task", `0x${"7".repeat(64)}`],
      undefined,
      { WAYBILL_KEY: "1".padStart(64, "0") },
    ],
    [
      "another notice",
      1,
      /UNKNOWN_NOTICE/,
      ["status", `0x${"7".repeat(64)}`, "--config", "../config.json"],
      undefined,
      { WAYBILL_KEY: "alice", WAYBILL_TASK: "given" },
    ],
    [
      "a file that is there already",
      1,
      /is there already, and is not overwritten/,
      ["key", "new", "--out", "../alice.json"],
    ],
    [
      "a folder that can't be written",
      1,
      /TARGET_UNWRITABLE/,
      ["key", "new", "--out", "../password/key.json", "--password-file", "../password"],
    ],
  ];

  it.each(cases)("%s", async (_what, code, says, args, prepare, env = {}) => {
    await prepare?.();
    const given = {
      ...env,
      ...(env.WAYBILL_TASK && { WAYBILL_TASK: task }),
      ...(env.WAYBILL_KEY === "alice" && { WAYBILL_KEY: alice.privateKey }),
    };
    const ended = await waybill(args, given);
    const last = ended.stderr.trimEnd().split("\n").at(-1)!;
    expect(last).toMatch(says);
    expect(last).toMatch(/ \([A-Z_]+\)$/);
    expect(ended).toMatchObject({ code, stdout: "" });
    expect(ended.stderr).not.toContain("s3cret");
  });

  it("with --json as an object", async () => {
    for (const [args, code] of [
      [["statsu", "--json"], "USAGE"],
      [["key", "show", "--json"], "USAGE"],
    ] as const) {
      const { stdout, stderr } = await waybill(args);
      expect(stdout).toBe("");
      expect(JSON.parse(stderr)).toEqual({ error: { code, message: expect.stringMatching(/\w/) } });
    }
  });

  it("an API that doesn't answer", async () => {
    await writeFile(join(dir, "d.json"), JSON.stringify({ ...stack.deployment, api: "http://127.0.0.1:9" }));
    const ended = await waybill(["request", "GET", "/health", "--deployment", "d.json"], {
      WAYBILL_KEY: alice.privateKey,
    });
    expect(ended).toMatchObject({ code: 5, stderr: expect.stringContaining("did not answer. Check the address") });
  });
});

describe("in a terminal", () => {
  const inTerminal = (args: readonly string[], env: NodeJS.ProcessEnv = {}) => openTerminal(args, dir, envOf(env));

  it("asks for a new password twice and shows neither", async () => {
    const terminal = inTerminal(["key", "new", "--out", "k.json"]);
    await terminal.until("New password for");
    terminal.type(`${PASSWORD}\r`);
    await terminal.until("The same again:");
    terminal.type(`${PASSWORD}\r`);
    expect(await terminal.ended).toBe(0);
    expect(terminal.seen()).not.toContain(PASSWORD);
    const wallet = Wallet.fromEncryptedJsonSync(await readFile(join(dir, "k.json"), "utf8"), PASSWORD);
    secret(wallet.privateKey.slice(2));
    expect(terminal.seen()).toContain(wallet.address.toLowerCase());
  });

  it("makes nothing of two different passwords, nor of an empty one", async () => {
    for (const [one, two] of [
      ["a", "b"],
      ["", ""],
    ]) {
      const terminal = inTerminal(["key", "new", "--out", "k.json"]);
      await terminal.until("New password for");
      terminal.type(`${one}\r`);
      await terminal.until("The same again:");
      terminal.type(`${two}\r`);
      expect(await terminal.ended).toBe(2);
    }
    expect(await readdir(dir)).toEqual([]);
  });

  it("asks for a key without showing it, and Ctrl-C at any question ends with 130", async () => {
    const terminal = inTerminal(["key", "import", "--out", "k.json"]);
    await terminal.until("The private key");
    terminal.type(`${alice.privateKey}\r`);
    await terminal.until("New password for");
    terminal.type("\u0003");
    expect(await terminal.ended).toBe(130);
    expect(terminal.seen()).not.toContain(alice.privateKey.slice(2));
    expect(await readdir(dir)).toEqual([]);
  });

  it("opens a keystore only when it must sign", async () => {
    const common = {
      WAYBILL_CONFIG: join(home, "config.json"),
      WAYBILL_KEYSTORE: join(home, "alice.json"),
      WAYBILL_TASK: task,
    };
    const reading = inTerminal(["task", "show", "--rpc", stack.rpc], common);
    expect(await reading.ended).toBe(0);
    expect(reading.seen()).not.toContain("Password");
    const posting = inTerminal(["post", "check_in"], common);
    await posting.until("Password of");
    posting.type(`${PASSWORD}\r`);
    expect(await posting.ended).toBe(0);
    expect(posting.seen()).toContain("Opening ");
  });

  it("watches in place until Ctrl-C", async () => {
    const terminal = inTerminal(["status", "--watch"], settings(alice));
    await terminal.until("Nothing is open.");
    await terminal.until("\u001b[1A\r\u001b[J");
    terminal.type("\u0003");
    expect(await terminal.ended).toBe(130);
  });
});
