import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { encryptKeystoreJsonSync, Wallet } from "ethers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ALARMS, METRICS } from "../functions/metric-names.ts";
import { startStack } from "../local/stack.ts";
import { blocksOf } from "./infra/support/operator.ts";
import { ROOT, run } from "./support/packed.ts";

// What docs/operate.md says, held against what there is.

let page: string;
let dir: string;
beforeAll(async () => {
  page = await readFile(join(ROOT, "docs/operate.md"), "utf8");
  dir = await mkdtemp(join(ROOT, "try-")); // inside, so that its modules find the package by its name
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** The page's modules, by the name in their first line. */
function moduleOf(name: string): string {
  return blocksOf(page, "js").find((code) => code.startsWith(`// ${name}.mjs`)) ?? "";
}

const WAYBILL = join(ROOT, "dist/cli/waybill.js");

function newAccount(): { address: string; privateKey: string } {
  const { address, privateKey } = Wallet.createRandom();
  return { address, privateKey };
}

const textOf = (path: string): Promise<string> => readFile(join(ROOT, path), "utf8");

describe("docs/operate.md", () => {
  it("makes two keystores that only their owner can read, and that the commands open", async () => {
    const script = blocksOf(page, "sh").find((block) => block.startsWith("for name in deployer owner"))!;
    const made = await run("bash", ["-euc", `umask 077; npx() { shift; node "${WAYBILL}" "$@"; }; ${script}`], dir);
    const accounts = made.stdout.match(/^0x[0-9a-f]{40}$/gm);
    expect([made.code, accounts?.length]).toEqual([0, 2]);
    const names = ["deployer.json", "deployer.password", "owner.json", "owner.password"];
    const modes = await Promise.all(names.map(async (name) => (await stat(join(dir, name))).mode & 0o077));
    expect(modes).toEqual([0, 0, 0, 0]);
    const args = ["relayer", "address", "--keystore", "owner.json", "--password-file", "owner.password"];
    const opened = await run(process.execPath, [WAYBILL, ...args], dir);
    expect(opened.stdout.trim()).toBe(accounts![1]);
  });

  it("leaves nothing behind that git would take in", async () => {
    const programs = blocksOf(page, "js").map((code) => /^\/\/ ([\w.]+)/.exec(code)![1]!);
    const files = page.match(/\b(?:deployer|owner|deployment)\.(?:password|json)\b/g)!;
    const own = [...new Set([...programs, ...files])];
    expect(own).toEqual(expect.arrayContaining(["first.mjs", "owner.password", "deployment.json"]));
    const ignored = (await textOf(".gitignore")).split("\n").filter((line) => /^[\w./*-]+$/.test(line));
    const patterns = ignored.map(
      (line) => new RegExp(`^${line.replace("/", "").replaceAll(".", "\\.").replaceAll("*", "[^/]*")}$`),
    );
    for (const name of [".env.production", ...own])
      expect([name, patterns.some((pattern) => pattern.test(name))]).toEqual([name, true]);
  });

  it("has a first transfer that works as it stands there", async () => {
    const stack = await startStack();
    try {
      await writeFile(join(dir, "first.mjs"), moduleOf("first"));
      await writeFile(join(dir, "deployment.json"), JSON.stringify(stack.deployment));
      const key = encryptKeystoreJsonSync(newAccount(), "secret", { scrypt: { N: 1024, r: 8, p: 1 } });
      await writeFile(join(dir, "first-owner.json"), key);
      await writeFile(join(dir, "first-owner.password"), "secret\n");
      const { code, stdout, stderr } = await run(
        process.execPath,
        ["first.mjs", "first-owner.json", "first-owner.password"],
        dir,
      );
      expect(stderr).toBe("");
      expect(code).toBe(0);
      expect(stdout).toMatch(/^task 0x\w{64} is open\n0x\w{40} verified 20000000 bytes from 0x\w{40}: the same\n$/);
    } finally {
      await stack.stop();
    }
  });

  it("explains every setting of a stage, and none that there isn't", async () => {
    const stages = await textOf("infra/stages.ts");
    const settings = new Set(
      stages
        .match(/WAYBILL_[A-Z_]+/g)!
        .filter((name) => !["WAYBILL_API_ORIGIN", "WAYBILL_BUCKET", "WAYBILL_RPC"].includes(name)),
    );
    const explained = page.slice(page.indexOf("| setting |"), page.indexOf("## 4 Deploy"));
    for (const name of settings) expect(explained).toContain(`\`${name}\``);
    for (const name of explained.match(/WAYBILL_[A-Z_]+/g)!) expect(settings).toContain(name);
  });

  it("says of every alarm what it means and what to do", async () => {
    const alarms = [...(await textOf("infra/alarms.ts")).matchAll(/alarms\.raise\(\s*"(\w+)"/g)].map(
      ([, name]) => name!,
    );
    expect(alarms.length).toBeGreaterThan(5);
    for (const name of [...alarms, ...Object.keys(ALARMS)])
      expect(page).toMatch(new RegExp(`^\\| \`${name}\` \\| .+ \\|`, "m"));
  });

  it("names every metric", () => {
    for (const name of Object.keys(METRICS)) expect(page).toContain(`\`${name}\``);
  });

  it("names only options that the commands have", async () => {
    for (const command of [
      ["contract", "deploy"],
      ["deployment", "complete"],
      ["relayer", "address"],
      ["key", "new"],
      ["key", "show"],
    ]) {
      const { stdout } = await run(process.execPath, [WAYBILL, ...command, "--help"], dir);
      const lines = page.match(new RegExp(`npx waybill ${command.join(" ")}[^\n\`]*`, "g"))!;
      expect(lines.length).toBeGreaterThan(0);
      for (const option of lines.join(" ").match(/--[a-z-]+/g) ?? []) expect(stdout).toContain(`${option} `);
    }
  });
});
