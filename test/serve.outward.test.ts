import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JsonRpcProvider, Wallet } from "ethers";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { API_CORS } from "../functions/cors.ts";
import { type Deployment, SharedFileDataChannel, TaskContractor } from "../lib/index.ts";
import { type Anvil, startAnvil } from "../local/anvil.ts";
import { deployContract } from "../local/contract.ts";
import { startServer } from "../local/server.ts";
import { type Store, startStore } from "../local/store/store.ts";
import { CA } from "./support/certificate.ts";
import { type Front, startFront } from "./support/fronts.ts";
import { ROOT, type Run, run } from "./support/packed.ts";
import { type Running, start } from "./support/process.ts";
import { startProxy, type TestProxy } from "./support/proxy.ts";
import { secret } from "./support/secrets.ts";

// `waybill serve` and what lies between it and others: the proxy of its network, and pages in browsers.

const PAGE = "https://app.example.org";
const PASSWORD = "p@ss w0rd";
const BASIC = `Basic ${Buffer.from(`me:${PASSWORD}`).toString("base64")}`;
const proxyUrl = (port: number): string => `http://me:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}`;
const NO_PROXIES = {
  ...{ HTTP_PROXY: "", HTTPS_PROXY: "", ALL_PROXY: "", NO_PROXY: "" },
  ...{ http_proxy: "", https_proxy: "", all_proxy: "", no_proxy: "" },
};

let dir: string;
let anvil: Anvil;
let store: Store;
let fronts: Record<"store" | "rpc", Front>;
let owner: Wallet;
let environment: NodeJS.ProcessEnv;
let deployment: Omit<Deployment, "api">;
const cleanUp: (() => unknown)[] = [];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-test-outward-"));
  await writeFile(join(dir, "ca.pem"), CA);
  [anvil, store] = await Promise.all([startAnvil(), startStore()]);
  fronts = {
    store: await startFront(() => store.endpoint, undefined, true), // the host is signed
    rpc: await startFront(() => anvil.url),
  };
  const node = new JsonRpcProvider(anvil.url, anvil.chainId, { staticNetwork: true });
  const { contract, block: fromBlock } = await deployContract(new Wallet(anvil.accounts[0]!.privateKey, node));
  node.destroy();
  owner = new Wallet(Wallet.createRandom().privateKey);
  const { accessKeyId, secretAccessKey } = store.credentials;
  const { chainId } = anvil;
  for (const text of [secretAccessKey, PASSWORD, encodeURIComponent(PASSWORD)]) secret(text);
  deployment = {
    ...{ chainId, contract, fromBlock, storeOrigin: fronts.store.origin },
    ...{ confirmations: 0, blockTime: 1000, maxBlockAge: 30_000 },
  };
  environment = {
    ...NO_PROXIES,
    WAYBILL_CHAIN_ID: String(chainId),
    WAYBILL_CONTRACT: contract,
    WAYBILL_FROM_BLOCK: String(fromBlock),
    WAYBILL_RPC: fronts.rpc.origin,
    WAYBILL_CONFIRMATIONS: "0",
    WAYBILL_BLOCK_TIME: "1000",
    WAYBILL_OWNERS: owner.address,
    WAYBILL_MAX_FEE_PER_GAS: "1000000000000",
    WAYBILL_RELAYER_KEY: anvil.accounts[1]!.privateKey,
    WAYBILL_BUCKET: store.bucket,
    WAYBILL_S3_ENDPOINT: fronts.store.origin,
    AWS_REGION: store.region,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    NODE_EXTRA_CA_CERTS: join(dir, "ca.pem"),
  };
});
afterEach(async () => {
  for (const act of cleanUp.splice(0).reverse()) await act();
});
afterAll(async () => {
  await Promise.allSettled([anvil?.stop(), store?.stop(), ...Object.values(fronts ?? {}).map((front) => front.stop())]);
  await rm(dir, { recursive: true, force: true });
});

/** A free port's origin, which a server of ours is to listen at. */
async function originAhead(): Promise<string> {
  const server = await startServer();
  await server.stop();
  return server.origin;
}

async function serve(env: NodeJS.ProcessEnv): Promise<{ api: string; process: Running }> {
  const api = await originAhead();
  const listen = ["--listen", new URL(api).host, "--metrics", "127.0.0.1:0"];
  const process = start(["serve", "--json", ...listen], dir, { ...environment, WAYBILL_API_ORIGIN: api, ...env });
  cleanUp.push(() => process.end("SIGKILL"));
  await process.line();
  return { api, process };
}

