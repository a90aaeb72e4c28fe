import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { routes } from "../functions/routes.ts";
import { wordHex } from "../lib/protocol/hex.ts";
import { transferId } from "../lib/protocol/manifest.ts";
import { type Notice, noticeId } from "../lib/protocol/statements.ts";
import { type ApiWorld, Caller, expectStatus, type Published, type Recipient } from "./support/api.ts";
import { random32, Task } from "./support/contract.ts";
import { routeNames, Stage } from "./support/roles.ts";

// The attacks on roles, and tasks that nobody here serves. Every role on every route: reliability/access.test.ts.

let stage: Stage;
let api: ApiWorld;
let task: Task;
let published: Published;
let roles: Stage["callers"];

beforeAll(async () => {
  stage = await Stage.start();
  ({ api, task, published, callers: roles } = stage);
});
afterAll(() => stage?.stop());

it.each(routeNames.filter((name) => name !== "openTask"))(
  "%s on a task of an owner who isn't configured, or on none, is refused for everybody",
  async (name) => {
    const theirs = await Task.opened(api.world, 2);
    const { path, method } = routes[name]!;
    for (const id of [theirs.id, random32()])
      for (const wallet of [theirs.owner, theirs.members[0]!]) {
        const caller = new Caller(api, wallet);
        const target = path.replace("{task}", id).replaceAll(/\{\w+\}/g, published.id);
        const body = await stage.bodyFor(name, caller);
        await stage.log.take();
        const answer = await caller.send(method, target, body, method === "GET" ? { nonce: null } : {});
        expect(answer).toMatchObject({ status: 404, json: { code: "UNKNOWN_TASK" } });
        expect(await stage.log.take()).toEqual([]);
      }
  },
);

