import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Wallet } from "ethers";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createApi } from "../functions/api.ts";
import { type Facts, Log } from "../functions/log.ts";
import { METRICS, SERVICES } from "../functions/metric-names.ts";
import { Registry } from "../functions/metrics.ts";
import { redact } from "../functions/redact.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import { ApiWorld, type Caller, expectStatus } from "./support/api.ts";
import type { Task } from "./support/contract.ts";

const key = Wallet.createRandom().privateKey;
const account = `0x${"ab".repeat(20)}`;
const presigned =
  "https://bucket.s3.eu-west-1.amazonaws.com/payload/0x12?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20261122&X-Amz-Signature=0a1b2c3d4e5f";

describe("the redactor", () => {
  it.each([
    ["a presigned URL", `asked for ${presigned} twice`, "asked for https://bucket.s3.eu-west-1.amazonaws.com/… twice"],
    ["an RPC key", "POST https://eth.example.com:8545/v2/s3cr3t failed", "POST https://eth.example.com:8545/… failed"],
    ["who logs in", "http://me:p@ss@proxy.example:3128/ refused", "http://proxy.example:3128/… refused"],
    ["a query without its URL", "GET /bucket/key?X-Amz-Signature=0a1b&x=1 403", "GET /bucket/key?… 403"],
    [
      "a header that authorizes",
      "headers: Authorization: AWS4-HMAC-SHA256 Credential=AKIA",
      "headers: Authorization …",
    ],
    ["a request's signature", 'signature: eth=:AbCd=: and "more"', "signature …"],
    ["a bearer token", "sent Bearer abc.def-ghi to it", "sent Bearer … to it"],
    ["a password", "with password: hunter2, twice", "with password … twice"],
    ["a private key", `wallet ${key}.`, "wallet …."],
    ["a private key without 0x", `wallet ${key.slice(2)}`, "wallet …"],
    ["a key in base64, with slashes", "key TAiDppECk31iMUcb/btiBP5R/pcIJ5KuRo0Bo/NiMYw= here", "key … here"],
    ["AWS keys", "AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYabcdef", "… …"],
  ])("takes %s out of a text", (_what, text, shown) => {
    expect(redact(text)).toBe(shown);
  });

  it("leaves what people need: accounts, numbers, plain words, places in our code", () => {
    for (const text of [
      `insufficient funds: ${account} has 0.5 of 2`,
      "replacement transaction underpriced",
      "at Turn.run (file:///var/task/publisher.js:120:15)",
      "Set WAYBILL_RELAYER_KEY to what docs/design.md says.",
    ])
      expect(redact(text)).toBe(text);
  });

  it("takes a text of any length, and shows no more of it than a person reads", () => {
    const begun = performance.now();
    for (const piece of ["a://", "x-amz-a", "0", "?a=", "signature", "a@", " "]) {
      const shown = redact(piece.repeat(500_000));
      expect(shown.length).toBeLessThanOrEqual(601);
    }
    expect(performance.now() - begun).toBeLessThan(5_000);
  });
});

describe("a line of the log", () => {
  const lines: Record<string, unknown>[] = [];
  const log = new Log("tasks", (line) => void lines.push(JSON.parse(line) as Record<string, unknown>));
  beforeEach(() => {
    lines.length = 0;
  });

  it("is one JSON object with a time, a level, the service and a message", () => {
    log.with({ requestId: "0".repeat(32) }).info("two\nlines", { ms: 3 });
    expect(lines).toEqual([
      {
        ...{ time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/), level: "INFO", service: "tasks" },
        ...{ message: "two\nlines", requestId: "0".repeat(32), ms: 3 },
      },
    ]);
  });

  it("holds no fact that isn't listed, and none that hasn't its shape", () => {
    const facts = { url: presigned, env: process.env, account: key, task: presigned, code: "no code", ms: "soon" };
    log.info("told", { ...(facts as unknown as Facts), statements: [`0x${"1".repeat(64)}`, presigned] });
    const withheld = "[withheld]";
    expect(lines[0]).toMatchObject({ account: withheld, task: withheld, code: withheld, ms: withheld });
    expect(lines[0]!.statements).toEqual([`0x${"1".repeat(64)}`, withheld]);
    expect(Object.keys(lines[0]!)).not.toContain("url");
    expect(Object.keys(lines[0]!)).not.toContain("env");
  });

  it("holds texts of others only redacted: a node's complaint, a stack", () => {
    const frames = [`at fetch (${presigned})`, "at Turn.run (file:///var/task/publisher.js:120:15)"];
    log.warn("the node complains", { detail: `upstream ${presigned} said no to ${key}`, frames });
    expect(lines[0]).toMatchObject({
      detail: "upstream https://bucket.s3.eu-west-1.amazonaws.com/… said no to …",
      frames: ["at fetch (https://bucket.s3.eu-west-1.amazonaws.com/…", frames[1]],
    });
  });

  it("tells of an error that isn't ours its name and place, never its words", () => {
    const error = new TypeError(`fetch of ${presigned} failed`, { cause: new Error(key) });
    log.failure("a request failed", error);
    expect(lines[0]).toMatchObject({ level: "ERROR", error: "TypeError", cause: "Error" });
    expect(lines[0]!.frames).toContainEqual(expect.stringContaining("observability.test.ts"));
    expect(JSON.stringify(lines)).not.toMatch(/amazonaws|X-Amz/);
    expect(JSON.stringify(lines)).not.toContain(key.slice(2));
  });

  it("warns of our own errors that may pass, with what AWS said, and makes the others errors", () => {
    const cause = new Error("SlowDown (503)");
    log.failure("a turn failed", new WaybillError("UNAVAILABLE", "The store does not answer.", { cause }));
    log.failure("a turn failed", new WaybillError("USAGE", "Set WAYBILL_BUCKET."));
    log.alarm("NO_FUNDS", "insufficient funds", { account });
    expect(lines).toMatchObject([
      { level: "WARN", code: "UNAVAILABLE", detail: "The store does not answer.", cause: "SlowDown (503)" },
      { level: "ERROR", code: "USAGE", detail: "Set WAYBILL_BUCKET.", alarm: "MISCONFIGURED" },
      { level: "ERROR", alarm: "NO_FUNDS", account },
    ]);
  });

  it("that can't be written stops nobody", () => {
    const broken = new Log("tasks", () => {
      throw new Error("EPIPE");
    });
    expect(() => broken.info("told")).not.toThrow();
  });

  it("is kept by this run of tests, to be looked through, even of a log without a sink", () => {
    const requestId = randomBytes(16).toString("hex");
    new Log("sweeper").info("told to nobody", { requestId });
    const kept = readFileSync(join(process.env.WAYBILL_TEST_LOGS!, `${process.pid}.log`), "utf8");
    expect(kept).toContain(requestId);
  });
});

