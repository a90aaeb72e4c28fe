import { randomBytes } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { toQuantity } from "ethers";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { createApi } from "../functions/api.ts";
import { bellOf } from "../functions/bell.ts";
import { payloadKey, recordKey } from "../functions/keys.ts";
import { Outbox } from "../functions/outbox.ts";
import { Records } from "../functions/records.ts";
import { Store } from "../functions/store.ts";
import { ChainReader } from "../lib/chain/reader.ts";
import { transferId } from "../lib/protocol/manifest.ts";
import { eventsAnswer } from "../lib/protocol/wire.ts";
import { ApiWorld, answerOf, type Caller, expectStatus, payloadOf } from "./support/api.ts";
import type { Task } from "./support/contract.ts";
import { Faulty } from "./support/faulty.ts";
import { startRpcProxy } from "./support/rpcproxy.ts";

// The store and the chain misbehave, and every request ends in the right answer or a typed error.

const error = (code: string) => `<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`;
/** The SDK tries three times. */
const ALWAYS = 1000;

let api: ApiWorld;
let faulty: Faulty;
let task: Task;
let sender: Caller;
let tag: string;
let made = 0;

beforeAll(async () => {
  api = await ApiWorld.start();
  faulty = await Faulty.start(api.s3.endpoint);
  task = await api.task(3);
  sender = api.caller(task.members[0]!);
  const config = { ...api.deps.config, s3Endpoint: faulty.origin };
  const store = new Store(config);
  const app = createApi({ ...api.deps, config, store, outbox: new Outbox(store, config) });
  api.drive = async (request) => app.fetch(request);
});
afterAll(async () => {
  faulty?.stop();
  await api?.stop();
});
beforeEach(() => {
  tag = `fault-${++made}`;
});
afterEach(() => faulty.heal());

const ref = () => ({ task: task.id, sender: sender.account, transfer: transferId(tag) });
const record = async () => (await new Records(api.deps.store).read(ref()))!.record;
const finish = (manifest: string) => sender.finish(task, transferId(tag), { manifest, notices: [] });
const uploads = () => api.deps.store.countUploads(payloadKey(ref()), 10);
const under = (prefix: string) => new RegExp(`/${prefix}/`);
const COMPLETE = /payload.*uploadId=/;

