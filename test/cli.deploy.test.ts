import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { DeployChain } from "../cli/deploy/chain.ts";
import { type Anvil, startAnvil } from "../local/anvil.ts";
import { ROOT, type Run, run } from "./support/packed.ts";
import { startProxy } from "./support/proxy.ts";
import { type RpcProxy, startRpcProxy } from "./support/rpcproxy.ts";

// What an operator's commands meet on rarer chains, and behind a proxy.

let anvil: Anvil;
let node: RpcProxy;
let dir: string;
beforeAll(async () => {
  anvil = await startAnvil();
  node = await startRpcProxy(anvil.url);
});
afterAll(async () => {
  await node?.stop();
  await anvil?.stop();
});
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-test-deploy-"));
  node.answer = (_, result) => result;
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const waybill = (args: readonly string[], env: NodeJS.ProcessEnv): Promise<Run> =>
  run(process.execPath, [join(ROOT, "dist/cli/waybill.js"), ...args], dir, env);

it("the artifact for old rules goes to a node that answers a call of nothing with nothing", async () => {
  const chain = await DeployChain.at(node.url);
  try {
    expect(await chain.evm()).toBe("current");
    node.answer = ({ method }, result) => (method === "eth_call" ? "0x" : result);
    expect(await chain.evm()).toBe("paris");
  } finally {
    chain.close();
  }
});

it("a deployment that failed on the chain is over: it leaves no note, and the next run begins anew", {
  timeout: 240_000,
}, async () => {
  const args = ["contract", "deploy", "--chain", "31337", "--confirmations", "0", "--block-time", "1000"];
  const env = { WAYBILL_RPC: node.url, WAYBILL_DEPLOYER_KEY: anvil.accounts[0]!.privateKey };
  node.answer = ({ method }, result) =>
    method === "eth_getTransactionReceipt" && result !== null ? { ...(result as object), status: "0x0" } : result;
  const failed = await waybill(args, env);
  expect([failed.code, failed.stderr]).toEqual([5, expect.stringContaining("run the command again")]);
  expect(await readdir(dir)).toEqual([]);
  node.answer = (_, result) => result;
  const again = await waybill(args, env);
  expect([again.code, existsSync(join(dir, "deployment.json"))]).toEqual([0, true]);
});

it("waybill deployment complete looks at the API by way of the environment's proxy", async () => {
  const [api, proxy] = [await healthy(), await startProxy()];
  try {
    // No resolver knows this name, but the proxy leads it here.
    const origin = `http://api.waybill.test:${(api.address() as AddressInfo).port}`;
    const half = {
      chainId: 1,
      contract: `0x${"a".repeat(40)}`,
      confirmations: 0,
      blockTime: 1000,
      maxBlockAge: 30_000,
    };
    await writeFile(join(dir, "deployment.json"), JSON.stringify(half));
    const args = ["deployment", "complete", "--api", origin, "--store", "https://s3.example"];
    const env = { http_proxy: `http://127.0.0.1:${proxy.port}`, no_proxy: "", NO_PROXY: "" };
    expect(await waybill(args, env)).toMatchObject({ code: 0, stdout: expect.stringContaining(`${origin} answers`) });
    expect(proxy.asked).toEqual([`GET ${origin}/health -`]);
    expect(JSON.parse(await readFile(join(dir, "deployment.json"), "utf8"))).toMatchObject({ api: origin });
  } finally {
    await proxy.stop();
    api.close();
    api.closeAllConnections();
  }
});

async function healthy(): Promise<Server> {
  const server = createServer((_, response) => response.end('{"ok":true}'));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}