describe("the registry", () => {
  it("sums counters and keeps a gauge's last value, by service and code", () => {
    const registry = new Registry();
    const [uploads, publisher] = [registry.of("uploads"), registry.of("publisher")];
    uploads.count("PartUrls", 64);
    uploads.count("PartUrls", 3);
    uploads.count("Refusals", 1, "EXPELLED");
    uploads.count("Refusals", 1, "EXPELLED");
    uploads.count("Refusals", 1, "NOT_MEMBER");
    publisher.gauge("OutboxDepth", 7);
    publisher.gauge("OutboxDepth", 2);
    expect(registry.samples()).toEqual([
      { name: "PartUrls", service: "uploads", code: null, value: 67 },
      { name: "Refusals", service: "uploads", code: "EXPELLED", value: 2 },
      { name: "Refusals", service: "uploads", code: "NOT_MEMBER", value: 1 },
      { name: "OutboxDepth", service: "publisher", code: null, value: 2 },
    ]);
  });

  it("knows no metric that no function writes: an alarm over one would never ring", () => {
    const folder = new URL("../functions/", import.meta.url);
    const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
    const texts = files
      .filter((file) => file !== "metric-names.ts")
      .map((file) => readFileSync(new URL(file, folder), "utf8"));
    const written = (name: string): boolean => texts.some((text) => new RegExp(`(count|gauge)\\("${name}"`).test(text));
    expect(Object.keys(METRICS).filter((name) => !written(name))).toEqual([]);
  });

  it("knows metrics of known services only, each with a doc", () => {
    for (const { services, doc } of Object.values(METRICS)) {
      expect(SERVICES).toEqual(expect.arrayContaining([...services]));
      expect(services.length).toBeGreaterThan(0);
      expect(doc).toMatch(/^[A-Z].*\.$/);
    }
  });
});

