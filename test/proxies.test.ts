import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Wallet } from "ethers";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { Api } from "../lib/api.ts";
import { Rpc } from "../lib/chain/rpc.ts";
import type { Address, Deployment, WaybillError } from "../lib/index.ts";
import { ProxiedFetch } from "../lib/proxied.ts";
import { type Stack, startStack } from "../local/stack.ts";
import { CA } from "./support/certificate.ts";
import { type Front, startFront } from "./support/fronts.ts";
import { rejection } from "./support/members.ts";
import { ROOT, type Run, run } from "./support/packed.ts";
import { startProxy, type TestProxy } from "./support/proxy.ts";
import { answering, WireServer, whole } from "./support/wire.ts";

// A network whose only way out is a proxy, and whose certificates are its own. The names lead nowhere but through the proxy.

const PASSWORD = "p@ss w0rd";
const BASIC = `Basic ${Buffer.from(`me:${PASSWORD}`).toString("base64")}`;
const proxyUrl = (port: number): string => `http://me:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}`;

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const act of cleanUp.splice(0).reverse()) await act();
});

describe("a participant behind a proxy and a private certificate authority", () => {
  let stack: Stack;
  let proxy: TestProxy;
  let fronts: Record<"api" | "store" | "rpc", Front>;
  let deployment: Deployment;
  let dir: string;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "waybill-test-proxies-"));
    const rewrite = (): [string, string][] => [[stack.deployment.storeOrigin, fronts.store.origin]];
    fronts = {
      api: await startFront(() => stack.deployment.api, rewrite),
      store: await startFront(() => stack.deployment.storeOrigin),
      rpc: await startFront(() => stack.rpc),
    };
    stack = await startStack({ config: { apiOrigin: fronts.api.origin } });
    proxy = await startProxy();
    deployment = {
      ...stack.deployment,
      api: fronts.api.origin,
      storeOrigin: fronts.store.origin,
      rpc: fronts.rpc.origin,
    };
    await writeFile(join(dir, "ca.pem"), CA);
  });
  afterAll(async () => {
    await Promise.allSettled([
      stack?.stop(),
      proxy?.stop(),
      ...Object.values(fronts ?? {}).map((front) => front.stop()),
    ]);
    await rm(dir, { recursive: true, force: true });
  });

  /** Two members in a process: one reads the chain by its own node and pays for itself, the other has HTTPS alone. */
  const TRIP = `
    import { Wallet } from "ethers";
    import { SharedFileDataChannel, TaskContractor } from "./dist/lib/index.js";
    const { rpc, ...deployment } = JSON.parse(process.argv[1]);
    const [alice, bob] = [Wallet.createRandom(), Wallet.createRandom()];
    try {
      const opened = await TaskContractor.open({ signer: alice, members: [alice.address, bob.address], deployment });
      const contractors = [
        opened,
        new TaskContractor({ task: opened.task, signer: alice, deployment: { ...deployment, rpc } }),
        new TaskContractor({ task: opened.task, signer: bob, deployment }),
      ];
      const [, sender, receiver] = contractors.map((contractor) => new SharedFileDataChannel(contractor));
      const dataStream = Buffer.alloc(20_000_000, "weights ");
      const [to, [, data]] = await Promise.all([
        sender.sendStream({ target: bob.address, dataStream, tag: "t" }),
        receiver.receiveStream({ source: alice.address, tag: "t" }),
      ]);
      console.log(JSON.stringify({ verified: to === bob.address, same: Buffer.compare(data, dataStream) === 0 }));
      await Promise.all(contractors.map((contractor) => contractor.close()));
    } catch (error) {
      console.log(JSON.stringify({ code: error.code, retryable: error.retryable, message: error.message }));
    }`;

  function trip(env: NodeJS.ProcessEnv): Promise<Run> {
    const clean = { HTTP_PROXY: "", HTTPS_PROXY: "", ALL_PROXY: "", NO_PROXY: "" };
    const lower = { http_proxy: "", https_proxy: "", all_proxy: "", no_proxy: "" };
    const args = ["--input-type=module", "-e", TRIP, JSON.stringify(deployment)];
    return run(process.execPath, args, ROOT, { ...clean, ...lower, ...env });
  }

  it("opens a task, sends and receives, with functions, store and node reached through the proxy alone", async () => {
    const result = await trip({ HTTPS_PROXY: proxyUrl(proxy.port), NODE_EXTRA_CA_CERTS: join(dir, "ca.pem") });
    expect({ ...result, stdout: JSON.parse(result.stdout) }).toEqual({
      code: 0,
      stderr: "",
      stdout: { verified: true, same: true },
    });
    const hosts = Object.values(fronts).map(({ origin }) => `CONNECT ${new URL(origin).host} ${BASIC}`);
    expect([...new Set(proxy.asked)].sort()).toEqual(hosts.sort());
    for (const front of Object.values(fronts)) expect(front.count).toBeGreaterThan(1);
  });

  it("without the proxy's variable reaches nothing", async () => {
    const { stdout } = await trip({ NODE_EXTRA_CA_CERTS: join(dir, "ca.pem") });
    expect(JSON.parse(stdout)).toMatchObject({ code: "UNREACHABLE" });
  });

  it("without the authority's certificate says which variable names it, and never the password", async () => {
    const result = await trip({ HTTPS_PROXY: proxyUrl(proxy.port) });
    expect(JSON.parse(result.stdout)).toMatchObject({
      code: "UNREACHABLE",
      retryable: false,
      message: expect.stringContaining("NODE_EXTRA_CA_CERTS"),
    });
    expect(JSON.stringify(result)).not.toMatch(/p@ss|p%40ss|w0rd/);
  });
});

