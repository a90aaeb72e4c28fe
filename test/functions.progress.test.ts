import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { progressKey } from "../functions/keys.ts";
import { MAX_PAYLOAD } from "../lib/protocol/limits.ts";
import { type Answer, ApiWorld, type Caller, expectStatus, type Published } from "./support/api.ts";
import { random32, type Task } from "./support/contract.ts";

// How far recipients are with their downloads, in their own words.

let api: ApiWorld;
let task: Task;
let sender: Caller;
let recipients: Caller[];
let published: Published;
let now = Date.now();

beforeAll(async () => {
  api = await ApiWorld.start({}, () => now);
  task = await api.task(4);
  const callers = task.members.map((wallet) => api.caller(wallet));
  sender = callers[0]!;
  recipients = callers.slice(1);
});
afterAll(() => api?.stop());
beforeEach(async () => {
  published = await sender.published(task, random32(), randomBytes(40), [1, 2, 3]);
});

function report(caller: Caller, body: object, notice = published.id): Promise<Answer> {
  return caller.send("PUT", `/v1/tasks/${task.id}/notices/${notice}/progress`, body, { nonce: null });
}

/** What a reader is shown of each recipient. */
async function shown(caller: Caller): Promise<unknown[]> {
  const answer = expectStatus(await caller.get(`/v1/tasks/${task.id}/notices/${published.id}`), 200);
  return (answer.recipients as { progress?: unknown }[]).map(({ progress }) => progress);
}

describe("a recipient's progress", () => {
  it("is shown to the sender and the owner with its age, and to the recipient alone its own", async () => {
    const answer = await report(recipients[0]!, { bytes: 30, state: "downloading" });
    expect(expectStatus(answer, 200)).toEqual({ wait: 2000 });
    now += 7_000;
    const own = { bytes: 30, state: "downloading", age: 7_000 };
    expect(await shown(sender)).toEqual([own, undefined, undefined]);
    expect(await shown(api.caller(task.owner))).toEqual([own, undefined, undefined]);
    expect(await shown(recipients[0]!)).toEqual([own, undefined, undefined]);
    expect(await shown(recipients[1]!)).toEqual([undefined, undefined, undefined]);
  });

  it("is what was said last, and never more than the payload", async () => {
    expectStatus(await report(recipients[1]!, { bytes: 39, state: "downloading" }), 200);
    await new Promise((resolve) => setTimeout(resolve, 2_010));
    expectStatus(await report(recipients[1]!, { bytes: MAX_PAYLOAD, state: "verified" }), 200);
    expect(await shown(sender)).toEqual([undefined, { bytes: 40, state: "verified", age: 0 }, undefined]);
  });

  it("is taken once in two seconds, which is judged before anybody is asked anything", async () => {
    expectStatus(await report(recipients[2]!, { bytes: 1, state: "downloading" }), 200);
    api.seen.length = 0;
    const answer = await report(recipients[2]!, { bytes: 2, state: "downloading" });
    expect(answer).toMatchObject({ status: 429, json: { code: "RATE_LIMITED" } });
    expect(answer.json.limit).toEqual({ name: "progress", value: 2, unit: "seconds between reports" });
    expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(api.seen).toEqual([]);
    expect(await shown(sender)).toMatchObject([undefined, undefined, { bytes: 1 }]);
    const other = await sender.published(task, random32(), randomBytes(4), [3]);
    expectStatus(await report(recipients[2]!, { bytes: 2, state: "downloading" }, other.id), 200);
  });

  it("writes one object and nothing else: no nonce is kept for what a repetition can't harm", async () => {
    api.seen.length = 0;
    expectStatus(await report(recipients[0]!, { bytes: 5, state: "waiting" }), 200);
    const written = api.seen.filter(({ method }) => method === "PUT").map(({ key }) => key);
    expect(written).toEqual([progressKey(task.id, published.id, recipients[0]!.account)]);
  });

  it("refused to who isn't a recipient leaves no trace by which the next one would be slowed down", async () => {
    for (let i = 0; i < 3; i++)
      expect((await report(sender, { bytes: 1, state: "downloading" })).json).toMatchObject({ code: "NOT_RECIPIENT" });
  });

  it("of a notice that isn't there is refused", async () => {
    const answer = await report(recipients[0]!, { bytes: 1, state: "downloading" }, random32());
    expect(answer.json).toMatchObject({ code: "UNKNOWN_NOTICE" });
  });

  it.each([
    ["no bytes", { state: "downloading" }],
    ["bytes below none", { bytes: -1, state: "downloading" }],
    ["bytes beyond any payload", { bytes: MAX_PAYLOAD + 1, state: "downloading" }],
    ["half a byte", { bytes: 0.5, state: "downloading" }],
    ["a state that there isn't", { bytes: 1, state: "sleeping" }],
    ["something more", { bytes: 1, state: "downloading", account: "0x00" }],
    ["a long text", { bytes: 1, state: "x".repeat(2000) }],
  ])("with %s is refused", async (_, body) => {
    const answer = await report(recipients[0]!, body);
    expect([answer.status, answer.json.code]).toEqual([
      JSON.stringify(body).length > 1024 ? 413 : 400,
      JSON.stringify(body).length > 1024 ? "PAYLOAD_TOO_LARGE" : "BAD_REQUEST",
    ]);
  });

  it("that is no progress, or can't be read, is as if there were none", async () => {
    const key = progressKey(task.id, published.id, recipients[0]!.account);
    for (const value of [{ bytes: "many" }, { bytes: 1, state: "downloading" }, 3, null]) {
      await api.deps.store.putJson(key, value);
      expect(await shown(sender)).toEqual([undefined, undefined, undefined]);
    }
  });
});