describe("begin", () => {
  it.each(["record", "nonce"])("goes on when the answer to its %s's write is lost", async (what) => {
    faulty.break("PUT", what === "nonce" ? under("nonce") : /record\.json/, "lost");
    expect((await sender.begin(task, tag, 5)).state).toBe("open");
    expect(await uploads()).toBe(1);
    expect(await api.deps.store.listParts(payloadKey(ref()), (await record()).uploadId)).toEqual([]);
  });

  it("starts a conditional write again that the store turned down for another writer", async () => {
    faulty.break("PUT", /record\.json/, { status: 409, body: error("ConditionalRequestConflict") }, 2);
    expect((await sender.begin(task, tag, 5)).state).toBe("open");
  });

  it("leaves no upload behind when its record can't be written", async () => {
    faulty.break("PUT", /record\.json/, { status: 403, body: error("AccessDenied") }, ALWAYS);
    const answer = await sender.post(sender.transfers(task), { transfer: transferId(tag), size: 5 });
    expect(answer).toMatchObject({ status: 503, json: { code: "UNAVAILABLE" } });
    expect(await uploads()).toBe(0);
  });

  it("says that the store is not there, and nothing about it", async () => {
    faulty.rule = () => ({ status: 503, body: error("SlowDown") });
    const answer = await sender.post(sender.transfers(task), { transfer: transferId(tag), size: 5 });
    expect(answer).toMatchObject({ status: 503, json: { code: "UNAVAILABLE" } });
    expect(answer.headers.get("retry-after")).toBe("1");
    expect(JSON.stringify(answer.json)).not.toMatch(/payload|nonce|127\.0|X-Amz|SlowDown|transfer\//);
  });
});

describe("finish", () => {
  const stored = async (text: string) => {
    expectStatus(await finish(text), 200);
    expect(await record()).toMatchObject({ state: "finished" });
  };

  it("finds the object when the answer to Complete is lost", async () => {
    const payload = await sender.upload(task, tag, randomBytes(40));
    faulty.break("POST", COMPLETE, "lost");
    await stored(payload.text);
    expect((await record()).digest).toBe(payload.digest);
  });

  it("reads the error in a Complete that answers 200", async () => {
    const payload = await sender.upload(task, tag, randomBytes(40));
    faulty.break("POST", COMPLETE, { status: 200, body: error("InternalError") });
    await stored(payload.text);
  });

  it.each([
    [409, "ConditionalRequestConflict"],
    [500, "InternalError"],
    [503, "SlowDown"],
    [200, "InternalError"],
  ])("answers completing to %i %s on Complete, and is done when it is repeated", async (status, code) => {
    const payload = await sender.upload(task, tag, randomBytes(40));
    faulty.break("POST", COMPLETE, { status, body: error(code) }, ALWAYS);
    expect(expectStatus(await finish(payload.text), 202)).toMatchObject({ state: "completing", notices: [] });
    expect(await record()).toMatchObject({ state: "open", digest: null });
    faulty.heal();
    await stored(payload.text);
  });

  it("takes a 412 for its own object, by checksum and size", async () => {
    const payload = await sender.upload(task, tag, randomBytes(40));
    const key = payloadKey(ref());
    const { uploadId } = await record();
    const second = await api.deps.store.createUpload(key, payload.manifest.contentType);
    const { urls } = await api.deps.store.presignParts(key, second, payload.parts);
    for (const { url, headers, number } of urls)
      await fetch(url, { method: "PUT", headers, body: payload.slices[number - 1]! });
    const held = (await api.deps.store.listParts(key, second))!;
    expect(await api.deps.store.complete(key, second, held)).toBe("done");
    await stored(payload.text);
    expect(await api.deps.store.listParts(key, uploadId)).toBeNull(); // the loser's upload was aborted
  });

  it("names the part that somebody sent again between list and Complete", async () => {
    const payload = await sender.upload(task, tag, randomBytes(40));
    const other = payloadOf(tag, randomBytes(40), 16, payload.manifest.contentType);
    const resend = { after: () => sender.putParts(task, { ...other, parts: [other.parts[1]!] }) };
    faulty.break("GET", COMPLETE, resend);
    expect((await finish(payload.text)).json).toMatchObject({ code: "NOT_STORED", parts: [2] });
    await sender.putParts(task, payload);
    await stored(payload.text);
  });

  it.each(["manifest", "record"])("goes on when the answer to its %s's write is lost", async (what) => {
    const payload = await sender.upload(task, tag, randomBytes(40));
    faulty.break("PUT", new RegExp(`${what}\\.json`), "lost");
    await stored(payload.text);
  });

  it.each([
    ["the record", /record\.json/],
    ["the notice", under("notice")],
    ["the outbox", under("outbox")],
  ])("whose publishing stops at %s is repeated as it is", async (_, match) => {
    const payload = await sender.stored(task, tag, randomBytes(5));
    const signed = await sender.notice(task, payload, [1]);
    faulty.break("PUT", match, { status: 403, body: error("AccessDenied") }, ALWAYS);
    const body = { notices: [signed] };
    const first = await sender.finish(task, payload.transfer, body);
    faulty.heal();
    expect(first.json).toMatchObject({ code: "UNAVAILABLE" });
    expectStatus(await sender.finish(task, payload.transfer, body), 202);
    expect((await api.posted()).map(({ statement }) => statement)).toContainEqual(signed.notice);
    expect((await record()).notices).toHaveLength(1);
  });
});

describe("a record that isn't ours", () => {
  it("is never believed, and the answer says nothing about it", async () => {
    await api.deps.store.putJson(recordKey(ref()), { state: "finished", uploadId: 7 });
    api.lines.length = 0;
    const answer = await sender.post(sender.transfers(task), { transfer: transferId(tag), size: 5 });
    expect(answer).toMatchObject({ status: 500, json: { code: "INTERNAL" } });
    expect(answer.json.detail).toMatch(/^Internal error/);
    const [failure, request] = api.lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(failure).toMatchObject({ level: "ERROR", code: "INTERNAL", requestId: answer.json.requestId });
    expect(failure!.frames).toContainEqual(expect.stringContaining("records.ts"));
    expect(request).toMatchObject({ status: 500, code: "INTERNAL", requestId: answer.json.requestId });
    expect(api.lines.join("")).not.toMatch(/uploadId|X-Amz/);
  });
});

describe("presigned URLs", () => {
  it("live no longer than the credentials that sign them, and at most 15 minutes", async () => {
    const expiration = new Date(Date.now() + 7 * 60_000);
    const s3Credentials = { ...api.deps.config.s3Credentials!, sessionToken: "t", expiration };
    const store = new Store({ ...api.deps.config, s3Credentials });
    const { expiresIn, url } = await store.presignGet("payload/x", '"e"');
    expect(expiresIn).toBeLessThanOrEqual(7 * 60_000);
    expect(expiresIn).toBeGreaterThan(6 * 60_000);
    expect(Number(new URL(url).searchParams.get("X-Amz-Expires")) * 1000).toBe(expiresIn);
    store.close();
    expect((await api.deps.store.presignGet("payload/x", '"e"')).expiresIn).toBe(15 * 60_000);
  });
});

describe("the chain", () => {
  it.each(["not there", "another one"])("that is %s lets nobody in", async (how) => {
    const rpc = await Faulty.start(String(api.deps.config.rpc));
    if (how === "not there") rpc.stop();
    else rpc.rule = () => ({ status: 200, body: '{"jsonrpc":"2.0","id":1,"result":"0x7"}' });
    const config = { ...api.deps.config, rpc: rpc.origin };
    const chain = new ChainReader(config);
    const app = createApi({ ...api.deps, config, chain });
    for (const [method, path] of [
      ["GET", ""],
      ["GET", "/events"],
      ["POST", "/transfers"],
    ] as const) {
      const body = method === "POST" ? { transfer: transferId(tag), size: 1 } : undefined;
      const answer = await answerOf(await app.fetch(await sender.sign(method, `/v1/tasks/${task.id}${path}`, body)));
      expect(answer).toMatchObject({ status: 503, json: { code: "UNAVAILABLE" } });
      expect(JSON.stringify(answer.json)).not.toContain("127.0.0.1");
    }
    chain.close();
    rpc.stop();
  });

  it("whose newest block is older than what is configured lets nobody in, until there is a new one", async () => {
    const stale = await ApiWorld.start({ staleAfter: 60_000 });
    try {
      const room = await stale.task(2);
      const member = stale.caller(room.members[0]!);
      const path = `/v1/tasks/${room.id}`;
      expectStatus(await member.get(path), 200);
      const newest = await stale.world.provider.send("eth_getBlockByNumber", ["latest", false]);
      const rpc = await startRpcProxy(stale.world.rpc);
      rpc.answer = ({ method }, result) =>
        method === "eth_getBlockByNumber"
          ? { ...newest, timestamp: toQuantity(Number(newest.timestamp) - 600) }
          : result;
      const config = { ...stale.deps.config, rpc: rpc.url };
      const chain = new ChainReader(config);
      const app = createApi({ ...stale.deps, config, chain });
      const ask = async () => answerOf(await app.fetch(await member.sign("GET", path)));
      expect(await ask()).toMatchObject({ status: 503, json: { code: "UNAVAILABLE" } });
      rpc.answer = (_call, result) => result;
      expect(await ask()).toMatchObject({ status: 200 });
      chain.close();
      await rpc.stop();
    } finally {
      await stale.stop();
    }
  });

  it("that refuses us is not quoted to callers, only in the log: its words may name the operator's account", async () => {
    const rpc = await startRpcProxy(api.world.rpc);
    rpc.refuse = () => "project 8c1f03d27a5e44b1 has used up the plan FREE";
    const config = { ...api.deps.config, rpc: rpc.url };
    const chain = new ChainReader(config);
    const app = createApi({ ...api.deps, config, chain });
    const answer = await answerOf(await app.fetch(await sender.sign("GET", `/v1/tasks/${task.id}`)));
    expect(answer).toMatchObject({ status: 503, json: { code: "UNAVAILABLE" } });
    expect(JSON.stringify(answer.json)).not.toMatch(/project|FREE/);
    expect(api.lines.join("\n")).toContain("has used up the plan FREE");
    chain.close();
    await rpc.stop();
  });

  it("whose blocks are numbered otherwise than its contracts see lets nobody in", async () => {
    const rpc = await startRpcProxy(api.world.rpc);
    rpc.answer = ({ method, params }, result) =>
      method === "eth_call" && (params[0] as { to?: string }).to === undefined ? `0x${"7".padStart(64, "0")}` : result;
    const config = { ...api.deps.config, rpc: rpc.url };
    const chain = new ChainReader(config);
    const app = createApi({ ...api.deps, config, chain });
    const answer = await answerOf(await app.fetch(await sender.sign("GET", `/v1/tasks/${task.id}`)));
    expect(answer).toMatchObject({ status: 503, json: { code: "UNAVAILABLE" } });
    chain.close();
    await rpc.stop();
  });

  it("shows events, tasks and notices only from its confirmations' depth, and roles at its newest block", async () => {
    const deep = await ApiWorld.start({ confirmations: 2 });
    try {
      const room = await deep.task(2);
      const member = deep.caller(room.members[0]!);
      const path = `/v1/tasks/${room.id}`;
      expect((await member.get(path)).json).toMatchObject({ code: "UNKNOWN_TASK" });
      const read = async (query = "") =>
        eventsAnswer.parse(expectStatus(await member.get(`${path}/events${query}`), 200));
      expect(await read()).toMatchObject({ events: [], next: { seq: 0, block: 0 } });
      expect(await read("?after=0&block=0")).toMatchObject({ events: [] });
      expect(await read("?before=9&block=9000")).toMatchObject({ events: [] });
      await deep.world.provider.send("anvil_mine", ["0x2"]);
      expect((await read()).events).toHaveLength(1);
      expect((await read("?before=9&block=9000")).events).toHaveLength(1);
      expectStatus(await member.get(path), 200);
      await deep.relay(await room.change("expel", [member.account], 1));
      expect((await member.get(path)).json).toMatchObject({ code: "EXPELLED" });
    } finally {
      await deep.stop();
    }
  });

  it("is waited for where waiting is free, until an event is there or the caller is gone", async () => {
    const now = Date.now();
    const waiting = await ApiWorld.start({ longPoll: true }, () => now); // a clock at which waiting never ends
    try {
      const room = await waiting.task(2);
      const member = waiting.caller(room.members[0]!);
      const { seq, block } = await waiting.deps.chain.latest(room.id);
      const path = `/v1/tasks/${room.id}/events?after=${seq}&block=${block}`;
      const answered = member.get(path);
      await waiting.relay(await room.change("expel", [waiting.caller(room.members[1]!).account], 1));
      const { events, poll } = eventsAnswer.parse(expectStatus(await answered, 200));
      expect(events.map(({ type }) => type)).toEqual(["expelled"]);
      expect(poll).toBe(0);
      const gone = new AbortController();
      const { seq: after, block: at } = await waiting.deps.chain.latest(room.id);
      const request = await member.sign("GET", `/v1/tasks/${room.id}/events?after=${after}&block=${at}`);
      const left = waiting.drive(new Request(request, { signal: gone.signal }));
      gone.abort();
      expect((await answerOf(await left)).json).toMatchObject({ events: [] });
    } finally {
      await waiting.stop();
    }
  });
});

describe("a statement", () => {
  it("is shown to its author and the task's owner once it is settled or refused, and to nobody else", async () => {
    const path = (id: string) => `/v1/tasks/${task.id}/statements/${id}`;
    const signed = await task.message();
    const [done, refused] = [transferId(`${tag}/1`), transferId(`${tag}/2`)];
    const settled = { state: "settled", transaction: transferId("tx"), block: 7 } as const;
    await api.deps.outbox.settle({ key: `outbox/${done}`, id: done, signed }, settled);
    await api.deps.outbox.settle(
      { key: `outbox/${refused}`, id: refused, signed },
      { state: "refused", reason: "EXPIRED" },
    );
    for (const reader of [sender, api.caller(task.owner)]) {
      expect(expectStatus(await reader.get(path(done)), 200)).toEqual(settled);
      expect(expectStatus(await reader.get(path(refused)), 200)).toEqual({ state: "refused", reason: "EXPIRED" });
    }
    const another = api.caller(task.members[1]!);
    expect(expectStatus(await another.get(path(done)), 200)).toEqual({ state: "pending" });
  });
});

describe("the bell", () => {
  const seen: Record<string, string>[] = [];
  let queue: Server;
  let queueUrl: string;
  beforeAll(async () => {
    vi.stubEnv("AWS_ACCESS_KEY_ID", "none");
    vi.stubEnv("AWS_SECRET_ACCESS_KEY", "none");
    queue = createServer((message, response) => {
      let body = "";
      message.setEncoding("utf8").on("data", (chunk: string) => {
        body += chunk;
      });
      message.on("end", () => {
        seen.push(JSON.parse(body) as Record<string, string>);
        response.writeHead(seen.length < 3 ? 200 : 400, { "content-type": "application/x-amz-json-1.0" }).end("{}");
      });
    });
    await new Promise<void>((resolve) => queue.listen(0, "127.0.0.1", resolve));
    queueUrl = `http://127.0.0.1:${(queue.address() as AddressInfo).port}/1/bell.fifo`;
  });
  afterAll(() => {
    vi.unstubAllEnvs();
    queue.close();
    queue.closeAllConnections();
  });

  it("rings in one order for one contract, is never taken for an earlier ring, and never fails", async () => {
    const bell = bellOf({ ...api.deps.config, queueUrl });
    for (let i = 0; i < 3; i++) await bell();
    expect(seen.length).toBeGreaterThanOrEqual(3);
    const { chainId, contract } = api.deps.config;
    expect(new Set(seen.map(({ MessageGroupId }) => MessageGroupId))).toEqual(new Set([`${chainId}-${contract}`]));
    expect(new Set(seen.slice(0, 3).map(({ MessageDeduplicationId }) => MessageDeduplicationId)).size).toBe(3);
    await bellOf(api.deps.config)();
  });
});
