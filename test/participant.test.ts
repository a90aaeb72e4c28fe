import { execFileSync, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { encryptKeystoreJsonSync, type HDNodeWallet, Wallet } from "ethers";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { SharedFileDataChannel, TaskContractor } from "../lib/index.ts";
import { type Stack, startStack } from "../local/stack.ts";
import { ROOT, type Run, run } from "./support/packed.ts";
import { secret } from "./support/secrets.ts";

// The commands of docs/participant.md as they stand there: each person a folder, a config file of its own, and a shell.

vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

const PASSWORD = "a password of docs/participant.md";
const NAMES = ["alice", "bob", "carol"] as const;
type Name = (typeof NAMES)[number];

let stack: Stack;
let home: string;
let page: string;
const wallets: Readonly<Record<Name, HDNodeWallet>> = {
  alice: Wallet.createRandom(),
  bob: Wallet.createRandom(),
  carol: Wallet.createRandom(),
};

beforeAll(async () => {
  secret(PASSWORD);
  page = await readFile(join(ROOT, "docs/participant.md"), "utf8");
  home = await mkdtemp(join(tmpdir(), "waybill-test-participant-"));
  stack = await startStack();
  await mkdir(join(home, "bin"));
  const program = `#!/bin/sh\nexec ${process.execPath} ${join(ROOT, "dist/cli/waybill.js")} "$@"\n`;
  await writeFile(join(home, "bin/waybill"), program, { mode: 0o755 });
  for (const name of NAMES) {
    await mkdir(join(home, name, "waybill"), { recursive: true });
    await writeFile(join(home, name, "deployment.json"), JSON.stringify(stack.deployment));
    await writeFile(join(home, name, "password"), PASSWORD, { mode: 0o600 });
    const { address, privateKey } = wallets[name];
    secret(privateKey.slice(2));
    // Quick to open; `participant init` makes none where one lies.
    const keystore = encryptKeystoreJsonSync({ address, privateKey }, PASSWORD, { scrypt: { N: 1024, r: 8, p: 1 } });
    await writeFile(join(home, name, "waybill/key.json"), keystore, { mode: 0o600 });
  }
  await writeFile(join(home, "alice/model.bin"), Buffer.alloc(9_000_000, "weights"));
});
afterAll(async () => {
  await stack?.stop();
  if (home) await rm(home, { recursive: true, force: true });
});

function blocks(language: string): string[] {
  return [...page.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms"))].map((found) => found[1]!);
}

/** Nothing of whose machine it is. */
function envOf(name: Name): NodeJS.ProcessEnv {
  return {
    PATH: `${join(home, "bin")}${delimiter}${process.env.PATH}`,
    XDG_CONFIG_HOME: join(home, name),
    XDG_STATE_HOME: join(home, name, "state"),
    WAYBILL_PASSWORD_FILE: join(home, name, "password"),
  };
}

function as(name: Name, script: string): Promise<Run> {
  return run("bash", ["-e", "-c", script], join(home, name), envOf(name));
}

const account = (name: Name): string => wallets[name].address.toLowerCase();

function hasJq(): boolean {
  try {
    execFileSync("jq", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

it("docs/participant.md leads from a key to a first transfer, and on", async () => {
  const [kit, first, send, receive, ...more] = blocks("sh");
  expect(more).toHaveLength(1); // the scripts below; a new block needs a place here
  const [install, init] = kit!.trim().split("\n");
  expect(install).toContain("npm install --global waybill");
  const shown = /^```\n(clock .*?)^```/ms.exec(page)![1]!;
  for (const name of NAMES) {
    const made = await as(name, init!);
    expect(made, made.stderr).toMatchObject({ code: 0 });
    const rows = (text: string): string[] => text.split("\n").map((line) => line.trim().split(/ {2,}/)[0]!);
    const told = made.stdout.split("\n").filter((line) => line !== "");
    // Line by line as on the page: the same checks with the same outcome.
    const words = (line: string): string => line.split(/\s+/).slice(0, 2).join(" ");
    expect(told.slice(0, -1).map(words)).toEqual(shown.split("\n").slice(0, 5).map(words));
    expect(rows(told.at(-1)!)).toEqual([`Tell the task's owner your account: ${account(name)}`]);
  }
  const opened = await as("alice", `waybill task open ${NAMES.map(account).join(" ")}`);
  const task = opened.stdout.trim();
  const names = Object.fromEntries(NAMES.map((name) => [name, account(name)]));
  for (const name of NAMES) {
    const config = { ...(JSON.parse(blocks("json")[0]!) as object), task, names };
    await writeFile(join(home, name, "waybill/config.json"), JSON.stringify(config));
    expect(await as(name, `waybill participant init --task ${task}`)).toMatchObject({ code: 0 });
  }

  const [bobs, alices] = first!.trim().split("\n");
  const [got, sent] = await Promise.all([as("bob", bobs!), as("alice", alices!)]);
  expect([got, sent]).toMatchObject([
    { code: 0, stdout: "models/model.bin\n".replace(/^/, `${join(home, "bob")}/`) },
    { code: 0, stdout: "bob verified\n" },
  ]);
  const [carols, both] = await Promise.all([as("carol", receive!), as("alice", send!)]);
  expect([carols.code, both.code, both.stdout.trim().split("\n").sort()]).toEqual([
    0,
    0,
    ["bob verified", "carol verified"],
  ]);
  const model = await readFile(join(home, "alice/model.bin"));
  for (const name of ["bob", "carol"])
    expect(model.equals(await readFile(join(home, name, "models/model.bin")))).toBe(true);
});

it.runIf(hasJq())("the scripts of docs/participant.md print what they say", async () => {
  const lines = blocks("sh").at(-1)!.trim().split("\n");
  expect(lines).toHaveLength(4);
  const [open, tail, status, request] = lines;
  const opened = await as("alice", `${open}\necho "$task"`);
  expect(opened).toMatchObject({ code: 0, stdout: expect.stringMatching(/^0x[0-9a-f]{64}\n$/) });
  const task = opened.stdout.trim();
  const inIt = (script: string): string => `export WAYBILL_TASK=${task}\n${script}`;
  // `tail` goes on for ever: until its first line is there. It begins with what comes, so rounds are posted until it has one.
  const tailing = spawn("bash", ["-c", inIt(tail!.replace("jq -r", "jq --unbuffered -r"))], {
    cwd: join(home, "bob"),
    env: { ...process.env, ...envOf("bob") },
    detached: true,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let told = "";
  tailing.stdout.on("data", (text) => {
    told += String(text);
  });
  const alice = new TaskContractor({ task, signer: wallets.alice, deployment: stack.deployment });
  try {
    while (told === "") await alice.post({ kind: "start_round", body: { round: 7 } });
    expect(told).toMatch(/^(7\n)+$/);
    let notice = (): void => {};
    const noticed = new Promise<void>((resolve) => {
      notice = resolve;
    });
    const end = new AbortController();
    const dataStream = Buffer.from("weights");
    const sending = new SharedFileDataChannel(alice).sendStream({
      ...{ target: account("bob"), dataStream, signal: end.signal },
      onNotice: () => notice(),
    });
    await noticed;
    expect(await as("alice", inIt(status!))).toMatchObject({ code: 0, stdout: `${account("bob")}\n` });
    end.abort();
    await sending.catch(() => {});
    const members = JSON.parse((await as("alice", inIt(request!))).stdout) as { account: string }[];
    expect(members.map((member) => member.account)).toEqual([account("alice"), account("bob")]);
  } finally {
    process.kill(-tailing.pid!, "SIGKILL");
    await alice.close();
  }
});
