import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { request as httpsRequest } from "node:https";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as tlsConnect } from "node:tls";
import { encryptKeystoreJsonSync, JsonRpcProvider, Wallet } from "ethers";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { eachOf } from "../functions/crew.ts";
import { Api } from "../lib/api.ts";
import { type Address, type Deployment, isMessage, SharedFileDataChannel, TaskContractor } from "../lib/index.ts";
import type { Hex } from "../lib/protocol/hex.ts";
import { type Anvil, startAnvil } from "../local/anvil.ts";
import { deployContract } from "../local/contract.ts";
import { type Store, startStore } from "../local/store/store.ts";
import { CA, CERTIFICATE, KEY } from "./support/certificate.ts";
import { ROOT, type Run, run } from "./support/packed.ts";
import { type Running, start } from "./support/process.ts";
import { secret } from "./support/secrets.ts";

// `waybill serve` as an operator runs it: the built command as a process, over a store and a chain that are not its own.

let dir: string;
let anvil: Anvil;
let store: Store;
let deployed: Awaited<ReturnType<typeof deployContract>>;
let owner: Wallet;
let proxy: Proxy;
let deployment: Deployment;
let environment: NodeJS.ProcessEnv;
const running: Running[] = [];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-test-serve-"));
  [anvil, store] = await Promise.all([startAnvil(), startStore()]);
  const node = new JsonRpcProvider(anvil.url, anvil.chainId, { staticNetwork: true });
  deployed = await deployContract(new Wallet(anvil.accounts[0]!.privateKey, node));
  node.destroy();
  owner = new Wallet(Wallet.createRandom().privateKey);
  proxy = await startProxy();
  const { accessKeyId, secretAccessKey } = store.credentials;
  secret(secretAccessKey);
  const { chainId } = anvil;
  const { contract, block: fromBlock } = deployed;
  const timing = { confirmations: 0, blockTime: 1000, maxBlockAge: 30_000 };
  deployment = { api: proxy.origin, chainId, contract, fromBlock, storeOrigin: store.endpoint, ...timing };
  const keystore = encryptKeystoreJsonSync(anvil.accounts[1]!, "sekrit", { scrypt: { N: 1024, r: 8, p: 1 } });
  await writeFile(join(dir, "relayer.json"), keystore);
  await writeFile(join(dir, "relayer.password"), "sekrit\n");
  environment = {
    WAYBILL_API_ORIGIN: deployment.api,
    WAYBILL_CHAIN_ID: String(chainId),
    WAYBILL_CONTRACT: contract,
    WAYBILL_FROM_BLOCK: String(fromBlock),
    WAYBILL_RPC: anvil.url,
    WAYBILL_CONFIRMATIONS: "0",
    WAYBILL_BLOCK_TIME: "1000",
    WAYBILL_OWNERS: owner.address,
    WAYBILL_MAX_FEE_PER_GAS: "1000000000000",
    WAYBILL_RELAYER_KEYSTORE: "relayer.json",
    WAYBILL_RELAYER_PASSWORD_FILE: "relayer.password",
    WAYBILL_BUCKET: store.bucket,
    WAYBILL_S3_ENDPOINT: store.endpoint,
    WAYBILL_LISTEN: "127.0.0.1:0",
    WAYBILL_METRICS: "127.0.0.1:0",
    AWS_REGION: store.region,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
  };
});
afterEach(async () => {
  for (const one of running.splice(0)) await one.end("SIGKILL");
});
afterAll(async () => {
  await Promise.all([anvil?.stop(), store?.stop(), proxy?.stop()]);
  await rm(dir, { recursive: true, force: true });
});

/** What stands before the servers: members know its origin alone, and it leads to the one that is named last. */
interface Proxy {
  readonly origin: string;
  leadTo(served: Served): void;
  stop(): Promise<void>;
}

