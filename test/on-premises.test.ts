import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { encryptKeystoreJsonSync, JsonRpcProvider, toQuantity, Wallet } from "ethers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BUCKET_CORS } from "../functions/cors.ts";
import { METRICS } from "../functions/metric-names.ts";
import { startAnvil } from "../local/anvil.ts";
import { startStore } from "../local/store/store.ts";
import { ROOT, run } from "./support/packed.ts";
import { secret } from "./support/secrets.ts";

// What docs/on-premises.md says, held against what there is.

let page: string;
let dir: string;
beforeAll(async () => {
  page = await readFile(join(ROOT, "docs/on-premises.md"), "utf8");
  dir = await mkdtemp(join(tmpdir(), "waybill-test-premises-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const blocks = (language: string): string[] =>
  [...page.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "gms"))].map(([, code]) => code!);

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Another key with the same password, which is opened in no time: a dozen commands below open them. */
async function cheapKey(name: string): Promise<string> {
  const { address, privateKey } = Wallet.createRandom();
  const password = (await readFile(join(dir, `${name}.password`), "utf8")).trim();
  const keystore = encryptKeystoreJsonSync({ address, privateKey }, password, { scrypt: { N: 1024, r: 8, p: 1 } });
  await writeFile(join(dir, `${name}.json`), keystore);
  return address;
}

/** A shell of its own group, so that what it leaves in the background ends with it. */
async function shell(
  script: string,
  env: NodeJS.ProcessEnv,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = spawn("bash", ["-e", "-m", "-c", script], {
    cwd: dir,
    env,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (text) => (stdout += text));
  child.stderr.on("data", (text) => (stderr += text));
  const code = await new Promise<number>((resolve) => child.once("exit", (code) => resolve(code ?? -1)));
  // What a script that failed has left in the background holds our pipes.
  for (const stream of [child.stdout, child.stderr]) stream.destroy();
  return { code, stdout, stderr };
}

describe("docs/on-premises.md", () => {
  it("has commands that lead from nothing to an open task, an update and a new key", async () => {
    const [anvil, store] = [await startAnvil({ chainId: 1337 }), await startStore()];
    const ports = { 8080: await freePort(), 8081: await freePort(), 9464: await freePort(), 9465: await freePort() };
    const { accessKeyId, secretAccessKey } = store.credentials;
    secret(secretAccessKey);
    const here: readonly (readonly [string, string])[] = [
      ["http://127.0.0.1:8545", anvil.url],
      ["https://s3.example.org", store.endpoint],
      ["https://waybill.example.org", `http://127.0.0.1:${ports[8080]}`],
      ["AWS_ACCESS_KEY_ID=waybill", `AWS_ACCESS_KEY_ID=${accessKeyId}`],
      ["PUT-THE-SECRET-HERE", secretAccessKey],
      ...Object.entries(ports).map(([from, to]) => [`:${from}`, `:${to}`] as const),
    ];
    const script = blocks("sh").map((code) => here.reduce((text, [from, to]) => text.replaceAll(from, to), code));
    const [keys, ...rest] = script;
    await mkdir(join(dir, "bin"));
    const program = `#!/bin/sh\nexec node ${join(ROOT, "dist/cli/waybill.js")} "$@"\n`;
    await writeFile(join(dir, "bin/waybill"), program, { mode: 0o755 });
    const env = { ...process.env, PATH: `${join(dir, "bin")}${delimiter}${process.env.PATH}`, XDG_STATE_HOME: dir };
    const node = new JsonRpcProvider(anvil.url, 1337, { staticNetwork: true });
    try {
      const made = await shell(keys!, env);
      expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/0x\w{40}[\s\S]*0x\w{40}/) });
      const relayer = await cheapKey("relayer");
      await cheapKey("owner");
      await node.send("anvil_setBalance", [relayer, toQuantity(10n ** 20n)]);
      const { code, stdout, stderr } = await shell(`${rest.join("\n")}\nkill -TERM %2; wait %2`, env);
      expect(stderr).not.toMatch(/\((USAGE|[A-Z_]+)\)$/m);
      expect(code, stderr).toBe(0);
      for (const check of ["chain", "bucket", "clock", "relayer", "origin"])
        expect(stdout).toMatch(new RegExp(`^ok +${check} `, "m"));
      expect(stdout).toContain('{"ok":true}{"ok":true}');
      expect(stdout).toMatch(/^waybill_outbox_depth\{service="publisher"\} \d+$/m);
      expect(stdout).toMatch(/^warning +relayer +The relayer 0x\w{40} has no coin/m); // the new one
      for (const log of ["serve.log", "serve2.log"]) expect(await readFile(join(dir, log), "utf8")).toContain('"left"');
    } finally {
      node.destroy();
      await Promise.all([anvil.stop(), store.stop()]);
    }
  });

  it("explains every variable that serve reads, and names none that it doesn't", async () => {
    const read = await Promise.all(
      [
        "functions/config.ts",
        "functions/cors.ts",
        "functions/publisher.ts",
        "functions/signers.ts",
        "cli/commands/serve.ts",
      ].map((path) => readFile(join(ROOT, path), "utf8")),
    );
    const variables = new Set(read.join("\n").match(/(?:WAYBILL_(?!QUEUE)|AWS_(?:REGION|ACC|SEC))[A-Z0-9_]+/g));
    const explained = page.slice(page.indexOf("| setting"), page.indexOf("## 6 Run it"));
    for (const name of variables) expect(explained).toContain(`\`${name}\``);
    for (const name of page.match(/WAYBILL_[A-Z0-9_]+/g)!) expect([...variables, "WAYBILL_"]).toContain(name);
  });

  it("lists the CORS rules that a page needs of the bucket", () => {
    const rules = /let the bucket's CORS rules allow(.+?)\n\n/s.exec(page)![1]!;
    for (const name of Object.values(BUCKET_CORS).flat()) expect(rules).toContain(name);
  });

  it("names only options and metrics that there are", async () => {
    const { stdout } = await run(process.execPath, [join(ROOT, "dist/cli/waybill.js"), "serve", "--help"], dir);
    for (const [line] of page.matchAll(/waybill serve [^\n`]*/g))
      for (const option of line.match(/--[a-z0-9-]+/g) ?? []) expect(stdout).toContain(`${option} `);
    const told = Object.keys(METRICS).map((name) => name.replaceAll(/(?<=[a-z])(?=[A-Z])/g, "_").toLowerCase());
    for (const name of page.match(/(?<=\bwaybill_)(?!http)[a-z_]+/g)!)
      expect([...told, "outbox"]).toContain(name.replace(/_(seconds|total)$/, ""));
  });
});
