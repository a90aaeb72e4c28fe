import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as face from "../lib/index.ts";
import { type Consumer, packedConsumer, ROOT, type Run, run } from "./support/packed.ts";

// What `npm test` has built, packed and installed in an empty folder: what a participant gets.

let consumer: Consumer;
beforeAll(async () => {
  consumer = await packedConsumer();
});
afterAll(() => consumer?.remove());

const tool = (name: string): string => join(ROOT, "node_modules/.bin", name);

/** Runs a module in the consumer's folder. */
async function runModule(name: string, code: string): Promise<Run> {
  await writeFile(join(consumer.dir, name), code);
  return run(process.execPath, [name], consumer.dir);
}

/** The names of all packages, nested ones too. */
async function installed(): Promise<string[]> {
  const files = await readdir(join(consumer.dir, "node_modules"), { recursive: true });
  const roots = files.map(
    (file) => /^(?:.*\/node_modules\/)?((?:@[^/]+\/)?[^/@.][^/]*)\/package\.json$/.exec(file)?.[1],
  );
  return roots.filter((name) => name !== undefined);
}

async function manifest(): Promise<{ peerDependencies: Record<string, string> }> {
  return JSON.parse(await readFile(join(consumer.dir, "node_modules/waybill/package.json"), "utf8"));
}

describe("the packed package", () => {
  it("brings no AWS SDK, sst or anvil, nor anything else that only local needs", async () => {
    const names = await installed();
    expect(names).toEqual(expect.arrayContaining(["waybill", "ethers", "zod", "canonicalize"]));
    const peers = Object.keys((await manifest()).peerDependencies);
    expect(names.filter((name) => peers.includes(name))).toEqual([]);
    expect(names.filter((name) => /^@?(aws|smithy|sst|foundry|hono|solady|solc)/.test(name))).toEqual([]);
    expect(names.length).toBeLessThan(20);
  });

  it("gives exactly the names of lib/index.ts", async () => {
    const { stdout } = await runModule(
      "names.mjs",
      'console.log(JSON.stringify(Object.keys(await import("waybill"))));',
    );
    expect(JSON.parse(stdout)).toEqual(Object.keys(face).sort());
  });

  it("contains the contract's compilations", async () => {
    const code = `import artifact from "waybill/contract.json" with { type: "json" };
      const { abi, bytecode } = artifact;
      console.log(JSON.stringify([abi.length > 10, ...Object.values(bytecode).map((code) => /^0x[0-9a-f]{10000,}$/.test(code))]));`;
    const { stdout } = await runModule("contract.mjs", code);
    expect(JSON.parse(stdout)).toEqual([true, true, true]);
  });

  it("says in one sentence what waybill/local lacks, with the npm line that adds it", async () => {
    const code = `const error = await import("waybill/local").catch((error) => error);
      console.log(JSON.stringify({ name: error.name, code: error.code, message: error.message }));`;
    const { stdout } = await runModule("local.mjs", code);
    const list = Object.entries((await manifest()).peerDependencies).map(([name, range]) => `"${name}@${range}"`);
    expect(list.length).toBeGreaterThan(5);
    expect(JSON.parse(stdout)).toEqual({
      name: "WaybillError",
      code: "USAGE",
      message: `waybill/local lacks packages that only it needs; add them with: npm install ${list.join(" ")}`,
    });
  });

  it("names every package that it imports as its dependency or its optional peer", async () => {
    const { dependencies, peerDependencies, peerDependenciesMeta } = JSON.parse(
      await readFile(join(ROOT, "package.json"), "utf8"),
    );
    const dist = join(consumer.dir, "node_modules/waybill/dist");
    const files = (await readdir(dist, { recursive: true })).filter((file) => file.endsWith(".js"));
    const imported = new Map<string, string>();
    for (const file of files)
      for (const [, name] of (await readFile(join(dist, file), "utf8")).matchAll(
        /(?:from |import\()"((?:@[^/"]+\/)?[^./"][^/"]*)/g,
      ))
        if (!name!.startsWith("node:") && !name!.startsWith("waybill")) imported.set(name!, file);
    const own = [...Object.keys(dependencies), ...Object.keys(peerDependencies)];
    expect([...imported].filter(([name]) => !own.includes(name))).toEqual([]);
    const inLib = [...imported.keys()].filter((name) => !(name in peerDependencies)).sort();
    expect(inLib).toEqual(Object.keys(dependencies).sort());
    for (const name of Object.keys(peerDependencies)) expect(peerDependenciesMeta[name]).toEqual({ optional: true });
  });

  it("passes publint, suggestions included", async () => {
    const { code, stdout, stderr } = await run(tool("publint"), ["run", consumer.tarball, "--strict"], consumer.dir);
    expect(stdout + stderr).toMatch(/All good!\s*$/);
    expect(code).toBe(0);
  });

  it("passes attw as an ESM package", async () => {
    const args = [consumer.tarball, "--profile", "esm-only", "--no-definitely-typed", "--format", "json"];
    const { code, stdout } = await run(tool("attw"), args, consumer.dir);
    expect(code).toBe(0);
    const { analysis } = JSON.parse(stdout);
    expect(Object.keys(analysis.entrypoints)).toEqual([".", "./local", "./contract.json", "./package.json"]);
  });
});

