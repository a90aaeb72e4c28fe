import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as face from "../lib/index.ts";
import { startStack } from "../local/stack.ts";
import { type Consumer, packedConsumer, ROOT, type Run, run } from "./support/packed.ts";

// What `npm test` has built, packed and installed in an empty folder: what a participant gets.

/** Where an operator's credentials are looked for. */
const CHAIN = "@aws-sdk/credential-provider-node";
/** The peers that a stack on one machine does without. */
const CLOUD = ["@aws-lambda-powertools/metrics", CHAIN, "prom-client"];

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

  it("loads what speaks to a KMS only when a key lies in one, and the S3 SDK for uploads alone", async () => {
    const functions = join(consumer.dir, "node_modules/waybill/dist/functions");
    const importing = async (pattern: RegExp): Promise<string[]> => {
      const files = (await readdir(functions)).filter((file) => file.endsWith(".js"));
      const texts = await Promise.all(files.map((file) => readFile(join(functions, file), "utf8")));
      return files.filter((_, i) => pattern.test(texts[i]!));
    };
    expect(await importing(new RegExp(CHAIN))).toEqual(["credentials.js"]);
    expect(await importing(/"@aws-sdk\/client-/)).toEqual(["store.js"]);
    expect(await importing(/(?<!import\()["']\.\/kms\.js["']/)).toEqual([]);
    expect(await importing(/import\("\.\/kms\.js"\)/)).toEqual(["signers.js"]);
  });

  it("says in one sentence what waybill/local lacks, with the npm line that adds it", async () => {
    const code = `const error = await import("waybill/local").catch((error) => error);
      console.log(JSON.stringify({ name: error.name, code: error.code, message: error.message }));`;
    const { stdout } = await runModule("local.mjs", code);
    const peers = Object.entries((await manifest()).peerDependencies);
    const list = peers.filter(([name]) => !CLOUD.includes(name)).map(([name, range]) => `"${name}@${range}"`);
    expect(list.length).toBeGreaterThan(5);
    expect(JSON.parse(stdout)).toEqual({
      name: "WaybillError",
      code: "USAGE",
      message: `waybill/local lacks packages that only it needs; add them with: npm install ${list.join(" ")}`,
    });
  });

  it.each([
    ["local", ["local"], /@foundry-rs\/anvil@/],
    ["local --metrics", ["local", "--metrics", "127.0.0.1:0"], /prom-client@/],
    ["serve", ["serve"], /prom-client@/],
  ])("says in one sentence what waybill %s lacks, with the npm line that adds it", async (_name, args, one) => {
    const command = join(consumer.dir, "node_modules/.bin/waybill");
    const { code, stdout, stderr } = await run(command, args, consumer.dir);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(
      /^waybill \w+ lacks packages that only it needs; add them with: npm install "[^\n]+ \(USAGE\)\n$/,
    );
    expect(stderr).toMatch(one);
    expect(await readdir(consumer.dir)).not.toContain("waybill-local");
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

  it("passes publint", async () => {
    const { code, stdout, stderr } = await run(
      tool("publint"),
      ["run", consumer.tarball, "--strict", "--level", "warning"],
      consumer.dir,
    );
    // It colours its words where CI=true.
    expect(stripVTControlCharacters(stdout + stderr)).toMatch(/All good!\s*$/);
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
    ["nodenext", { module: "nodenext", lib: ["es2023"], types: [] }],
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

describe("a browser's bundle of the packed package", () => {
  /** What a browser has none of. A bundle that needed it would fail like there. */
  const NO_NODE = Object.fromEntries(
    ["process", "Buffer", "global", "globalThis.process", "globalThis.Buffer"].map((name) => [name, "undefined"]),
  );

  async function bundle(name: string, code: string, define: Record<string, string> = {}): Promise<string> {
    const entry = join(consumer.dir, `${name}.entry.js`);
    await writeFile(entry, code);
    const outfile = join(consumer.dir, `${name}.mjs`);
    const options = { bundle: true, platform: "browser", format: "esm", target: "es2023", minify: true } as const;
    const quiet = { logLevel: "silent", metafile: true } as const;
    const built = await build({ ...options, ...quiet, entryPoints: [entry], outfile, define });
    expect([...built.errors, ...built.warnings]).toEqual([]);
    expect(Object.values(built.metafile.outputs).flatMap(({ imports }) => imports)).toEqual([]);
    return outfile;
  }

  it("is made without anything of Node, and stays small", async () => {
    const text = await readFile(await bundle("all", 'export * from "waybill";'), "utf8");
    // Named only to ask the process whether it has them.
    expect(text.match(/(?<!getBuiltinModule(\?\.)?\()["'`]node:\w+/g)).toBe(null);
    expect(gzipSync(text).length).toBeLessThan(160 * 1024);
  });

  it("makes a round trip where there is neither process nor Buffer", async () => {
    const code = `
      import { Wallet } from "ethers";
      import { SharedFileDataChannel, TaskContractor } from "waybill";
      export async function exchange(deployment) {
        const [alice, bob] = [Wallet.createRandom(), Wallet.createRandom()];
        const members = [alice.address, bob.address];
        const { task } = await TaskContractor.open({ signer: alice, members, deployment });
        const channelOf = (signer) => new SharedFileDataChannel(new TaskContractor({ task, signer, deployment }));
        const weights = new Blob(["weights ".repeat(2_000_000)]);
        const [receiver, [sender, stream]] = await Promise.all([
          channelOf(alice).sendStream({ target: bob.address, dataStream: weights, tag: "round-1" }),
          channelOf(bob).receiveStream({ source: alice.address, tag: "round-1", to: "stream" }),
        ]);
        const errors = [
          channelOf(alice).sendStream({ target: bob.address, dataStream: { path: "model.bin" } }),
          channelOf(bob).receiveStream({ source: alice.address, to: { path: "model.bin" } }),
          new TaskContractor({ task, signer: bob, deployment, stateDir: "state" }).members(),
        ].map((call) => call.catch(({ code, message }) => ({ code, message })));
        const same = (await new Response(stream).text()) === (await weights.text());
        const agreed = receiver === bob.address && sender === alice.address;
        return { bare: typeof process, agreed, same, errors: await Promise.all(errors) };
      }`;
    const program = await bundle("trip", code, NO_NODE);
    const runner = `globalThis.self = globalThis; // as in every browser
      const { exchange } = await import(${JSON.stringify(program)});
      console.log(JSON.stringify(await exchange(JSON.parse(process.argv[2]))));`;
    await writeFile(join(consumer.dir, "browse.mjs"), runner);
    const stack = await startStack();
    try {
      const args = ["browse.mjs", JSON.stringify(stack.deployment)];
      const { stdout, stderr } = await run(process.execPath, args, consumer.dir);
      expect(stderr).toBe("");
      expect(JSON.parse(stdout)).toEqual({
        bare: "undefined",
        agreed: true,
        same: true,
        errors: [
          { code: "USAGE", message: expect.stringContaining("Send a Blob") },
          { code: "USAGE", message: expect.stringContaining('must be "bytes" or "stream"') },
          { code: "USAGE", message: expect.stringContaining("stateDir") },
        ],
      });
    } finally {
      await stack.stop();
    }
  });
});
