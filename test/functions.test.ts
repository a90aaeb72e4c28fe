import { createHash, randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { createApi } from "../functions/api.ts";
import { openapi } from "../functions/openapi.ts";
import { toBase64, wordHex } from "../lib/protocol/hex.ts";
import { decodeManifest } from "../lib/protocol/manifest.ts";
import { EVERYONE, noticeId, statementId } from "../lib/protocol/statements.ts";
import { downloadAnswer, eventsAnswer, noticeAnswer, openAnswer, taskAnswer } from "../lib/protocol/wire.ts";
import { type Server, startServer } from "../local/server.ts";
import { ApiWorld, type Caller, decoded, expectStatus } from "./support/api.ts";
import { addressOf, random32, Task } from "./support/contract.ts";
import { overHttp, throughLambda } from "./support/drives.ts";

// The whole way through the functions, on each of the ways that lead to them: the app itself, a socket, Lambda events.

let api: ApiWorld;
let server: Server;
let task: Task;
let sender: Caller;
let first: Caller;
let second: Caller;

beforeAll(async () => {
  api = await ApiWorld.start();
  server = await startServer();
  server.mount(createApi(api.deps));
  task = await api.task(4);
  [sender, first, second] = task.members.map((wallet) => api.caller(wallet)) as [Caller, Caller, Caller];
  stubLambda();
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await server?.stop();
  await api?.stop();
});

/** The environment of the functions in the cloud, pointed at our store and chain. */
function stubLambda(): void {
  const { config } = api.deps;
  const owner = addressOf(task.owner);
  for (const [name, value] of Object.entries({
    WAYBILL_API_ORIGIN: config.apiOrigin,
    WAYBILL_CHAIN_ID: String(config.chainId),
    WAYBILL_CONTRACT: config.contract,
    WAYBILL_RPC: String(config.rpc),
    WAYBILL_CONFIRMATIONS: "0",
    WAYBILL_BLOCK_TIME: "1000",
    WAYBILL_OWNERS: `0x${"00".repeat(20)}, ${owner}`,
    WAYBILL_BUCKET: config.bucket,
    WAYBILL_S3_ENDPOINT: api.s3.endpoint,
    AWS_REGION: config.region,
    AWS_ACCESS_KEY_ID: api.s3.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: api.s3.credentials.secretAccessKey,
  }))
    vi.stubEnv(name, value);
}

describe.each(["the app", "a socket", "Lambda events"])("through %s", (way) => {
  beforeAll(() => {
    const app = createApi(api.deps);
    if (way === "the app") api.drive = async (request) => app.fetch(request);
    if (way === "a socket") api.drive = overHttp(server.origin);
    if (way === "Lambda events") api.drive = throughLambda;
  });

  it("a payload goes up, is finished, noticed, and comes down as the same bytes", async () => {
    const tag = `round/${way}`;
    // Lambda's configuration has S3's least part size.
    const bytes = randomBytes(way === "Lambda events" ? 6 * 2 ** 20 : 100);
    const published = await sender.published(task, tag, bytes, [1, 2]);
    for (const recipient of [first, second]) {
      const { manifest, url, headers, expiresIn, notice } = downloadAnswer.parse(
        expectStatus(await recipient.download(task, published.id), 200),
      );
      expect(decodeManifest(decoded(manifest))).toEqual(published.manifest);
      expect(noticeId(notice)).toBe(published.id);
      expect(expiresIn).toBeLessThanOrEqual(15 * 60 * 1000);
      const payload = await fetch(url, { headers });
      expect(Buffer.from(await payload.arrayBuffer()).equals(bytes)).toBe(true);
    }
    expect((await api.posted()).map(({ statement }) => statement)).toContainEqual(published.signed.notice);
  });

  it("a payload of no bytes is one empty part", async () => {
    const published = await sender.published(task, `empty/${way}`, new Uint8Array(), [1]);
    const { url, headers } = downloadAnswer.parse(expectStatus(await first.download(task, published.id), 200));
    expect((await (await fetch(url, { headers })).arrayBuffer()).byteLength).toBe(0);
  });

  it("a notice is shown with the state of every recipient, to its parties", async () => {
    const published = await sender.published(task, `notice/${way}`, randomBytes(10), [1, 2]);
    await api.relay(await task.sign(first.wallet, task.receipt(published.signed.notice)));
    await api.relay(await task.sign(second.wallet, task.receipt(published.signed.notice, { outcome: "CORRUPT" })));
    const path = `/v1/tasks/${task.id}/notices/${published.id}`;
    for (const party of [sender, first, second, api.caller(task.owner)]) {
      const shown = noticeAnswer.parse(expectStatus(await party.get(path), 200));
      expect(shown.recipients).toEqual([
        { account: first.account, state: "verified" },
        { account: second.account, state: "cleared" },
      ]);
      const { tag, size } = published.manifest;
      expect(shown).toMatchObject({ published: true, withdrawn: false, tag, size });
      expect(shown.manifest).toBeUndefined();
    }
    const whole = noticeAnswer.parse(expectStatus(await sender.get(`${path}?manifest=true`), 200));
    expect(whole.manifest).toBe(published.text);
    const strange = await sender.get(`${path}?manifest=perhaps`);
    expect(strange).toMatchObject({ status: 400, json: { code: "BAD_REQUEST" } });
  });

  it("the task is shown with its members and the newest event", async () => {
    const shown = taskAnswer.parse(expectStatus(await first.get(`/v1/tasks/${task.id}`), 200));
    expect(shown).toMatchObject({ task: task.id, owner: addressOf(task.owner), roster: 1, count: 4 });
    expect(shown.members).toEqual(
      task.members.map((wallet, index) => ({ account: addressOf(wallet), index, active: true })),
    );
    expect(shown.latest.seq).toBe(await task.seq());
  });

  it("events are read forwards, backwards, and the newest alone", async () => {
    const path = `/v1/tasks/${task.id}/events`;
    const all = eventsAnswer.parse(expectStatus(await first.get(`${path}?after=0&block=0`), 200));
    expect(all.events.map(({ seq }) => seq)).toEqual(Array.from({ length: await task.seq() }, (_, i) => i + 1));
    const newest = eventsAnswer.parse(expectStatus(await first.get(path), 200));
    expect(newest.events).toEqual(all.events.slice(-1));
    expect(newest.next).toEqual(all.next);
    const { seq, block } = all.next;
    const before = eventsAnswer.parse(expectStatus(await first.get(`${path}?before=${seq}&block=${block}`), 200));
    expect(before.events).toEqual(all.events.slice(0, -1));
    const after = eventsAnswer.parse(expectStatus(await first.get(`${path}?after=${seq}&block=${block}`), 200));
    expect(after).toMatchObject({ events: [], next: { seq, block }, poll: 1000 });
    for (const misplaced of [`after=${seq + 5}&block=${block}`, "after=1&block=0"])
      expect((await first.get(`${path}?${misplaced}`)).json).toMatchObject({ code: "CONFLICT" });
  });

  it("statements of each kind go into the outbox under their author", async () => {
    const owner = api.caller(task.owner);
    const draft = Task.draft(api.world, 2);
    const open = await api.world.sign(task.owner, { ...draft.open, owner: owner.account });
    const { owner: _, kind: __, ...opening } = { ...open.statement, signature: open.signature };
    const opened = openAnswer.parse(
      expectStatus(await owner.post("/v1/tasks", { ...opening, owner: owner.account }), 202),
    );
    const admit = await task.change("admit", [addressOf(draft.owner)], 1);
    const message = await task.sign(first.wallet, {
      kind: "message",
      task: task.id,
      sender: first.account,
      page: 0,
      recipients: EVERYONE,
      name: wordHex(1n),
      payload: "0x",
      salt: random32(),
      deadline: (await api.world.now()) + 60,
    });
    const published = await sender.published(task, `statements/${way}`, randomBytes(5), [1]);
    const receipt = await task.sign(first.wallet, task.receipt(published.signed.notice));
    const withdraw = await task.sign(sender.wallet, { kind: "withdraw", of: published.signed.notice });
    const at = `/v1/tasks/${task.id}`;
    const { members, roster } = admit.statement;
    const answers = [
      await owner.post(`${at}/roster`, { kind: "admit", members, roster, signature: admit.signature }),
      await first.post(`${at}/messages`, { message: message.statement, signature: message.signature }),
      await first.post(`${at}/receipts`, { notice: published.id, outcome: "VERIFIED", signature: receipt.signature }),
      await sender.post(`${at}/withdrawals`, { notice: published.id, signature: withdraw.signature }),
    ].map((answer) => expectStatus(answer, 202).statement);
    const sent = [open, admit, message, receipt, withdraw];
    expect([opened.statement, ...answers]).toEqual(sent.map((signed) => statementId(signed.statement, signed.author)));
    const posted = await api.posted();
    for (const signed of sent) expect(posted).toContainEqual(signed);
    const state = await first.get(`${at}/statements/${answers[1]}`);
    expect(expectStatus(state, 200)).toEqual({ state: "pending" });
  });

  it("what doesn't exist is a problem with a code", async () => {
    const answer = await first.get("/v1/nothing");
    expect(answer.status).toBe(404);
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    expect(answer.json).toMatchObject({ code: "NOT_FOUND", status: 404 });
  });

  it("health and openapi.json need no signature", async () => {
    const health = await api.drive(new Request(`${api.deps.config.apiOrigin}/health`));
    expect(await health.json()).toEqual({ ok: true });
    const document = (await (await api.drive(new Request(`${api.deps.config.apiOrigin}/openapi.json`))).json()) as {
      paths: Record<string, object>;
    };
    expect(document.paths["/v1/tasks/{task}/transfers/{transfer}/finish"]).toHaveProperty("post.requestBody");
  });

  it("/docs shows people every call that openapi.json tells programs, and loads nothing", async () => {
    const page = await api.drive(new Request(`${api.deps.config.apiOrigin}/docs`));
    expect(page.headers.get("content-type")).toMatch(/^text\/html/);
    const html = await page.text();
    const { paths } = openapi() as { paths: Record<string, Record<string, { operationId: string }>> };
    for (const [path, methods] of Object.entries(paths))
      for (const [method, { operationId }] of Object.entries(methods))
        expect(html).toContain(`<h2 id="${operationId}"><code>${method.toUpperCase()} ${path}</code></h2>`);
    expect(html.match(/<(script|link|img|iframe|object|base|form)|\b(src|on\w+)=|url\(|https?:/gi)).toBe(null);
    const [style] = /(?<=<style>).*?(?=<\/style>)/s.exec(html)!;
    const hash = createHash("sha256").update(style).digest("base64");
    expect(page.headers.get("content-security-policy")).toContain(`default-src 'none'; style-src 'sha256-${hash}';`);
  });

  it("the bytes of a manifest come back exactly as they were sent", async () => {
    const payload = await sender.stored(task, `exact/${way}`, randomBytes(40));
    const again = await sender.begin(task, payload.tag, 40);
    expect(again.state).toBe("finished");
    expect(again.manifest).toBe(payload.text);
    expect(toBase64(decoded(again.manifest))).toBe(payload.text);
  });
});