describe("a TypeScript consumer of the packed package", () => {
  const program = `
import { Wallet } from "ethers";
import { type Deployment, isMessage, SharedFileDataChannel, TaskContractor, type TaskNews, WaybillError } from "waybill";

declare module "waybill" {
  interface MessageKinds {
    evaluated: { round: number; accuracy: number };
  }
}
export const accuracyOf = (news: TaskNews): number | null => (isMessage(news, "evaluated") ? news.body.accuracy : null);
export const evaluated = (contractor: TaskContractor, body: { round: number; accuracy: number }): Promise<unknown> =>
  contractor.post({ kind: "evaluated", body });
// @ts-expect-error an accuracy belongs to it
export const halfEvaluated = (contractor: TaskContractor) => contractor.post({ kind: "evaluated", body: { round: 1 } });

export async function exchange(deployment: Deployment, task: string, peer: string): Promise<Uint8Array> {
  const contractor = new TaskContractor({ task, signer: Wallet.createRandom(), deployment });
  const channel = new SharedFileDataChannel(contractor);
  try {
    const one: string | null = await channel.sendStream({ target: peer, dataStream: new Uint8Array(3), tag: "a" });
    const many: string[] = await channel.batchSendStream({ target: [peer], dataStream: new Blob(["b"]) });
    const [, path]: [string, string] = await channel.receiveStream({ source: peer, to: { path: [...many, one].join() } });
    const [sender, bytes] = await channel.receiveStream({ source: [peer, path], signal: AbortSignal.timeout(1_000) });
    return sender === peer ? bytes : new Uint8Array();
  } catch (error) {
    if (error instanceof WaybillError && error.code === "TIMEOUT" && error.retryable) return new Uint8Array();
    throw error;
  }
}

// @ts-expect-error a bare string is no payload
export const wrong = (channel: SharedFileDataChannel) => channel.sendStream({ target: "a", dataStream: "b" });
// @ts-expect-error there is no such code
export const unknown = (error: WaybillError) => error.code === "NO_SUCH_CODE";
`;

  const consuming = async (): Promise<string> => {
    const readme = await readFile(join(ROOT, "README.md"), "utf8");
    return `${program}
type Given = Record<"task" | "target" | "source" | "tag" | "a" | "b" | "c", string> & { signer: Wallet; deployment: Deployment };
export async function fromTheReadme({ task, target, source, tag, a, b, c, signer, deployment }: Given, dataStream: Blob) {
${/```ts\n(.*?)```/s.exec(readme)?.[1]}
}
`;
  };

  it.each([
    ["nodenext", { module: "nodenext", lib: ["es2023"], types: ["node"] }],
    ["bundler", { module: "esnext", moduleResolution: "bundler", lib: ["es2023", "dom", "dom.iterable"], types: [] }],
  ])("type-checks with %s resolution", async (name, options) => {
    const compilerOptions = {
      ...options,
      target: "es2023",
      strict: true,
      noEmit: true,
    };
    await writeFile(join(consumer.dir, "exchange.ts"), await consuming());
    const config = `tsconfig.${name}.json`;
    await writeFile(join(consumer.dir, config), JSON.stringify({ compilerOptions, files: ["exchange.ts"] }));
    const { code, stdout } = await run(tool("tsc"), ["-p", config], consumer.dir);
    expect(stdout).toBe("");
    expect(code).toBe(0);
  });
});
