import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { routes } from "../functions/routes.ts";
import type { ErrorCode } from "../lib/protocol/errors.ts";
import { wordHex } from "../lib/protocol/hex.ts";
import { transferId } from "../lib/protocol/manifest.ts";
import { EVERYONE, type Notice, noticeId } from "../lib/protocol/statements.ts";
import { type Answer, ApiWorld, Caller, expectStatus, type Published, type Recipient } from "./support/api.ts";
import { newKey, random32, Task } from "./support/contract.ts";

// Every role on every route, and the attacks on them.

type Name = keyof typeof routes;
type Role = "stranger" | "outsider" | "expelled" | "owner" | "bystander" | "sender" | "recipient";

let api: ApiWorld;
let task: Task;
let published: Published;
let roles: Record<Role, Caller>;

beforeAll(async () => {
  api = await ApiWorld.start();
  task = await api.task(5);
  const other = await api.task(2);
  const [sender, recipient, bystander, expelled] = task.members.map((wallet) => api.caller(wallet)) as Caller[];
  roles = {
    sender: sender!,
    recipient: recipient!,
    bystander: bystander!,
    expelled: expelled!,
    owner: api.caller(task.owner),
    stranger: api.caller(newKey()),
    outsider: api.caller(other.members[0]!),
  };
  published = await roles.sender.published(task, "round-1", randomBytes(40), [1, 3, 4]);
  await api.relay(await task.change("expel", [roles.expelled.account], 1));
});
afterAll(() => api?.stop());

/** A well-formed request of a caller for each route, about the published transfer. */
async function ask(name: Name, caller: Caller): Promise<Answer> {
  const route = routes[name]!;
  const ids: Record<string, string> = {
    task: task.id,
    transfer: published.transfer,
    notice: published.id,
    statement: published.id,
  };
  const path = route.path.replaceAll(/\{(\w+)\}/g, (_, id: string) => ids[id]!);
  return caller.send(route.method, path, await bodyFor(name, caller), route.method === "GET" ? { nonce: null } : {});
}

async function bodyFor(name: Name, caller: Caller): Promise<unknown> {
  const { notice } = published.signed;
  const sign = async (statement: Parameters<Task["sign"]>[1]) => (await task.sign(caller.wallet, statement)).signature;
  switch (name) {
    case "openTask": {
      const open = { owner: caller.account, salt: random32(), members: [caller.account] };
      return { ...open, signature: await sign({ kind: "open", ...open }) };
    }
    case "changeRoster": {
      const change = { kind: "admit" as const, members: [caller.account], roster: 2 };
      return { ...change, signature: await sign({ ...change, task: task.id }) };
    }
    case "postMessage": {
      const message = await messageOf(caller);
      return { message, signature: await sign(message) };
    }
    case "postReceipt":
      return { notice: published.id, outcome: "VERIFIED", signature: await sign(task.receipt(notice)) };
    case "postWithdrawal":
      return { notice: published.id, signature: await sign({ kind: "withdraw", of: notice }) };
    case "begin":
      return { transfer: transferId(randomBytes(8).toString("hex")), size: 3 };
    case "signParts":
      return { parts: published.parts };
    case "finish":
      return { manifest: published.text, notices: [published.signed] };
    case "reportProgress":
      return { bytes: 3, state: "downloading" };
    default:
      return undefined;
  }
}

async function messageOf(caller: Caller, over: object = {}) {
  return {
    kind: "message" as const,
    task: task.id,
    sender: caller.account,
    page: 0,
    recipients: EVERYONE,
    name: wordHex(1n),
    payload: "0x" as const,
    salt: random32(),
    deadline: (await api.world.now()) + 60,
    ...over,
  };
}

const everyone: Role[] = ["stranger", "outsider", "expelled", "owner", "bystander", "sender", "recipient"];
type Row = Partial<Record<Role, ErrorCode | number>>;
const noMember: Row = { stranger: "NOT_MEMBER", outsider: "NOT_MEMBER", expelled: "EXPELLED" };
const members: Row = { ...noMember, owner: "NOT_MEMBER" };
const owners: Row = Object.fromEntries(everyone.map((role) => [role, role === "owner" ? 202 : "NOT_OWNER"]));
const readers: Row = { ...noMember, owner: 200, bystander: 200, sender: 200, recipient: 200 };
const posters: Row = { ...members, bystander: 202, sender: 202, recipient: 202 };
const senders: Row = { ...members, bystander: "UNKNOWN_TRANSFER", recipient: "UNKNOWN_TRANSFER" };