describe("what a proxy does not let through", () => {
  const signer = Wallet.createRandom();
  const deployment = { api: "https://api.test", chainId: 1, contract: signer.address } as unknown as Deployment;

  async function words(port: number, url = proxyUrl(port)): Promise<WaybillError[]> {
    const proxied = new ProxiedFetch({ https_proxy: url });
    cleanUp.push(() => proxied.close());
    const account = signer.address.toLowerCase() as Address;
    const api = new Api({ deployment, signer, account, fetch: proxied.fetch });
    const rpc = new Rpc("https://node.test/v2/sekrit-key", { fetch: proxied.fetch });
    const task = `0x${"00".repeat(32)}` as const;
    const asked = [api.statement(task, task), rpc.send("eth_chainId", [])];
    return (await Promise.all(asked.map(rejection))) as WaybillError[];
  }

  it.each([
    [407, false, /wants a user and a password.*\(407\): write HTTPS_PROXY as http:\/\/user:password@host:port/],
    [403, false, /refuses the way to the server \(403\): ask who runs it .* NO_PROXY/],
    [502, true, /can't reach the server either \(502\): try again/],
  ])("(%i) is told in one sentence, with what to do", async (status, retryable, sentence) => {
    const proxy = await startProxy({ refusal: `HTTP/1.1 ${status} No\r\nContent-Length: 0\r\n\r\n` });
    cleanUp.push(proxy.stop);
    const [api, rpc] = await words(proxy.port);
    for (const error of [api!, rpc!]) {
      expect(error).toMatchObject({ name: "WaybillError", retryable, message: expect.stringMatching(sentence) });
      expect(error.message).toContain(`127.0.0.1:${proxy.port}`);
      expect(`${error.stack}${JSON.stringify(error)}`).not.toMatch(/p@ss|p%40ss|w0rd|sekrit|node\.test/);
      expect(error.message.match(/\.( |$)/g)).toHaveLength(1);
    }
    expect([api!.code, rpc!.code]).toEqual(["UNREACHABLE", "UNAVAILABLE"]);
  });

  it("because it is dead is told as its fault, not the server's", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as { port: number };
    await new Promise((resolve) => taken.close(resolve));
    for (const error of await words(port))
      expect(error.message).toBe(
        `The proxy 127.0.0.1:${port} can't be reached (ECONNREFUSED): check HTTPS_PROXY, and that the proxy runs.`,
      );
  });

  it("because it is none that we speak to is a usage error without its value", async () => {
    const [api] = await words(1, "socks5://me:p%40ss@127.0.0.1:1");
    expect(api).toMatchObject({ code: "USAGE", message: expect.stringContaining("HTTPS_PROXY") });
    expect(`${api!.stack}`).not.toContain("p%40ss");
  });

  it("of plain HTTP is told the same way, and what it lets through is the server's own", async () => {
    const server = await WireServer.start(answering(whole("a page", "407 Who")));
    const proxy = await startProxy();
    cleanUp.push(() => server.stop(), proxy.stop);
    const proxied = new ProxiedFetch({ http_proxy: proxyUrl(proxy.port) });
    cleanUp.push(() => proxied.close());
    const refused = await rejection(proxied.fetch(`http://api.test:${server.port}/a?b=c`));
    expect(refused).toMatchObject({ code: "UNREACHABLE", message: expect.stringContaining("(407)") });
    expect(proxy.asked).toEqual([`GET http://api.test:${server.port}/a?b=c ${BASIC}`]);
  });
});

describe("an answer through a proxy", () => {
  async function through(
    reply: string,
    init?: RequestInit,
    then?: (socket: Socket) => void,
  ): Promise<{ answer: Promise<Response> }> {
    const server = await WireServer.start(answering(reply, then));
    const proxy = await startProxy();
    const proxied = new ProxiedFetch({ http_proxy: `127.0.0.1:${proxy.port}` });
    cleanUp.push(
      () => server.stop(),
      proxy.stop,
      () => proxied.close(),
    );
    return { answer: proxied.fetch(`http://api.test:${server.port}/x`, init) };
  }

  it("is whole, however long it is", async () => {
    const text = randomBytes(300_000).toString("base64");
    const { answer } = await through(whole(text));
    expect(await (await answer).text()).toBe(text);
  });

  it("that redirects is handed over, or refused, and never followed", async () => {
    const reply = "HTTP/1.1 302 Found\r\nLocation: http://elsewhere.test/\r\nContent-Length: 0\r\n\r\n";
    expect((await (await through(reply)).answer).status).toBe(302);
    expect(await rejection((await through(reply, { redirect: "error" })).answer)).toBeInstanceOf(TypeError);
  });

  it("that is cut off is an error, and no short answer", async () => {
    const reply = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    const { answer } = await through(reply, {}, (socket) => socket.end());
    expect(await rejection((await answer).text())).toMatchObject({ code: "CUT_SHORT" });
  });

  it("of no body has none, and an aborted request rejects with the signal's own reason", async () => {
    const { answer } = await through("HTTP/1.1 204 No Content\r\n\r\n");
    expect(await (await answer).text()).toBe("");
    const reason = new Error("enough");
    const silent = await through("", { signal: AbortSignal.abort(reason) });
    expect(await rejection(silent.answer)).toBe(reason);
  });
});
