import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Contract, JsonRpcProvider, Wallet } from "ethers";
import { afterAll, beforeAll, expect, it } from "vitest";
import { SharedFileDataChannel, TaskContractor } from "../lib/index.ts";
import { type Stack, startStack } from "../local/stack.ts";
import { ROOT, type Run, run } from "./support/packed.ts";

// The programs of docs/auditor.md, as they stand there, against a task that somebody else has used.

let stack: Stack;
let dir: string;
let page: string;
beforeAll(async () => {
  stack = await startStack();
  dir = await mkdtemp(join(ROOT, "try-auditor-")); // here, so that ethers is found
  page = await readFile(join(ROOT, "docs/auditor.md"), "utf8");
  for (const [, code, name] of page.matchAll(/```js\n(\/\/ (\w+\.mjs).*?)```/gs))
    await writeFile(join(dir, name!), code!);
  await writeFile(join(dir, "deployment.json"), JSON.stringify(stack.deployment));
});
afterAll(async () => {
  await stack?.stop();
  if (dir) await rm(dir, { recursive: true, force: true });
});

const node = (...args: string[]): Promise<Run> => run(process.execPath, args, dir);

it("the auditor's page finds who sent what and who has verified it by a node alone, and tells a file from another", async () => {
  const { deployment, rpc } = stack;
  const [alice, bob, carol] = [Wallet.createRandom(), Wallet.createRandom(), Wallet.createRandom()];
  const members = [alice, bob, carol].map(({ address }) => address);
  const owner = await TaskContractor.open({ signer: alice, members, deployment });
  const { task } = owner;
  const other = new TaskContractor({ task, signer: bob, deployment });
  const third = new TaskContractor({ task, signer: carol, deployment });
  const payload = Buffer.alloc(6_000_000, "weights");
  const [received] = await Promise.all([
    new SharedFileDataChannel(owner).batchSendStream({ target: [bob.address, carol.address], dataStream: payload }),
    new SharedFileDataChannel(other).receiveStream({ source: alice.address }),
    new SharedFileDataChannel(third)
      .receiveStream({ source: alice.address, accept: () => false })
      .catch((error: { code: string }) => expect(error.code).toBe("REFUSED")),
  ]);
  expect(received).toEqual([bob.address]);
  const audited = await node("audit.mjs", rpc, task);
  expect(audited).toMatchObject({ code: 0, stderr: "" });
  const found = JSON.parse(audited.stdout);
  expect(found).toMatchObject({ sender: alice.address, signed: true, verified: [bob.address] });
  await stateBy(byEthers, found.notice, task);
  if ((await run("cast", ["--version"], dir)).code === 0) await stateBy(byCast, found.notice, task);
  const env = { WAYBILL_KEY: bob.privateKey, WAYBILL_DEPLOYMENT: "deployment.json", WAYBILL_TASK: task };
  const path = `/v1/tasks/{task}/notices/${found.notice}?manifest=true`;
  const asked = await run(process.execPath, [join(ROOT, "dist/cli/waybill.js"), "request", "GET", path], dir, env);
  await writeFile(join(dir, "notice.json"), asked.stdout);
  await writeFile(join(dir, "model.bin"), payload);
  expect(await node("same.mjs", "model.bin", found.manifest)).toMatchObject({ code: 0, stdout: "It is the same.\n" });
  payload[5_999_999]! ^= 1;
  await writeFile(join(dir, "model.bin"), payload);
  expect(await node("same.mjs", "model.bin", found.manifest)).toMatchObject({ code: 4 });
  for (const contractor of [owner, other, third]) await contractor.close();
});

/** Asks for the notice's state as the page's `cast` line does. */
async function stateBy(ask: (line: string) => Promise<string[]>, notice: string, task: string): Promise<void> {
  const [line] = /^cast call [^\n]*$/m.exec(page)!;
  const said = { CONTRACT: stack.deployment.contract, TASK: task, PAGE: "0", NOTICE: notice, RPC: stack.rpc };
  const typed = Object.entries(said).reduce((text, [word, value]) => text.replace(` ${word}`, ` ${value}`), line);
  const [deadline, outstanding, verified, withdrawn] = await ask(typed);
  expect(Number(deadline)).toBeGreaterThan(1e9);
  expect([outstanding, verified, withdrawn]).toEqual(["0", "2", "false"]); // the member with index 1
}

const byEthers = async (line: string): Promise<string[]> => {
  const [, contract, name, takes, gives, task, at, notice] =
    /^cast call (\S+) "(\w+)\((.*)\)\((.*)\)" (\S+) (\S+) (\S+) --rpc-url \S+$/.exec(line)!;
  const node = new JsonRpcProvider(stack.rpc, stack.deployment.chainId, { staticNetwork: true });
  const view = new Contract(contract!, [`function ${name}(${takes}) view returns (${gives})`], node);
  const answers = (await view.getFunction(name!)(task, at, notice)) as unknown[];
  node.destroy();
  return answers.map(String);
};

const byCast = async (line: string): Promise<string[]> => {
  const { code, stdout, stderr } = await run("bash", ["-c", line], dir);
  expect(code, stderr).toBe(0);
  return stdout
    .trim()
    .split("\n")
    .map((answer) => answer.split(" ")[0]!);
};
