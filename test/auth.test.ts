import { randomBytes } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createApi } from "../functions/api.ts";
import { bellOf } from "../functions/bell.ts";
import type { Config } from "../functions/config.ts";
import { DEFAULT_CAPS } from "../functions/config.ts";
import { Outbox } from "../functions/outbox.ts";
import { Store } from "../functions/store.ts";
import { ChainReader } from "../lib/chain/reader.ts";
import { wordHex } from "../lib/protocol/hex.ts";
import { contentDigest } from "../lib/protocol/httpsig.ts";
import { transferId } from "../lib/protocol/manifest.ts";
import { type Answer, ApiWorld, answerOf, type Bend, type Caller, type Drive } from "./support/api.ts";
import { newKey, type Task } from "./support/contract.ts";
import { compact, highS, oldV } from "./support/roles-forms.ts";

const seconds = () => Math.floor(Date.now() / 1000);

let api: ApiWorld;
let task: Task;
let member: Caller;

beforeAll(async () => {
  api = await ApiWorld.start();
  task = await api.task(2);
  member = api.caller(task.members[0]!);
});
afterAll(() => api?.stop());

const tasks = () => `/v1/tasks/${task.id}`;
const begin = (bend: Bend = {}) => member.post(`${tasks()}/transfers`, body(), bend);
const body = () => ({ transfer: transferId(randomBytes(8).toString("hex")), size: 1 });

/** Counts whatever is asked of it, and answers nothing useful. */
class Witness {
  count = 0;
  readonly #server: Server;

  constructor() {
    this.#server = createServer((_, response) => {
      this.count++;
      response.writeHead(400).end();
    });
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

describe("what a signature must be", () => {
  const refusals: [string, Bend | (() => Bend), string][] = [
    ["for another origin", { authority: "evil.test" }, "UNAUTHENTICATED"],
    ["for another chain", { chainId: 1 }, "WRONG_CHAIN"],
    ["by another key than the one that it names", { account: `0x${"11".repeat(20)}` }, "UNAUTHENTICATED"],
    ["by an account in upper case", { account: `0x${"AB".repeat(20)}` }, "UNAUTHENTICATED"],
    ["from a clock 20 minutes behind", () => ({ created: seconds() - 1200 }), "CLOCK_SKEW"],
    ["from a clock 20 minutes ahead", () => ({ created: seconds() + 1200 }), "CLOCK_SKEW"],
    ["expired", () => ({ created: seconds() - 61, expires: seconds() - 1 }), "CLOCK_SKEW"],
    ["good for longer than 60 seconds", () => ({ created: seconds(), expires: seconds() + 61 }), "UNAUTHENTICATED"],
    ["that expires before it begins", () => ({ created: seconds(), expires: seconds() - 1 }), "UNAUTHENTICATED"],
    ["without a nonce", { nonce: null }, "UNAUTHENTICATED"],
    ["with a short nonce", { nonce: "abc" }, "UNAUTHENTICATED"],
    ["with a nonce that could leave its prefix", { nonce: "../../../../outbox/xxx" }, "UNAUTHENTICATED"],
    ["over another body", { signed: new TextEncoder().encode("{}") }, "UNAUTHENTICATED"],
    ["with v = 0 or 1", { signature: oldV }, "UNAUTHENTICATED"],
    ["with a high s", { signature: highS }, "UNAUTHENTICATED"],
    ["in the compact form of EIP-2098", { signature: compact }, "UNAUTHENTICATED"],
    ["with one bit changed", { signature: (s) => s.with(40, s[40]! ^ 1) }, "UNAUTHENTICATED"],
    ["of zeros", { signature: (s) => s.fill(0) }, "UNAUTHENTICATED"],
    ["under a second label", { headers: { signature: "eth=:AAAA:, b=:AAAA:" } }, "UNAUTHENTICATED"],
    ["that is no dictionary", { headers: { "signature-input": "(((" } }, "UNAUTHENTICATED"],
    ["with times that are no integers", { headers: { "signature-input": 'eth=();created="1"' } }, "UNAUTHENTICATED"],
  ];
  it.each(refusals)("a signature %s is refused", async (_, bend, code) => {
    const answer = await begin(typeof bend === "function" ? bend() : bend);
    expect(answer.json).toMatchObject({ code });
    if (answer.status === 401) expect(Math.abs(Number(answer.json.serverTime) - seconds())).toBeLessThan(10);
  });

  it("a correct one passes, also from a clock a few seconds ahead", async () => {
    expect((await begin()).status).toBe(200);
    expect((await begin({ created: seconds() + 3 })).status).toBe(200);
  });

  it("a request without a signature is refused", async () => {
    const answer = await answerOf(await api.drive(new Request(`https://api.waybill.test${tasks()}`)));
    expect(answer).toMatchObject({ status: 401, json: { code: "UNAUTHENTICATED" } });
  });

  it.each(["signature", "signature-input", "content-digest"])("a request that lost its %s is refused", async (name) => {
    const request = await member.sign("POST", `${tasks()}/transfers`, body());
    request.headers.delete(name);
    expect((await answerOf(await api.drive(request))).status).toBe(401);
  });

  it("a signature that leaves the body out is refused, whatever digest goes along", async () => {
    const bytes = new TextEncoder().encode(JSON.stringify(body()));
    const headers = { "content-digest": contentDigest(bytes) };
    const answer = await begin({ signed: new Uint8Array(), headers });
    expect(answer.json).toMatchObject({ code: "UNAUTHENTICATED" });
  });

  it.each([
    ["path", "POST", "/transfers/T/finish", (r: Request) => new Request(r.url.replace("/finish", "/parts"), r)],
    ["task", "POST", "/transfers/T/finish", (r: Request) => new Request(r.url.replace(task.id, transferId("y")), r)],
    ["query", "GET", "/events?after=0&block=0", (r: Request) => new Request(r.url.replace("after=0", "after=1"), r)],
    ["query, that wasn't there,", "GET", "/events", (r: Request) => new Request(`${r.url}?after=0&block=0`, r)],
    ["method", "GET", "/transfers/T/parts", (r: Request) => new Request(r, { method: "POST" })],
    ["body", "POST", "/transfers/T/finish", (r: Request) => new Request(r, { body: '{"notices":[],"manifest":""}' })],
  ] as const)("a request whose %s was edited is refused", async (_, method, path, edit) => {
    const target = `${tasks()}${path.replace("T", transferId("x"))}`;
    const request = await member.sign(method, target, method === "POST" ? { notices: [] } : undefined);
    const answer = await answerOf(await api.drive(edit(request)));
    expect(answer).toMatchObject({ status: 401, json: { code: "UNAUTHENTICATED" } });
  });
});