function check(env: NodeJS.ProcessEnv): Promise<Run> {
  const api = { WAYBILL_API_ORIGIN: "http://127.0.0.1:1" };
  return run(process.execPath, [join(ROOT, "dist/cli/waybill.js"), "serve", "--check"], dir, {
    ...{ ...environment, ...api, ...env },
  });
}

async function proxyFor(options: { refusal?: string } = {}): Promise<TestProxy> {
  const proxy = await startProxy(options);
  cleanUp.push(proxy.stop);
  return proxy;
}

describe("waybill serve in a network whose only way out is a proxy", () => {
  /** The owner sends to a member, both over the API; both reach the store through the proxy, too. */
  const TRIP = `
    import { Wallet } from "ethers";
    import { SharedFileDataChannel, TaskContractor } from "./dist/lib/index.js";
    const [deployment, key] = process.argv.slice(1);
    const common = { deployment: JSON.parse(deployment) };
    const [alice, bob] = [new Wallet(process.env.OWNER), Wallet.createRandom()];
    const opened = await TaskContractor.open({ ...common, signer: alice, members: [alice.address, bob.address] });
    const other = new TaskContractor({ ...common, task: opened.task, signer: bob });
    const dataStream = Buffer.alloc(12_000_000, "weights ");
    const [to, [, data]] = await Promise.all([
      new SharedFileDataChannel(opened).sendStream({ target: bob.address, dataStream, tag: "t" }),
      new SharedFileDataChannel(other).receiveStream({ source: alice.address, tag: "t" }),
    ]);
    console.log(JSON.stringify({ verified: to === bob.address, same: Buffer.compare(data, dataStream) === 0 }));
    await Promise.all([opened.close(), other.close()]);`;

  it("reaches store and node through it alone, and serves a whole transfer", async () => {
    const proxy = await proxyFor();
    const way = { HTTPS_PROXY: proxyUrl(proxy.port) };
    const { api, process: server } = await serve(way);
    const env = { ...environment, ...way, OWNER: owner.privateKey };
    const args = ["--input-type=module", "-e", TRIP, JSON.stringify({ ...deployment, api })];
    const trip = await run(process.execPath, args, ROOT, env);
    expect({ ...trip, stdout: JSON.parse(trip.stdout || "null") }).toEqual({
      ...{ code: 0, stderr: "", stdout: { verified: true, same: true } },
    });
    const hosts = Object.values(fronts).map(({ origin }) => `CONNECT ${new URL(origin).host} ${BASIC}`);
    expect([...new Set(proxy.asked)].sort()).toEqual(hosts.sort());
    expect(await server.end()).toBe(0);
    expect(server.stderr()).toContain('"left"');
    expect(server.stderr()).not.toMatch(/p@ss|p%40ss|w0rd/);
  });

  it("says with --check that all is well, and what is wrong with the proxy if it isn't", async () => {
    const proxy = await proxyFor();
    const fine = await check({ HTTPS_PROXY: proxyUrl(proxy.port) });
    expect(fine).toMatchObject({ code: 0, stderr: "" });
    const refusal = (status: number): string => `HTTP/1.1 ${status} No\r\nContent-Length: 0\r\n\r\n`;
    const refusing = await proxyFor({ refusal: refusal(403) });
    const refused = await check({ HTTPS_PROXY: proxyUrl(refusing.port) });
    expect(refused.code).toBe(5);
    expect(refused.stdout).toMatch(/^FAILED +chain +No node .+ The proxy 127\.0\.0\.1:\d+ refuses the way .+ \(403\)/m);
    expect(refused.stdout).toMatch(/^FAILED +bucket +The S3 server at store\.test:\d+ .+ The proxy .+ \(403\)/m);
    const excepted = await check({ HTTPS_PROXY: proxyUrl(refusing.port), NO_PROXY: "store.test" });
    expect(excepted.stdout).toMatch(/^FAILED +bucket +No S3 server answers at store\.test:\d+\./m); // no resolver knows it
    const none = await check({ HTTPS_PROXY: "socks5://me:p%40ss@127.0.0.1:1" });
    expect(none).toMatchObject({ code: 2, stdout: "", stderr: expect.stringMatching(/^HTTPS_PROXY .+ \(USAGE\)\n$/) });
    for (const { stdout, stderr } of [refused, excepted, none]) expect(stdout + stderr).not.toMatch(/p@ss|p%40ss|w0rd/);
  });
});