describe("an attack", () => {
  it("by a stranger who opens a task of its own, to upload at the operator's cost, gets nothing", async () => {
    const stranger = roles.stranger;
    expect((await stranger.post("/v1/tasks", await stage.bodyFor("openTask", stranger))).json).toMatchObject({
      code: "NOT_OWNER",
    });
    const own = await Task.opened(api.world, [stranger.wallet]); // it may relay for itself
    const answer = await stranger.post(`/v1/tasks/${own.id}/transfers`, { transfer: transferId("x"), size: 1 });
    expect(answer.json).toMatchObject({ code: "UNKNOWN_TASK" });
  });

  it("by a member who notices another's transfer and digest to itself opens nothing", async () => {
    const thief = roles.bystander;
    const notice: Notice = {
      ...published.signed.notice,
      sender: thief.account,
      recipients: 1n << 1n,
      deadline: (await api.world.now()) + 500,
    };
    const { signature } = await task.sign(thief.wallet, notice);
    const signed: Recipient = { notice, signature, recipients: [roles.recipient.account] };
    expect((await thief.finish(task, published.transfer, { notices: [signed] })).json).toMatchObject({
      code: "UNKNOWN_TRANSFER",
    });
    await api.relay({ statement: notice, author: thief.account, signature }); // the chain takes it
    const answer = await roles.recipient.download(task, noticeId(notice));
    expect(answer.json).toMatchObject({ code: "UNKNOWN_NOTICE" });
    // Not even with a record: the keys are the thief's own, and there is no payload.
    expect(
      await api.deps.store.putJson(`notice/${task.id}/${noticeId(notice)}.json`, { ...signed, notice: wire(notice) }),
    ).not.toBeNull();
    expect((await roles.recipient.download(task, noticeId(notice))).json).toMatchObject({ code: "GONE" });
    // And a record under the victim's name does not hash to its id.
    const forged = { ...signed, notice: wire({ ...notice, sender: roles.sender.account }) };
    await api.deps.store.putJson(`notice/${task.id}/${noticeId(notice)}.json`, forged);
    expect((await roles.recipient.download(task, noticeId(notice))).json).toMatchObject({ code: "UNKNOWN_NOTICE" });
  });

  it("by a recipient on a notice that isn't on the chain yet waits", async () => {
    const payload = await roles.sender.stored(task, "unmined", randomBytes(5));
    const signed = await roles.sender.notice(task, payload, [1]);
    await roles.sender.finish(task, payload.transfer, { notices: [signed] });
    expect((await roles.recipient.download(task, noticeId(signed.notice))).json).toMatchObject({
      code: "UNKNOWN_NOTICE",
    });
  });

  it("by a message of somebody else, or edited, reaches no outbox", async () => {
    const before = (await api.posted()).length;
    const message = await stage.messageOf(roles.sender);
    const { signature } = await task.sign(roles.sender.wallet, message);
    const path = `/v1/tasks/${task.id}/messages`;
    expect((await roles.bystander.post(path, { message, signature })).json).toMatchObject({ code: "BAD_REQUEST" });
    const edited = { ...message, payload: "0x00" };
    expect((await roles.sender.post(path, { message: edited, signature })).json).toMatchObject({
      code: "BAD_SIGNATURE",
    });
    const theirs = await stage.messageOf(roles.bystander);
    expect((await roles.bystander.post(path, { message: theirs, signature })).json).toMatchObject({
      code: "BAD_SIGNATURE",
    });
    const elsewhere = await stage.messageOf(roles.sender, { task: random32() });
    const misplaced = { message: elsewhere, signature: (await task.sign(roles.sender.wallet, elsewhere)).signature };
    expect((await roles.sender.post(path, misplaced)).json).toMatchObject({ code: "BAD_REQUEST" });
    expect(await api.posted()).toHaveLength(before);
  });

  it("by statements that the contract would only make wait fills no outbox", async () => {
    const before = (await api.posted()).length;
    const path = `/v1/tasks/${task.id}/messages`;
    const now = (await api.deps.chain.tip()).timestamp;
    const bends = [
      [{ deadline: now + 31 * 24 * 3600 }, "BAD_DEADLINE"],
      [{ deadline: now }, "BAD_DEADLINE"],
      [{ recipients: 1n << 90n }, "BAD_REQUEST"],
      [{ recipients: 1n << 110n }, "BAD_REQUEST"],
      [{ page: 1 }, "BAD_REQUEST"],
      [{ recipients: 0n }, "BAD_REQUEST"],
    ] as const;
    for (const [bend, code] of bends) {
      const message = await stage.messageOf(roles.sender, bend);
      const { signature } = await task.sign(roles.sender.wallet, message);
      expect((await roles.sender.post(path, { message, signature })).json).toMatchObject({ code });
    }
    const receipt = { kind: "receipt", task: task.id, notice: random32(), outcome: "VERIFIED" } as const;
    const { signature } = await task.sign(roles.recipient.wallet, receipt);
    const answer = await roles.recipient.post(`/v1/tasks/${task.id}/receipts`, {
      notice: receipt.notice,
      outcome: receipt.outcome,
      signature,
    });
    expect(answer.json).toMatchObject({ code: "UNKNOWN_NOTICE" });
    expect(await api.posted()).toHaveLength(before);
  });

  it("leaves the answer to a notice that its sender relayed itself, to its recipients alone", async () => {
    const relayed = await task.notice([task.members.indexOf(roles.recipient.wallet)]);
    await api.relay(relayed);
    const notice = noticeId(relayed.statement);
    for (const [caller, code] of [
      [roles.bystander, "NOT_RECIPIENT"],
      [roles.recipient, undefined],
    ] as const) {
      const receipt = { kind: "receipt", task: task.id, notice, outcome: "REFUSED" } as const;
      const { signature } = await task.sign(caller.wallet, receipt);
      const answer = await caller.post(`/v1/tasks/${task.id}/receipts`, { notice, outcome: "REFUSED", signature });
      expect(answer.json.code).toBe(code);
    }
  });

  it("by an expelled or re-admitted recipient's old index gets no URL", async () => {
    const room = await api.task(3);
    const from = api.caller(room.members[0]!);
    const to = api.caller(room.members[1]!);
    const sent = await from.published(room, "before", randomBytes(5), [1]);
    expectStatus(await to.download(room, sent.id), 200);
    await api.relay(await room.change("expel", [to.account], 1));
    expect((await to.download(room, sent.id)).json).toMatchObject({ code: "EXPELLED" });
    await api.relay(await room.change("admit", [to.account], 2));
    expect((await to.download(room, sent.id)).json).toMatchObject({ code: "NOT_RECIPIENT" });
  });

  it("by a recipient after a Withdraw gets no URL, unless it has verified", async () => {
    const sent = await roles.sender.published(task, "withdrawn", randomBytes(5), [1, 2]);
    await api.relay(await task.sign(roles.bystander.wallet, task.receipt(sent.signed.notice)));
    await api.relay(await task.sign(roles.sender.wallet, { kind: "withdraw", of: sent.signed.notice }));
    expect(await roles.recipient.download(task, sent.id)).toMatchObject({ status: 410, json: { code: "GONE" } });
    expectStatus(await roles.bystander.download(task, sent.id), 200);
  });

  it("with a GET URL for other bytes or another object fails at the store", async () => {
    const { url, headers } = expectStatus(await roles.recipient.download(task, published.id), 200) as {
      url: string;
      headers: Record<string, string>;
    };
    const get = async (address: string, sent: Record<string, string>) =>
      (await fetch(address, { headers: sent })).status;
    expect(await get(url, headers)).toBe(200);
    expect(await get(url, {})).toBe(403);
    expect(await get(url, { "if-match": '"other"' })).toBe(403);
    expect(await get(url.replace(published.transfer, transferId("withdrawn")), headers)).toBe(403);
    expect((await fetch(url, { method: "DELETE", headers })).status).toBe(403);
  });
});

function wire(notice: Notice): object {
  return { ...notice, recipients: wordHex(notice.recipients) };
}
