import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Wallet } from "ethers";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { eachOf } from "../functions/crew.ts";
import { SharedFileDataChannel, TaskContractor } from "../lib/index.ts";
import { startAnvil } from "../local/anvil.ts";
import { startStore } from "../local/store/store.ts";
import { ROOT, run } from "./support/packed.ts";
import { type Running, start } from "./support/process.ts";
import { secret } from "./support/secrets.ts";

// `waybill local` as its users run it: the built command, a process of its own.

interface Said {
  readonly api: string;
  readonly store: string;
  readonly rpc: string;
  readonly metrics: string;
  readonly task: string;
  readonly participants: readonly { readonly name: string; readonly account: string; readonly config: string }[];
  readonly commands: readonly string[];
}

let home: string;
const running: Running[] = [];
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "waybill-test-local-"));
});
afterEach(async () => {
  for (const one of running.splice(0)) await one.end();
});
afterAll(() => rm(home, { recursive: true, force: true }));

async function startLocal(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ local: Running; said: Said }> {
  const local = start(["local", "--json", ...args], home, env);
  running.push(local);
  return { local, said: JSON.parse(await local.line()) };
}

const readJson = (...path: string[]) => JSON.parse(readFileSync(resolve(home, ...path), "utf8"));

/** A participant as its files make it, by their paths from the folder of its config file. */
function participant(config: string): { contractor: TaskContractor; names: Record<string, string>; account: string } {
  const { deployment, keystore, passwordFile, task, names } = readJson(config);
  const at = (path: string): string => resolve(home, config, "..", path);
  const password = readFileSync(at(passwordFile), "utf8").split("\n")[0]!;
  secret(password);
  const signer = Wallet.fromEncryptedJsonSync(readFileSync(at(keystore), "utf8"), password);
  const contractor = new TaskContractor({ task, signer, deployment: readJson(at(deployment)) });
  return { contractor, names, account: signer.address.toLowerCase() };
}

async function transfer(said: Said): Promise<void> {
  const [alice, bob] = said.participants.map(({ config }) => participant(config));
  const model = new Uint8Array(6_000_000).fill(7);
  const [verified, [from, received]] = await Promise.all([
    new SharedFileDataChannel(alice!.contractor).sendStream({ target: alice!.names.bob!, dataStream: model, tag: "a" }),
    new SharedFileDataChannel(bob!.contractor).receiveStream({ source: bob!.names.alice!, tag: "a" }),
  ]);
  expect(verified).toBe(bob!.account);
  expect(from).toBe(alice!.account);
  expect(Buffer.compare(received, model)).toBe(0);
  await Promise.all([alice!.contractor.close(), bob!.contractor.close()]);
}

describe("waybill local", () => {
  it("makes participants who can send at once, tells metrics, and ends with Ctrl-C, leaving their keys for the next time", async () => {
    const { local, said } = await startLocal(["--metrics", "127.0.0.1:0"]);
    expect(said.participants.map(({ name }) => name)).toEqual(["alice", "bob", "carol"]);
    expect(said.commands).toEqual([
      `WAYBILL_CONFIG=${join("waybill-local", "bob", "config.json")} waybill receive --from alice`,
      `WAYBILL_CONFIG=${join("waybill-local", "alice", "config.json")} waybill send FILE --to bob`,
    ]);
    for (const { name } of said.participants)
      for (const file of ["keystore.json", "password"])
        expect((await stat(join(home, "waybill-local", name, file))).mode & 0o777).toBe(0o600);
    await transfer(said);
    const metrics = await (await fetch(said.metrics)).text();
    expect(metrics).toMatch(/^waybill_transfers_total\{service="uploads"\} 1$/m);

    // Somebody else's folder is not taken while it is in use.
    const second = await run(process.execPath, [join(ROOT, "dist/cli/waybill.js"), "local"], home);
    expect(second).toMatchObject({ code: 2, stdout: "" });
    expect(second.stderr).toMatch(
      /^Another "waybill local" \(process \d+\) works with waybill-local\. .+ \(USAGE\)\n$/,
    );

    expect(await local.end("SIGINT")).toBe(0);
    expect(local.stderr()).toBe("");
    await expect(fetch(`${said.api}/health`)).rejects.toThrow();

    const again = await startLocal(["--participants", "2"]);
    expect(again.said.participants).toEqual(said.participants.slice(0, 2));
    expect(again.said.task).not.toBe(said.task);
    await transfer(again.said);
  });

  it("uses a chain and a bucket that are there already", async () => {
    const [anvil, store] = [await startAnvil(), await startStore()];
    try {
      const { accessKeyId, secretAccessKey } = store.credentials;
      secret(secretAccessKey);
      const { said } = await startLocal(
        [
          "--dir",
          "given",
          "--rpc",
          anvil.url,
          "--block-time",
          "1000",
          "--s3",
          store.endpoint,
          "--bucket",
          store.bucket,
        ],
        {
          WAYBILL_RELAYER_KEY: anvil.accounts[3]!.privateKey,
          AWS_ACCESS_KEY_ID: accessKeyId,
          AWS_SECRET_ACCESS_KEY: secretAccessKey,
        },
      );
      expect(said).toMatchObject({ rpc: anvil.url, store: store.endpoint });
      await transfer(said);
      expect(await readdir(join(home, "given"))).not.toContain("contract.pending");
    } finally {
      for (const one of running.splice(0)) await one.end();
      await Promise.all([anvil.stop(), store.stop()]);
    }
  });

  it("says in one sentence what is wrong, with its exit code", async () => {
    await mkdir(join(home, "foreign"));
    await writeFile(join(home, "foreign", "thesis.txt"), "");
    const taken = await startLocal(["--dir", "one"]);
    const port = new URL(taken.said.api).port;
    const cases: [string[], number, RegExp][] = [
      [["--dir", "foreign"], 2, /^foreign is there already, and is not a folder of "waybill local"\. .+ \(USAGE\)$/],
      [
        ["--dir", "foreign/thesis.txt"],
        1,
        /^The folder .+ can't be written \((EEXIST|ENOTDIR)\)\. \(TARGET_UNWRITABLE\)$/,
      ],
      [["--dir", "two", "--port", port], 2, /^Nothing can listen on 127\.0\.0\.1:\d+ \(EADDRINUSE\)\. .+ \(USAGE\)$/],
      [["--dir", "three", "--rpc-port", port], 2, /^The chain's port is taken\. .+ \(USAGE\)$/],
      [["--dir", "four", "--s3-port", port], 2, /^The store can't listen on 127\.0\.0\.1:\d+\. \(USAGE\)$/],
      [["--dir", "five", "--s3", "http://127.0.0.1:1"], 2, /^--s3 and --bucket go together.+ \(USAGE\)$/],
      [["--dir", "six", "--rpc", "http://127.0.0.1:1"], 2, /^Say where the relayer's key is.+ \(USAGE\)$/],
      [["--participants", "257"], 2, /^A task is opened with at most 256 participants\. \(USAGE\)$/],
      [["--metrics", "9464"], 2, /host:port.+ \(USAGE\)$/],
    ];
    await eachOf(cases, 3, async ([args, code, words]) => {
      const made = await run(process.execPath, [join(ROOT, "dist/cli/waybill.js"), "local", ...args], home);
      expect(made.stderr.trimEnd()).toMatch(words);
      expect(made).toMatchObject({ code, stdout: "" });
    });
    expect(await readdir(join(home, "foreign"))).toEqual(["thesis.txt"]);
  });
});