async function startProxy(): Promise<Proxy> {
  let target = 0;
  const server: Server = createServer((socket) => {
    const onward = connect(target, "127.0.0.1");
    socket.pipe(onward).pipe(socket);
    for (const [one, other] of [
      [socket, onward],
      [onward, socket],
    ] as const)
      one.on("error", () => other.destroy()).on("close", () => other.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    leadTo: ({ said }) => {
      target = Number(new URL(said.origin).port);
    },
    stop: () => new Promise((resolve) => void server.close(() => resolve())),
  };
}

interface Served {
  readonly serve: Running;
  readonly said: { readonly api: string; readonly origin: string; readonly metrics: string | null };
}

async function startServe(args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Promise<Served> {
  const serve = start(["serve", "--json", ...args], dir, { ...environment, ...env });
  running.push(serve);
  const served = { serve, said: JSON.parse(await serve.line()) };
  proxy.leadTo(served);
  return served;
}

function check(env: NodeJS.ProcessEnv = {}, args: readonly string[] = []): Promise<Run> {
  const command = [join(ROOT, "dist/cli/waybill.js"), "serve", "--check", ...args];
  return run(process.execPath, command, dir, { ...environment, ...env });
}

/** A new task of the owner's with two members, who take part over the API. */
async function cast(): Promise<{ task: Hex; alice: TaskContractor; bob: TaskContractor; close(): Promise<void> }> {
  const [alice, bob] = [Wallet.createRandom(), Wallet.createRandom()];
  const members = [alice.address, bob.address];
  const opened = await TaskContractor.open({ signer: owner, members, deployment });
  const { task } = opened;
  const [first, second] = [alice, bob].map((signer) => new TaskContractor({ task, signer, deployment }));
  const all = [opened, first!, second!];
  return {
    task,
    alice: first!,
    bob: second!,
    close: async () => void (await Promise.all(all.map((one) => one.close()))),
  };
}

/** The log's lines; each is JSON. */
function linesOf({ serve }: Served): Record<string, unknown>[] {
  return serve
    .stderr()
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

/** Until so many requests are being answered. */
async function untilRunning({ said }: Served, count: number): Promise<void> {
  for (;;) {
    const told = await metricsOf(said);
    if (told.get("waybill_http_requests_running")! >= count) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function metricsOf({ metrics }: Served["said"]): Promise<Map<string, number>> {
  return parsed(await (await fetch(metrics!)).text());
}

describe("waybill serve", () => {
  it("serves members, publishes for them, and tells metrics to its operator alone", async () => {
    const served = await startServe();
    const { alice, bob, close } = await cast();
    const [source, target] = (await alice.members()).map(({ account }) => account);
    const model = new Uint8Array(6_000_000).fill(3);
    const [verified, [, received]] = await Promise.all([
      new SharedFileDataChannel(alice).sendStream({ target: target!, dataStream: model, tag: "a" }),
      new SharedFileDataChannel(bob).receiveStream({ source: source!, tag: "a" }),
    ]);
    expect(verified).toBe(target);
    expect(Buffer.compare(received, model)).toBe(0);
    await close();

    const told = await metricsOf(served.said);
    expect(told.get('waybill_transfers_total{service="uploads"}')).toBe(1);
    expect(told.get('waybill_transfer_bytes_total{service="uploads"}')).toBe(6_000_000);
    expect(told.get('waybill_statements_settled_total{service="publisher"}')).toBeGreaterThanOrEqual(2);
    expect(told.get('waybill_outbox_oldest_age_seconds{service="publisher"}')).toBeGreaterThanOrEqual(0);
    expect(told.get('waybill_swept_payloads_total{service="sweeper"}')).toBe(0);
    expect(told.get("process_resident_memory_bytes")).toBeGreaterThan(1e6);
    const begun = 'waybill_http_request_seconds_count{route="POST /v1/tasks/{task}/transfers",status="200"}';
    expect(told.get(begun)).toBe(1);
    const monitor = new URL(served.said.metrics!).origin;
    expect(await (await fetch(`${monitor}/ready`)).json()).toEqual({ ok: true });
    for (const path of ["/metrics", "/ready"]) expect((await fetch(`${deployment.api}${path}`)).status).toBe(404);
    expect((await fetch(`${deployment.api}/health`)).status).toBe(200);

    expect(await served.serve.end()).toBe(0);
    const messages = linesOf(served).map(({ message }) => message);
    expect(messages).toEqual(expect.arrayContaining(["serving", "request", "settled", "leaving", "left"]));
  });

  it("leaves in order: long polls end with their empty answer, /health says so, and then nobody is let in", async () => {
    const served = await startServe(["--drain-wait", "2000"]);
    const { task, close } = await cast();
    await close(); // it would wait for events, too
    const api = new Api({ deployment, signer: owner, account: owner.address.toLowerCase() as Address });
    const never = new AbortController().signal;
    const newest = await api.newest(task, never);
    const poll = api.events(task, newest.next, never);
    await untilRunning(served, 1);
    served.serve.child.kill("SIGTERM");
    expect(await poll).toMatchObject({ events: [], next: { seq: newest.next.seq } });
    const silent = connect(Number(new URL(served.said.origin).port), "127.0.0.1"); // asks for nothing, and must hold nobody up
    await once(silent, "connect");
    const health = await fetch(`${deployment.api}/health`);
    expect([health.status, await health.json()]).toEqual([503, { ok: false, state: "draining" }]);
    expect(await served.serve.ended).toBe(0);
    expect(linesOf(served).map(({ message }) => message)).toContain("left");
    await expect(fetch(`${deployment.api}/health`)).rejects.toThrow();
  });

  it("hands over to another one in the midst of uploads and of publishing, and nobody notices", async () => {
    const first = await startServe();
    const { alice, bob, close } = await cast();
    const [source, target] = (await alice.members()).map(({ account }) => account);
    const next = start(["serve", "--json"], dir, environment);
    running.push(next);
    const second = { serve: next, said: JSON.parse(await next.line()) };
    const models = Array.from({ length: 4 }, (_, i) => randomBytes(6_000_000 + i));
    const sent = models.map((dataStream, i) =>
      new SharedFileDataChannel(alice).sendStream({ target: target!, dataStream, tag: `${i}` }),
    );
    const received = models.map((_, i) =>
      new SharedFileDataChannel(bob).receiveStream({ source: source!, tag: `${i}` }),
    );
    await untilRunning(first, 3);
    proxy.leadTo(second);
    expect(await first.serve.end()).toBe(0);
    expect(await Promise.all(sent)).toEqual(models.map(() => target));
    const all = await Promise.all(received);
    for (const [i, [, bytes]] of all.entries()) expect(Buffer.compare(bytes, models[i]!)).toBe(0);
    await close();
  });

  it("loses no statement to kill -9, whoever publishes it then", async () => {
    const first = await startServe(["--no-publisher"], { WAYBILL_RELAYER_KEYSTORE: "" });
    const publisher = await startServe(["--no-sweeper"]);
    const { alice, bob, close } = await cast();
    await publisher.serve.end();
    proxy.leadTo(first);
    const posts = Array.from({ length: 8 }, (_, round) => alice.post({ kind: "start_round", body: { round } }));
    const route = 'waybill_http_request_seconds_count{route="POST /v1/tasks/{task}/messages",status="202"}';
    while (((await metricsOf(first.said)).get(route) ?? 0) < 8) await new Promise((resolve) => setTimeout(resolve, 20));
    await first.serve.end("SIGKILL");
    const second = await startServe();
    await Promise.all(posts);
    const rounds: unknown[] = [];
    for await (const news of new TaskContractor({ ...{ task: bob.task, deployment }, signer: owner, from: 1 }).events({
      timeout: 1_000,
    }))
      if (isMessage(news, "start_round")) rounds.push((news.body as { round: number }).round);
    expect(rounds.sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(await second.serve.end()).toBe(0);
    expect(linesOf(second).map(({ message }) => message)).toContain("left"); // although somebody waits for news
    await close();
  });

  it("speaks TLS itself, cuts off whoever sends no request, and ends at once when asked twice", async () => {
    await writeFile(join(dir, "cert.pem"), CERTIFICATE);
    await writeFile(join(dir, "key.pem"), KEY);
    const tls = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    const origin = { WAYBILL_API_ORIGIN: "https://store.test" };
    const served = await startServe([...tls, "--max-connections", "2", "--drain-wait", "60000"], origin);
    expect(served.said.origin).toMatch(/^https:/);
    const { port } = new URL(served.said.origin);
    const health = await new Promise<number>((resolve, reject) => {
      const asked = httpsRequest({ host: "127.0.0.1", port, path: "/health", ca: CA, agent: false }, (response) => {
        response.resume().on("end", () => resolve(response.statusCode!));
      });
      asked.on("error", reject).end();
    });
    expect(health).toBe(200);

    const slow = tlsConnect({ host: "127.0.0.1", port: Number(port), ca: CA });
    await once(slow, "secureConnect");
    slow.write("GET /health HTTP/1.1\r\nHost: "); // and never more
    const answer = once(slow, "data");
    const second = tlsConnect({ host: "127.0.0.1", port: Number(port), ca: CA });
    await once(second, "secureConnect");
    const third = connect(Number(port), "127.0.0.1");
    await once(third, "close"); // one too many
    expect(String((await answer)[0])).toMatch(/^HTTP\/1\.1 408 /);
    served.serve.child.kill("SIGTERM");
    while (!served.serve.stderr().includes('"leaving"')) await once(served.serve.child.stderr!, "data");
    served.serve.child.kill("SIGTERM");
    expect(await served.serve.ended).toBe(130);
    for (const socket of [slow, second]) socket.destroy();
  });
});

describe("waybill serve --check", () => {
  it("says that all is well, leaves nothing in the bucket, and warns of what isn't fatal", async () => {
    const fine = await check({}, ["--json"]);
    expect(fine).toMatchObject({ code: 0, stderr: "" });
    const { ok, checks } = JSON.parse(fine.stdout);
    expect(ok).toBe(true);
    expect(checks.map(({ check, state }: Record<string, string>) => `${check} ${state}`)).toEqual([
      ...["chain ok", "bucket ok", "clock ok", "relayer ok", "origin ok"],
    ]);
    const poor = await check({
      WAYBILL_RELAYER_KEYSTORE: "",
      WAYBILL_RELAYER_PASSWORD_FILE: "",
      WAYBILL_RELAYER_KEY: Wallet.createRandom().privateKey,
      WAYBILL_RPC: `${anvil.url},http://127.0.0.1:1`,
    });
    expect(poor).toMatchObject({ code: 0, stderr: "" });
    expect(poor.stdout).toMatch(/^warning chain +1 of 2 nodes of WAYBILL_RPC do not answer\.$/m);
    expect(poor.stdout).toMatch(/^warning relayer +The relayer 0x\w{40} has no coin: .+$/m);
  });

  it("says in one sentence what is wrong, with its exit code", async () => {
    const cases: [NodeJS.ProcessEnv, string[], number, RegExp][] = [
      [
        { WAYBILL_CONTRACT: "", WAYBILL_OWNERS: "*" },
        [],
        2,
        /^These .+: WAYBILL_CONTRACT, WAYBILL_OWNERS\. \(USAGE\)$/,
      ],
      [
        { WAYBILL_RELAYER_PASSWORD_FILE: "none" },
        [],
        2,
        /^The relayer's password file can't be read \(ENOENT\)\. \(USAGE\)$/,
      ],
      [{ WAYBILL_RELAYER_KEYSTORE: "" }, [], 2, /^Set exactly one of WAYBILL_RELAYER_KMS_KEY.+ \(USAGE\)$/],
      [{ WAYBILL_MAX_FEE_PER_GAS: "" }, [], 2, /^Set WAYBILL_MAX_FEE_PER_GAS to .+ \(USAGE\)$/],
      [{ WAYBILL_RPC: "http://127.0.0.1:1" }, [], 5, /^No node of WAYBILL_RPC answers\. .+ \(UNREACHABLE\)$/],
      [{ WAYBILL_CHAIN_ID: "1" }, [], 2, /^The RPC node serves chain 31337, not 1\. .+ \(WRONG_CHAIN\)$/],
      [
        { WAYBILL_CONTRACT: owner.address },
        [],
        2,
        /^On chain 31337 there is no Waybill contract at .+ \(WRONG_CHAIN\)$/,
      ],
      [{ WAYBILL_BUCKET: "other" }, [], 2, /^There is no bucket other at 127\.0\.0\.1:\d+\. .+ \(USAGE\)$/],
      [
        { WAYBILL_S3_ENDPOINT: "http://127.0.0.1:1" },
        [],
        5,
        /^No S3 server answers at 127\.0\.0\.1:1\. .+ \(UNREACHABLE\)$/,
      ],
      [
        { AWS_SECRET_ACCESS_KEY: "sekrit-other" },
        [],
        3,
        /^The store at .+ does not let us use the bucket waybill .+ \(UNAUTHENTICATED\)$/,
      ],
      [{}, ["--tls-cert", "cert.pem"], 2, /^--tls-cert and --tls-key go together\. \(USAGE\)$/],
      [{}, ["--listen", "8080"], 2, /host:port.+ \(USAGE\)$/],
    ];
    await eachOf(cases, 4, async ([env, args, code, words]) => {
      const made = await check(env, args);
      expect(made.stderr.trimEnd()).toMatch(words);
      expect(made.code, made.stderr).toBe(code);
    });
  });

  it("says what keeps it from listening", async () => {
    const { said } = await startServe();
    const { host } = new URL(said.origin);
    const command = [join(ROOT, "dist/cli/waybill.js"), "serve", "--listen", host];
    const made = await run(process.execPath, command, dir, environment);
    expect(made).toMatchObject({ code: 2, stdout: "" });
    expect(made.stderr).toMatch(/^Nothing can listen on 127\.0\.0\.1:\d+ \(EADDRINUSE\)\. .+ \(USAGE\)\n$/);
  });
});

/** As Prometheus would read it. */
function parsed(text: string): Map<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => {
      const [, name, value] = /^([a-z_0-9:]+(?:\{(?:\w+="[^"]*",?)*\})?) (\S+)$/i.exec(line) ?? [];
      expect(name, line).toBeDefined();
      return [name!, Number(value)];
    }),
  );
}
