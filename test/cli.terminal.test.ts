import { readFile, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { toQuantity } from "ethers";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { Commands, held, noticed, sum } from "./support/commands.ts";
import { eventually } from "./support/members.ts";
import { startRpcProxy } from "./support/rpcproxy.ts";

// What a person sees of `waybill send` and `waybill receive`, and types while they run; in pseudo-terminals where that matters.

const PART = 8 * 2 ** 20;
const CTRL_C = "\u0003";
const CTRL_Z = "\u001a";

vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

let commands: Commands;
beforeAll(async () => {
  commands = await Commands.start(["alice", "bob", "carol"]);
});
afterAll(() => commands?.stop());
afterEach(() => commands.forget());

describe("in a terminal", () => {
  it("send and receive show bytes, rate and time left in a bar, that nothing moves, and each recipient's state", async () => {
    const { name, sum: sent } = await commands.file(5 * PART);
    const dir = await commands.folder();
    commands.link.rate = PART / 2;
    const sending = commands.inTerminal("alice", ["send", name, "--to", "bob,carol"]);
    await sending.until(/\[#+-+\] {2}\d+ % {2}[\d.]+ MiB of 40\.0 MiB {2}[\d.]+ [KM]iB\/s {2}\d+ s left/);
    expect(sending.seen()).toContain(`The tag is "${name}", the file's name.`);
    commands.link.held = true;
    await sending.until(/\d+ % {2}[\d.]+ MiB of 40\.0 MiB {2}stalled for \d+ s/);
    commands.link.held = false;
    commands.link.rate = null;
    await sending.until(/It is in the store; waiting \d+ min at most for answers\./);
    await sending.until(/bob {4}waiting.*\s+carol {2}waiting.*\s+the deadline is in \d+ min/);
    commands.link.rate = PART / 2;
    const receive = ["receive", "--from", "alice", "--tag", name, "--out", dir];
    const receiving = commands.inTerminal("bob", receive);
    await receiving.until("waiting for alice");
    await receiving.until(
      /from alice {2}\[#+-+\] {2}\d+ % {2}[\d.]+ MiB of 40\.0 MiB {2}[\d.]+ [KM]iB\/s {2}\d+ s left/,
    );
    await sending.until(/bob {4}downloading \d+ %/);
    commands.link.rate = null;
    expect(await receiving.ended).toBe(0);
    expect(receiving.seen()).toContain(join(dir, name));
    expect(await sum(join(dir, name))).toBe(sent);
    await sending.until("bob has verified it.");
    sending.type(CTRL_C);
    expect(await sending.ended).toBe(130);
    expect(sending.seen()).toMatch(/Interrupted\. The notice stands until its deadline.*\(ABORTED\)\s+To go on: /);
  });

  it("Ctrl-Z stops a send, the shell's fg lets it go on to its end, and the bar stands there again", async () => {
    const { name, sum: sent } = await commands.file(4 * PART);
    const dir = await commands.folder();
    const shell = commands.inShell("alice");
    commands.link.rate = PART / 2;
    shell.type(`waybill send ${name} --to bob\r`);
    await shell.until(/\d+ % {2}[\d.]+ MiB of 32\.0 MiB/);
    shell.type(CTRL_Z);
    await shell.until("Stopped");
    const receive = ["receive", "--from", "alice", "--tag", name, "--out", dir];
    const receiving = commands.as("bob", receive);
    const before = shell.seen().length;
    shell.type("fg\r");
    await eventually(() => (/MiB of 32\.0 MiB/.test(shell.seen().slice(before)) ? true : null));
    commands.link.rate = null;
    await shell.until("bob verified");
    shell.type("echo code=$?\r");
    await shell.until("code=0");
    expect(await receiving.process.ended).toBe(0);
    expect(await sum(join(dir, name))).toBe(sent);
  });

  it("a receive is drawn in a terminal that knows no size, and says that it was interrupted", async () => {
    const shell = commands.inShell("bob");
    shell.type("stty cols 0 rows 0; waybill receive --from alice --tag nothing; echo code=$?\r");
    await shell.until(/waiting for alice[\s\S]*waiting for alice/);
    shell.type(CTRL_C);
    await shell.until("code=130");
    expect(shell.seen()).toMatch(/Interrupted\. \(ABORTED\)\s+To go on: /);
    expect(shell.seen()).not.toMatch(/Infinity|NaN/);
  });

  it("a second Ctrl-C ends it at once, also while the first one's tidying hangs", async () => {
    const { name } = await commands.file(100);
    const sending = commands.inTerminal("alice", ["send", name, "--to", "bob", "--withdraw-on-interrupt"]);
    await sending.until("waiting 10 min at most");
    commands.link.held = true; // the store answers nobody any more, so that the withdrawal can't be taken
    sending.type(CTRL_C);
    await sending.until("Tidying up. Ctrl-C once more ends it at once.");
    sending.type(CTRL_C);
    expect(await sending.ended).toBe(130);
  });

  it.each(["send", "receive"])(
    "Ctrl-C ends %s with 130 while its API takes connections and says nothing",
    async (which) => {
      const sockets = new Set<Socket>();
      const mute = createServer((socket) => void sockets.add(socket.on("error", () => {})));
      await new Promise<void>((resolve) => mute.listen(0, "127.0.0.1", resolve));
      try {
        const deployment = JSON.parse(await readFile(join(commands.home, "deployment.json"), "utf8")) as object;
        const api = `http://127.0.0.1:${(mute.address() as AddressInfo).port}`;
        await writeFile(join(commands.home, "mute.json"), JSON.stringify({ ...deployment, api }));
        const args = which === "send" ? ["send", "config.json", "--to", "bob"] : ["receive", "--from", "bob"];
        const terminal = commands.inTerminal("alice", [...args, "--deployment", "mute.json"]);
        await eventually(() => (sockets.size > 0 ? true : null));
        terminal.type(CTRL_C);
        expect(await terminal.ended).toBe(130);
      } finally {
        for (const socket of sockets) socket.destroy();
        await new Promise((resolve) => mute.close(resolve));
      }
    },
  );

  it("request ends the answer with a line's end, and elsewhere gives it byte by byte", async () => {
    const terminal = commands.inTerminal("alice", ["request", "GET", "/v1/tasks/{task}"]);
    expect(await terminal.ended).toBe(0);
    expect(terminal.seen()).toMatch(/\}\r\n$/);
    const piped = commands.as("alice", ["request", "GET", "/v1/tasks/{task}"]);
    expect(await piped.process.ended).toBe(0);
    expect(piped.stdout().at(-1)).toBe("}");
  });
});

describe("what is said of a transfer", () => {
  it("is that it goes on, and how much is there, on both sides and in JSON", async () => {
    const { name, sum: sent } = await commands.file(6 * PART);
    const dir = await commands.folder();
    Object.assign(commands.link, { rate: PART, lanes: 1 });
    const first = commands.as("alice", ["send", name, "--to", "bob", "--json"]);
    await eventually(() => (commands.moved.UploadPart > 0 ? true : null));
    commands.link.held = true; // so that it never has more than some
    await first.process.end("SIGKILL");
    Object.assign(commands.link, { held: false, rate: null, lanes: Number.POSITIVE_INFINITY });
    expect(first.events().find(({ event }) => event === "progress")).toMatchObject({ heldBytes: 0 });
    const sending = commands.as("alice", ["send", name, "--to", "bob"]);
    await eventually(() => (/It is in the store/.test(sending.stderr()) ? true : null));
    expect(sending.stderr()).toMatch(
      /^Going on: of 48\.0 MiB the store has [\d.]+ MiB, which are compared and not sent again\.$/m,
    );
    const receive = ["receive", "--from", "alice", "--tag", name, "--out", dir];
    Object.assign(commands.link, { rate: PART, lanes: 1 });
    const second = commands.as("bob", [...receive, "--json"]);
    await eventually(async () => ((await held(dir)) > 0 ? true : null));
    commands.link.held = true;
    await second.process.end("SIGKILL");
    Object.assign(commands.link, { held: false, rate: null, lanes: Number.POSITIVE_INFINITY });
    const receiving = commands.as("bob", receive);
    expect(await receiving.process.ended).toBe(0);
    expect(receiving.stderr()).toMatch(
      /^Going on: of 48\.0 MiB from alice, [\d.]+ MiB are here, verified, and are not fetched again\.$/m,
    );
    expect(await sending.process.ended).toBe(0);
    expect(await sum(join(dir, name))).toBe(sent);
  });

  it("is in JSON also that all is there", async () => {
    const { name } = await commands.file(PART + 1);
    const dir = await commands.folder();
    const receiving = commands.as("bob", ["receive", "--from", "alice", "--tag", name, "--out", dir, "--json"]);
    const sending = commands.as("alice", ["send", name, "--to", "bob", "--json"]);
    expect(await Promise.all([sending, receiving].map((one) => one.process.ended))).toEqual([0, 0]);
    const whole = { movedBytes: PART + 1, totalBytes: PART + 1, heldBytes: 0 };
    for (const one of [sending, receiving])
      expect(one.events().findLast(({ event }) => event === "progress")).toMatchObject(whole);
  });

  it("is that there is no news, why, and that it answers again", async () => {
    const node = await startRpcProxy(commands.scene.stack.rpc);
    try {
      const [one, two] = [await commands.file(100), await commands.file(100)];
      const send = (name: string): string[] => ["send", name, "--to", "carol", "--rpc", node.url];
      const people = commands.as("alice", send(one.name));
      const programs = commands.as("bob", [...send(two.name), "--json"]);
      await eventually(() => (/It is in the store/.test(people.stderr()) ? true : null));
      await noticed(programs);
      node.cut = () => "before";
      const said = /^No news for \d+ s.*; still trying\. The RPC node/m;
      await eventually(() => (said.test(people.stderr()) ? true : null));
      const trouble = await eventually(() => programs.events().find(({ event }) => event === "trouble") ?? null);
      expect(trouble).toMatchObject({ code: expect.any(String), message: expect.stringContaining("No news for") });
      expect(Number(trouble.milliseconds)).toBeGreaterThanOrEqual(10_000);
      expect(people.stderr() + programs.stdout()).not.toContain(node.key);
      node.cut = () => null;
      await eventually(() => (/^It answers again\.$/m.test(people.stderr()) ? true : null));
      // By their tags: notices of earlier tests may still be open.
      const receive = async (from: string, tag: string): Promise<string[]> => [
        "receive",
        "--from",
        from,
        "--tag",
        tag,
        "--out",
        await commands.folder(),
      ];
      const [both, other] = [await receive("alice", one.name), await receive("bob", two.name)];
      const all = [people, programs, commands.as("carol", both), commands.as("carol", other)];
      expect(await Promise.all(all.map(({ process }) => process.ended))).toEqual([0, 0, 0, 0]);
    } finally {
      await node.stop();
    }
  });

  it("names the members who did not deliver, when enough others have", async () => {
    const { name } = await commands.file(100);
    const dir = await commands.folder();
    const sending = commands.as("alice", ["send", name, "--to", "bob"]);
    const receive = ["receive", "--from", "alice,carol", "--tag", name, "--out", `${dir}/`];
    const enough = commands.as("bob", [...receive, "--at-least", "1", "--grace", "1s", "--json"]);
    expect(await enough.process.ended).toBe(0);
    const { received, failed } = enough.events().at(-1) as {
      received: { source: string; path: string }[];
      failed: object;
    };
    expect([received.map(({ source }) => source), failed]).toEqual([["alice"], { carol: "TIMEOUT" }]);
    expect(received[0]!.path).toContain(name);
    expect(await sending.process.ended).toBe(0);
    const all = commands.as("bob", [...receive, "--timeout", "1s"]);
    expect(await all.process.ended).toBe(6);
    expect(all.stderr()).toMatch(/Not all payloads have come: carol \(TIMEOUT\)\. \(NOT_ALL_RECEIVED\)\nTo go on: /);
  });
});

it("with --relay self both sides pay for their own statements, also when the relayer can pay for none", async () => {
  const { cast, scene } = commands;
  for (const account of cast.accounts) await scene.rpc("anvil_setBalance", account, toQuantity(10n ** 18n));
  const relayer = ((await scene.rpc("eth_accounts")) as string[])[1]!; // else it may be faster than they are
  const funds = await scene.rpc("eth_getBalance", relayer, "latest");
  await scene.rpc("anvil_setBalance", relayer, "0x0");
  try {
    const { name } = await commands.file(100);
    const dir = await commands.folder();
    const own = ["--relay", "self", "--rpc", scene.stack.rpc, "--json"];
    const sending = commands.as("alice", ["send", name, "--to", "bob", ...own]);
    const { notice } = await noticed(sending);
    const receiving = commands.as("bob", ["receive", "--from", "alice", "--tag", name, "--out", dir, ...own]);
    expect(await receiving.process.ended).toBe(0);
    expect(await sending.process.ended).toBe(0);
    const receipt = sending.events().find(({ event }) => event === "receipt")!;
    expect(receipt).toMatchObject({ recipient: "bob", outcome: "VERIFIED", notice });
    for (const account of cast.accounts.slice(0, 2))
      expect(BigInt(String(await scene.rpc("eth_getTransactionCount", account, "latest")))).toBeGreaterThan(0n);
  } finally {
    await scene.rpc("anvil_setBalance", relayer, funds);
  }
});