describe("the replay guard", () => {
  it("takes a request that writes once, also when many copies race", async () => {
    const request = await member.sign("POST", `${tasks()}/transfers`, body());
    const answers = await Promise.all(Array.from({ length: 5 }, () => api.drive(request.clone()).then(answerOf)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    const others = answers.filter(({ status }) => status !== 200);
    expect(others.map(({ json }) => json.code)).toEqual(Array(4).fill("REPLAYED"));
    expect(others[0]).toHaveProperty("json.serverTime");
  });

  it("takes a GET again within its window", async () => {
    const request = await member.sign("GET", tasks(), undefined, { nonce: null });
    for (let i = 0; i < 2; i++) expect((await api.drive(request.clone())).status).toBe(200);
  });

  it("asks the chain first, so a stranger writes no nonce", async () => {
    const stranger = api.caller(newKey());
    api.seen.length = 0;
    const answer = await stranger.post(`${tasks()}/transfers`, body());
    expect(answer).toMatchObject({ status: 403, json: { code: "NOT_MEMBER" } });
    expect(api.seen).toEqual([]);
  });
});

describe.each(["store", "memory"] as const)("the rate cap with nonces in %s", (nonces) => {
  let capped: ApiWorld;
  let poster: Caller;
  let room: Task;

  beforeAll(async () => {
    const caps = { ...DEFAULT_CAPS, payload: 1000, openUploads: 100, requests: 4, statements: 2 };
    capped = await ApiWorld.start({ nonces, caps }, () => 1_900_000_000_000);
    room = await capped.task(5);
    poster = capped.caller(room.members[0]!);
  });
  afterAll(() => capped?.stop());

  it("counts requests and, apart from them, statements, also those that it turns down", async () => {
    expect((await post(poster)).status).toBe(202);
    expect((await post(poster)).status).toBe(202);
    expect((await post(poster)).json).toMatchObject({ code: "RATE_LIMITED" });
    await poster.begin(room, "a", 1);
    const answer = await poster.post(`/v1/tasks/${room.id}/transfers`, body());
    expect(answer).toMatchObject({ status: 429, json: { code: "RATE_LIMITED" } });
    expect(answer.headers.get("retry-after")).toBe("20"); // the clock stands 40 s into a minute
    await capped.caller(room.members[1]!).begin(room, "a", 1); // each account has its own
  });

  it("lets no more through when they come at once", async () => {
    const crowd = capped.caller(room.members[2]!);
    const answers = await Promise.all(Array.from({ length: 8 }, () => post(crowd)));
    const taken = answers.filter(({ status }) => status === 202);
    expect(taken.length).toBeLessThanOrEqual(2);
    expect(answers.filter(({ json }) => json.code === "RATE_LIMITED")).toHaveLength(8 - taken.length);
  });

  it("counts a message's bytes too: each begun half KiB is another statement", async () => {
    const [small, large] = [3, 4].map((index) => capped.caller(room.members[index]!)) as [Caller, Caller];
    expect((await post(large, 513)).json).toMatchObject({ code: "RATE_LIMITED" });
    expect((await post(small, 512)).status).toBe(202);
    expect((await post(small)).json).toMatchObject({ code: "RATE_LIMITED" });
  });

  const post = async (caller: Caller, bytes = 0): Promise<Answer> => {
    const draft = await room.message({ payload: `0x${"00".repeat(bytes)}` });
    const message = { ...draft.statement, sender: caller.account };
    const { signature } = await room.sign(caller.wallet, message);
    const wire = { ...message, recipients: wordHex(message.recipients) };
    return caller.post(`/v1/tasks/${room.id}/messages`, { message: wire, signature });
  };
});

describe("a request whose signature does not verify", () => {
  const witnesses = { store: new Witness(), queue: new Witness(), chain: new Witness() };
  let drive: Drive;
  let store: Store;
  let chain: ChainReader;

  beforeAll(async () => {
    const [s3Endpoint, queue, rpc] = await Promise.all(Object.values(witnesses).map((witness) => witness.start()));
    const config: Config = { ...api.deps.config, s3Endpoint: s3Endpoint!, queueUrl: `${queue}/1/q.fifo`, rpc: rpc! };
    store = new Store(config);
    chain = new ChainReader(config);
    const outbox = new Outbox(store, config, { bell: bellOf(config) });
    const app = createApi({ config, store, chain, outbox });
    drive = async (request) => app.fetch(request);
  });
  afterAll(() => {
    chain.close();
    store.close();
    for (const witness of Object.values(witnesses)) witness.stop();
  });
  beforeEach(() => {
    for (const witness of Object.values(witnesses)) witness.count = 0;
  });
  const counts = () => Object.values(witnesses).map(({ count }) => count);

  it.each([
    ["POST", "/transfers"],
    ["POST", `/transfers/${transferId("x")}/finish`],
    ["POST", `/notices/${transferId("x")}/download`],
    ["POST", "/receipts"],
    ["DELETE", `/transfers/${transferId("x")}`],
    ["GET", "/events"],
    ["GET", ""],
  ])("reaches neither store, queue nor chain: %s %s", async (method, path) => {
    const content = method === "POST" && !path.endsWith("download") ? body() : undefined;
    for (const bend of [
      { signature: (s: Uint8Array) => s.with(3, s[3]! ^ 1) },
      { authority: "evil.test" },
      { chainId: 5 },
    ]) {
      const request = await member.sign(method, `${tasks()}${path}`, content, bend);
      expect((await drive(request)).status).toBeLessThan(500);
    }
    expect(counts()).toEqual([0, 0, 0]);
  });

  it("while one that verifies asks the chain, and fails closed when that can't answer", async () => {
    const answer = await answerOf(await drive(await member.sign("POST", `${tasks()}/transfers`, body())));
    expect(answer).toMatchObject({ status: 503, json: { code: "UNAVAILABLE" } });
    expect(counts()[2]).toBeGreaterThan(0);
    expect(counts().slice(0, 2)).toEqual([0, 0]);
    expect(JSON.stringify(answer.json)).not.toMatch(/127\.0\.0\.1/);
  });
});