const table: Record<Name, Row> = {
  openTask: owners,
  changeRoster: owners,
  readTask: readers,
  readEvents: readers,
  readStatement: readers,
  postMessage: posters,
  postReceipt: { ...posters, bystander: "NOT_RECIPIENT", sender: "NOT_RECIPIENT" },
  postWithdrawal: { ...members, bystander: "BAD_REQUEST", recipient: "BAD_REQUEST", sender: 202 },
  begin: { ...members, bystander: 200, sender: 200, recipient: 200 },
  signParts: { ...senders, sender: "FINISHED" },
  listParts: { ...senders, sender: "FINISHED" },
  finish: { ...senders, sender: 202 },
  abort: { ...senders, sender: "FINISHED" },
  readNotice: { ...readers, bystander: "NOT_RECIPIENT" },
  download: { ...members, bystander: "NOT_RECIPIENT", sender: "NOT_RECIPIENT", recipient: 200 },
  reportProgress: { ...members, bystander: "NOT_RECIPIENT", sender: "NOT_RECIPIENT", recipient: 200 },
};

describe("who may", () => {
  it("is decided for every route and every role", () => {
    expect(Object.keys(table).sort()).toEqual(Object.keys(routes).sort());
    for (const row of Object.values(table)) expect(Object.keys(row).sort()).toEqual([...everyone].sort());
  });

  const cases = Object.entries(table).flatMap(([name, row]) =>
    everyone.map((role) => [name, role, row[role]!] as const),
  );
  it.each(cases)("%s by the %s answers %s", async (name, role, expected) => {
    // Finish gives the same notice again, which it may as long as everybody in it is still a member.
    const answer = name === "finish" && role === "sender" ? await refinish() : await ask(name, roles[role]);
    if (typeof expected === "number") expect([answer.status, answer.json]).toEqual([expected, answer.json]);
    else expect(answer.json).toMatchObject({ code: expected });
    if (name !== "download" || role !== "recipient") expect(JSON.stringify(answer.json)).not.toContain("X-Amz-");
  });

  async function refinish(): Promise<Answer> {
    const notice = await roles.sender.notice(task, published, [1]);
    return roles.sender.finish(task, published.transfer, { manifest: published.text, notices: [notice] });
  }

  it.each(Object.keys(table).filter((name) => name !== "openTask"))(
    "%s on a task of an owner who isn't configured, or on none, is refused for everybody",
    async (name) => {
      const theirs = await Task.opened(api.world, 2);
      const { path, method } = routes[name]!;
      for (const id of [theirs.id, random32()])
        for (const wallet of [theirs.owner, theirs.members[0]!]) {
          const caller = new Caller(api, wallet);
          const target = path.replace("{task}", id).replaceAll(/\{\w+\}/g, published.id);
          const body = await bodyFor(name, caller);
          api.seen.length = 0;
          const answer = await caller.send(method, target, body, method === "GET" ? { nonce: null } : {});
          expect(answer).toMatchObject({ status: 404, json: { code: "UNKNOWN_TASK" } });
          expect(api.seen).toEqual([]);
        }
    },
  );
});

describe("an attack", () => {
  it("by a stranger who opens a task of its own, to upload at the operator's cost, gets nothing", async () => {
    const stranger = roles.stranger;
    expect((await ask("openTask", stranger)).json).toMatchObject({ code: "NOT_OWNER" });
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
    const message = await messageOf(roles.sender);
    const { signature } = await task.sign(roles.sender.wallet, message);
    const path = `/v1/tasks/${task.id}/messages`;
    expect((await roles.bystander.post(path, { message, signature })).json).toMatchObject({ code: "BAD_REQUEST" });
    const edited = { ...message, payload: "0x00" };
    expect((await roles.sender.post(path, { message: edited, signature })).json).toMatchObject({
      code: "BAD_SIGNATURE",
    });
    const theirs = await messageOf(roles.bystander);
    expect((await roles.bystander.post(path, { message: theirs, signature })).json).toMatchObject({
      code: "BAD_SIGNATURE",
    });
    const elsewhere = await messageOf(roles.sender, { task: random32() });
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
      [{ recipients: wordHex(1n << 90n) }, "BAD_REQUEST"],
      [{ recipients: wordHex(1n << 110n) }, "BAD_REQUEST"],
      [{ page: 1 }, "BAD_REQUEST"],
      [{ recipients: wordHex(0n) }, "BAD_REQUEST"],
    ] as const;
    for (const [bend, code] of bends) {
      const message = await messageOf(roles.sender, bend);
      const { signature } = await task.sign(roles.sender.wallet, {
        ...message,
        recipients: BigInt(message.recipients),
      });
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
