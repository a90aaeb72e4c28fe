import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { FunctionFragment, Interface } from "ethers";
import { describe, expect, it } from "vitest";
import { compileFile, type Docs } from "../contracts/build.mjs";
import { waybillAbi } from "../lib/protocol/abi.ts";
import { outcomes, reasonNames } from "../lib/protocol/reasons.ts";
import { itemKinds } from "../lib/protocol/statements.ts";
import { item, Task, World } from "./support/contract.ts";

const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), "utf8");

/** The constants of one library of IWaybill.sol, by name. */
function constantsOf(library: string): Record<string, number> {
  const body = read("contracts/IWaybill.sol").split(`library ${library} {`)[1]!.split("\n}")[0]!;
  const found = body.matchAll(/uint8 internal constant (\w+) = (\d+);/g);
  return Object.fromEntries([...found].map(([, name, value]) => [name, Number(value)]));
}

function told<Entry>({ methods, events, errors }: Docs<Entry>, type: string, signature: string): Entry | undefined {
  if (type === "error") return errors?.[signature]?.[0];
  return (type === "event" ? events : methods)?.[signature];
}

describe("The committed contract", () => {
  // Two whole-program compilations: 15 s here, more on a busy machine; in a process of their own, for they never yield.
  it("is byte for byte what its sources compile to", async () => {
    const folder = mkdtempSync(join(tmpdir(), "waybill-contract-"));
    try {
      const script = fileURLToPath(new URL("../contracts/build.mjs", import.meta.url));
      await promisify(execFile)(process.execPath, [script, folder]);
      for (const path of ["contracts/artifacts/Waybill.json", "lib/protocol/abi.ts"]) {
        expect(readFileSync(join(folder, path), "utf8") === read(path), path).toBe(true);
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it("has an ABI that ethers takes, with every event and view", () => {
    const { fragments } = new Interface(waybillAbi);
    expect(fragments.filter(({ type }) => type === "event")).toHaveLength(9);
    expect(fragments.filter(({ type }) => type === "function")).toHaveLength(7);
  });

  it("fits the 24 KiB that a contract may have", () => {
    const { bytecode } = JSON.parse(read("contracts/artifacts/Waybill.json")) as { bytecode: Record<string, string> };
    for (const code of Object.values(bytecode)) expect(code.length / 2).toBeLessThan(24_576);
  });

  it("works on a chain that knows nothing newer than paris", async () => {
    const world = await World.start({ target: "paris", args: ["--hardfork", "paris"] });
    try {
      const task = await Task.opened(world, 3);
      const notice = await task.noticed([1, 2]);
      const { results } = await world.relay([
        await task.receipts(notice, task.members.slice(1)),
        item(await task.message()),
      ]);
      expect(results).toEqual([["OK", "OK"], ["OK"]]);
    } finally {
      await world.stop();
    }
  });
});

describe("The interface's documentation", () => {
  const { abi, docs } = compileFile("IWaybill.sol").IWaybill!;
  const { fragments } = new Interface(abi);
  const entries = fragments.map((fragment) => ({
    fragment,
    signature: fragment.format("sighash").replace(/^\w+ /, ""),
  }));

  it.each(entries)("tells of $signature what it is, and of every part of it", ({ fragment, signature }) => {
    const user = told(docs.user, fragment.type, signature);
    const dev = told(docs.dev, fragment.type, signature);
    const results = fragment instanceof FunctionFragment ? fragment.outputs : [];
    expect(user?.notice).toMatch(/\w/);
    expect(Object.keys(dev?.params ?? {}).sort()).toEqual(fragment.inputs.map(({ name }) => name).sort());
    expect(Object.keys(dev?.returns ?? {}).sort()).toEqual(results.map(({ name }) => name).sort());
  });
});

describe("The numbers of TypeScript and Solidity are the same", () => {
  it("for reasons", () => {
    expect(constantsOf("Reason")).toEqual(Object.fromEntries(reasonNames.map((name, code) => [name, code])));
  });

  it("for outcomes", () => {
    expect(constantsOf("Outcome")).toEqual(outcomes);
  });

  it("for kinds", () => {
    const kinds = Object.values(constantsOf("Kind"));
    expect(kinds).toEqual(Object.values(itemKinds));
  });
});