describe("waybill serve for pages in browsers", () => {
  /** `fetch` as a browser has it for a page: it asks beforehand, sends what was allowed, and shows what is exposed. */
  function browser(origin: string, asked: string[]): typeof fetch {
    return async (input, init = {}) => {
      const headers = new Headers(init.headers);
      const method = init.method ?? "GET";
      const names = [...headers.keys()].filter((name) => !["accept"].includes(name)).sort();
      const preflight = await fetch(input, {
        method: "OPTIONS",
        headers: {
          ...{ origin, "access-control-request-method": method },
          "access-control-request-headers": names.join(","),
        },
      });
      const listed = (name: string): string[] => (preflight.headers.get(name) ?? "").toLowerCase().split(/, */);
      asked.push(`${method} ${names.join(" ")}`);
      const mayAsk = preflight.ok && preflight.headers.get("access-control-allow-origin") === origin;
      const mayUse = listed("access-control-allow-methods").includes(method.toLowerCase());
      if (!mayAsk || !mayUse || !names.every((name) => listed("access-control-allow-headers").includes(name)))
        throw new TypeError("Failed to fetch");
      const answer = await fetch(input, { ...init, headers: { ...Object.fromEntries(headers), origin } });
      if (answer.headers.get("access-control-allow-origin") !== origin) throw new TypeError("Failed to fetch");
      const exposed = (answer.headers.get("access-control-expose-headers") ?? "").toLowerCase().split(/, */);
      const safe = ["content-type", "content-length", "cache-control"];
      const seen = [...answer.headers].filter(([name]) => [...exposed, ...safe].includes(name));
      return new Response(answer.body, { status: answer.status, headers: seen });
    };
  }

  it("lets a page of a listed origin take part, waiting for events too, and no other page", async () => {
    const { api } = await serve({
      ...{ WAYBILL_ORIGINS: `${PAGE}, http://localhost:5173`, WAYBILL_RPC: anvil.url },
      WAYBILL_S3_ENDPOINT: store.endpoint,
    });
    const common = { deployment: { ...deployment, api, storeOrigin: store.endpoint } };
    const asked: string[] = [];
    const [alice, bob] = [owner, Wallet.createRandom()];
    const members = [alice.address, bob.address];
    const opened = await TaskContractor.open({ ...common, signer: alice, members, fetch: browser(PAGE, asked) });
    const page = browser("http://localhost:5173", asked);
    const other = new TaskContractor({ ...common, task: opened.task, signer: bob, fetch: page });
    const dataStream = new TextEncoder().encode("weights");
    const [to] = await Promise.all([
      new SharedFileDataChannel(opened).sendStream({ target: bob.address, dataStream, tag: "t" }),
      new SharedFileDataChannel(other).receiveStream({ source: alice.address, tag: "t" }),
    ]);
    expect(to).toBe(bob.address);
    await Promise.all([opened.close(), other.close()]);
    const used = new Set(asked.flatMap((one) => one.split(" ").slice(1)));
    expect([...used].sort()).toEqual([...API_CORS.headers].sort()); // nothing is allowed that nobody needs

    for (const origin of ["https://app.example.org.evil.example", "http://app.example.org", "null"]) {
      const preflight = await fetch(`${api}/v1/tasks`, {
        ...{ method: "OPTIONS", headers: { origin, "access-control-request-method": "POST" } },
      });
      expect(preflight.headers.get("access-control-allow-origin")).toBeNull();
      await expect(browser(origin, [])(`${api}/health`)).rejects.toThrow("Failed to fetch");
    }
    const refused = await fetch(`${api}/v1/tasks/nonsense`, { headers: { origin: PAGE } });
    expect([refused.status, refused.headers.get("access-control-allow-origin")]).toEqual([401, PAGE]); // and so it can be read
  });

  it("lets none in without a list, and refuses a list that says something else", async () => {
    const env = { WAYBILL_RPC: anvil.url, WAYBILL_S3_ENDPOINT: store.endpoint };
    const { api } = await serve(env);
    const preflight = await fetch(`${api}/v1/tasks`, {
      ...{ method: "OPTIONS", headers: { origin: PAGE, "access-control-request-method": "POST" } },
    });
    expect([preflight.status, preflight.headers.get("access-control-allow-origin")]).toEqual([404, null]);
    for (const list of ["*", `${PAGE}/`, "https://*.example.org"]) {
      const refused = await check({ ...env, WAYBILL_ORIGINS: list });
      expect(refused).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/^WAYBILL_ORIGINS must be .+ \(USAGE\)\n$/),
      });
    }
  });
});