describe("each request", () => {
  let api: ApiWorld;
  let task: Task;
  let sender: Caller;
  let recipient: Caller;
  let outsider: Caller;

  beforeAll(async () => {
    api = await ApiWorld.start();
    task = await api.task(2);
    [sender, recipient] = task.members.map((wallet) => api.caller(wallet)) as [Caller, Caller];
    outsider = api.caller(new Wallet(Wallet.createRandom().privateKey));
  });
  afterAll(() => api?.stop());
  beforeEach(() => {
    api.lines.length = 0;
  });

  const told = (): Record<string, unknown>[] =>
    api.lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ message }) => message === "request");
  const counted = (name: string, code: string | null = null): number =>
    api.counted.samples().find((sample) => sample.name === name && sample.code === code)?.value ?? 0;

  it("of a transfer has one line with its route, ids, account, status, bytes and time", async () => {
    const bytes = randomBytes(40);
    const published = await sender.published(task, "observed", bytes, [1]);
    expectStatus(await recipient.download(task, published.id), 200);
    const { transfer } = published;
    const at = { task: task.id, transfer, account: sender.account, ms: expect.any(Number), bytes: expect.any(Number) };
    const path = "/v1/tasks/{task}/transfers";
    expect(told()).toEqual([
      expect.objectContaining({ ...at, service: "uploads", route: `POST ${path}`, status: 200 }),
      expect.objectContaining({ ...at, service: "uploads", route: `POST ${path}/{transfer}/parts`, status: 200 }),
      expect.objectContaining({ ...at, service: "uploads", route: `POST ${path}/{transfer}/finish`, status: 200 }),
      expect.objectContaining({ ...at, service: "uploads", status: 202, statements: [published.id] }),
      expect.objectContaining({ ...at, service: "downloads", account: recipient.account, notice: published.id }),
    ]);
  });

  it("of a transfer is counted: the transfer once, its bytes, its URLs", async () => {
    const before = ["Transfers", "TransferBytes", "SignCalls", "PartUrls", "Downloads"].map((name) => counted(name));
    const published = await sender.published(task, "counted", randomBytes(40), [1]);
    const again = { manifest: published.text, notices: [] };
    expectStatus(await sender.finish(task, published.transfer, again), 200);
    expectStatus(await recipient.download(task, published.id), 200);
    const after = ["Transfers", "TransferBytes", "SignCalls", "PartUrls", "Downloads"].map((name) => counted(name));
    expect(after.map((value, i) => value - before[i]!)).toEqual([1, 40, 1, published.parts.length, 1]);
  });

  it("that is refused says why, and is counted by its code; an account is named only once it has signed", async () => {
    const before = counted("Refusals", "NOT_MEMBER");
    expect((await outsider.get(`/v1/tasks/${task.id}`)).status).toBe(403);
    expect((await sender.get(`/v1/tasks/${task.id}`, { signature: (made) => made.fill(1) })).status).toBe(401);
    expect((await sender.get("/v1/nowhere")).status).toBe(404);
    const [refused, forged, lost] = told();
    expect(refused).toMatchObject({ code: "NOT_MEMBER", status: 403, account: outsider.account, task: task.id });
    expect(forged).toMatchObject({ code: "UNAUTHENTICATED", status: 401, route: "GET /v1/tasks/{task}" });
    expect(forged).not.toHaveProperty("account");
    expect(lost).toMatchObject({ code: "NOT_FOUND", status: 404 });
    expect(lost).not.toHaveProperty("route");
    expect(counted("Refusals", "NOT_MEMBER")).toBe(before + 1);
    expect(counted("Refusals", "UNAUTHENTICATED")).toBeGreaterThan(0);
    expect(counted("Refusals", "NOT_FOUND")).toBeGreaterThan(0);
  });

  it("has the caller's id in its answer, its line and its problem", async () => {
    const requestId = randomBytes(16).toString("hex");
    const headers = { "x-request-id": requestId };
    const answer = await sender.get(`/v1/tasks/${task.id}`, { headers });
    const refused = await outsider.get(`/v1/tasks/${task.id}`, { headers });
    expect([answer, refused].map((each) => each.headers.get("x-request-id"))).toEqual([requestId, requestId]);
    expect(refused.json.requestId).toBe(requestId);
    expect(told().map((line) => line.requestId)).toEqual([requestId, requestId]);
  });

  it.each([
    ["none", undefined],
    ["one of another length", "ab".repeat(15)],
    ["capitals", "AB".repeat(16)],
    ["a URL", presigned],
    ["a comma's worth", `${"ab".repeat(16)}, ${"cd".repeat(16)}`],
  ])("with %s for an id gets one from us, and nothing of its own goes anywhere", async (_what, given) => {
    const answer = await sender.post(`/v1/tasks/${task.id}/messages`, await message(), {
      ...(given !== undefined && { headers: { "x-request-id": given } }),
    });
    expectStatus(answer, 202);
    const requestId = answer.headers.get("x-request-id")!;
    expect(requestId).toMatch(/^[0-9a-f]{32}$/);
    expect(requestId).not.toBe(given);
    expect(told()).toMatchObject([{ requestId, statements: [answer.json.statement] }]);
    const entry = (await api.deps.outbox.pending()).find(({ id }) => id === answer.json.statement);
    expect(entry!.request).toBe(requestId);
    if (given !== undefined) expect(api.lines.join()).not.toContain(given);
  });

  it("hides what the store says when it fails, and tells the operator where", async () => {
    const store = Object.create(api.deps.store, {
      getJson: { value: () => Promise.reject(new TypeError(`fetch of ${presigned} failed`)) },
    }) as typeof api.deps.store;
    const app = createApi({ ...api.deps, store });
    const request = await sender.sign("POST", sender.transfers(task), { transfer: `0x${"1".repeat(64)}`, size: 1 });
    const answer = await app.fetch(request);
    expect(answer.status).toBe(500);
    expect(await answer.text()).not.toMatch(/amazonaws|TypeError/);
    const failure = api.lines.map((line) => JSON.parse(line) as Record<string, unknown>)[0]!;
    expect(failure).toMatchObject({
      level: "ERROR",
      error: "TypeError",
      requestId: answer.headers.get("x-request-id"),
    });
    expect(api.lines.join()).not.toMatch(/amazonaws|X-Amz/);
  });

  async function message(): Promise<unknown> {
    const { statement, signature } = await task.message({ sender: sender.account });
    return { message: statement, signature };
  }
});
