import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { DEFAULT_CAPS } from "../functions/config.ts";
import { noncesOf } from "../functions/nonces.ts";
import { Reads } from "../functions/reads.ts";
import { type Address, type Hex, wordHex } from "../lib/protocol/hex.ts";
import { problem } from "../lib/protocol/wire.ts";
import { type Answer, ApiWorld, type Caller } from "./support/api.ts";
import type { Task } from "./support/contract.ts";

// Every cap of the API names itself in its problem, and says how long to wait where waiting helps.

const caps = { ...DEFAULT_CAPS, payload: 1_000, openUploads: 2, requests: 40, statements: 3, reads: 50 };
/** 40 s into a minute. */
const CLOCK = 1_900_000_000_000;

let api: ApiWorld;
let task: Task;
/** For each test one who has used nothing yet. */
let fresh: () => Caller;

beforeAll(async () => {
  api = await ApiWorld.start({ caps }, () => CLOCK);
  task = await api.task(14);
  let next = 1;
  fresh = () => api.caller(task.members[next++]!);
});
afterAll(() => api?.stop());

const base = (): string => `/v1/tasks/${task.id}`;
const begin = (caller: Caller, over: object = {}): Promise<Answer> =>
  caller.post(`${base()}/transfers`, {
    transfer: wordHex(BigInt(`0x${randomBytes(8).toString("hex")}`)),
    size: 1,
    ...over,
  });

async function post(caller: Caller, payload: Hex = "0x"): Promise<Answer> {
  const draft = await task.message({ payload });
  const message = { ...draft.statement, sender: caller.account };
  const { signature } = await task.sign(caller.wallet, message);
  return caller.post(`${base()}/messages`, {
    message: { ...message, recipients: wordHex(message.recipients) },
    signature,
  });
}

/** The last of so many answers. */
async function last(times: number, call: () => Promise<Answer>): Promise<Answer> {
  let answer = await call();
  for (let i = 1; i < times; i++) answer = await call();
  return answer;
}

describe("a cap names itself, its value and its unit", () => {
  const part = (number: number) => ({ number, length: 1, sha256: `${"A".repeat(43)}=` });
  const parts = (count: number) => Array.from({ length: count }, (_, i) => part(i + 1));

  it.each<[string, () => Promise<Answer>, number, string, object, string | null]>([
    [
      "a payload's bytes",
      () => begin(fresh(), { size: 1_001 }),
      413,
      "PAYLOAD_TOO_LARGE",
      { name: "payload", value: 1_000, unit: "bytes" },
      null,
    ],
    [
      "open uploads",
      async () => {
        const caller = fresh();
        return last(3, () => begin(caller));
      },
      429,
      "RATE_LIMITED",
      { name: "openUploads", value: 2, unit: "uploads" },
      "60",
    ],
    [
      "requests in a minute",
      async () => {
        const caller = fresh();
        const transfer = wordHex(7n);
        return last(41, () => begin(caller, { transfer }));
      },
      429,
      "RATE_LIMITED",
      { name: "requests", value: 40, unit: "requests in a minute" },
      "20",
    ],
    [
      "statements in a minute",
      async () => {
        const caller = fresh();
        return last(4, () => post(caller));
      },
      429,
      "RATE_LIMITED",
      { name: "statements", value: 3, unit: "statements in a minute" },
      "20",
    ],
    [
      "a message's bytes",
      () => post(fresh(), `0x${"00".repeat(4_097)}`),
      400,
      "BAD_REQUEST",
      { name: "message.payload", value: 4_096, unit: "bytes" },
      null,
    ],
    [
      "parts in a call",
      () => begin(fresh(), { parts: parts(257) }),
      400,
      "BAD_REQUEST",
      { name: "parts", value: 256, unit: "entries" },
      null,
    ],
    [
      "notices in a finish",
      async () => {
        const caller = fresh();
        const payload = await caller.stored(task, "many", randomBytes(5));
        const notice = await caller.notice(task, payload, [0]);
        return caller.finish(task, payload.transfer, { notices: Array.from({ length: 65 }, () => notice) });
      },
      400,
      "BAD_REQUEST",
      { name: "notices", value: 64, unit: "entries" },
      null,
    ],
    [
      "a body's bytes",
      () => fresh().post(`${base()}/messages`, { filler: "x".repeat(70_000) }),
      413,
      "PAYLOAD_TOO_LARGE",
      { name: "body", value: 65_536, unit: "bytes" },
      null,
    ],
  ])("%s", async (_what, call, status, code, limit, retryAfter) => {
    const answer = await call();
    expect(answer).toMatchObject({ status, json: { code, limit } });
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    expect(answer.headers.get("retry-after")).toBe(retryAfter);
    expect(problem.parse(answer.json).limit).toEqual(limit);
  });

  it("and whoever goes on over the cap of requests costs the store nothing more", async () => {
    const nonces = noncesOf({ config: { nonces: "store", caps: { ...caps, requests: 2 } }, store: api.deps.store });
    const { account } = fresh();
    const claim = (created: number) => nonces.claim(account, created, randomBytes(16).toString("base64url"), 0);
    const minute = 60 * 1_000_000;
    for (const second of [1, 2]) await claim(minute + second);
    await expect(claim(minute + 3)).rejects.toMatchObject({ code: "RATE_LIMITED" });
    const before = api.seen.length;
    await expect(claim(minute + 4)).rejects.toMatchObject({
      code: "RATE_LIMITED",
      details: { limit: { name: "requests", value: 2 }, wait: 56 },
    });
    expect(api.seen.length).toBe(before);
    await claim(minute + 60);
    expect(api.seen.length).toBeGreaterThan(before);
  });

  it("and what is no cap names none", async () => {
    const answer = await begin(fresh(), { size: -1 });
    expect(answer).toMatchObject({ status: 400, json: { code: "BAD_REQUEST" } });
    expect(answer.json).not.toHaveProperty("limit");
  });
});

describe("what an account reads in a minute", () => {
  const [account, other] = [wordAccount(1), wordAccount(2)];
  /** 40 s into a minute. */
  let now = CLOCK;
  const refusal = (reads: Reads, who = account): unknown => {
    try {
      reads.begin(who);
      return null;
    } catch (error) {
      return (error as { details: unknown }).details;
    }
  };

  it.each(["reads", "readBytes"] as const)("is capped in %s, for itself alone, until the next minute", (name) => {
    now = CLOCK;
    const reads = new Reads(caps, () => now);
    const value = caps[name];
    for (let i = 0; i < 3; i++) reads.begin(account)(name === "readBytes" ? value / 4 : 1);
    expect(refusal(reads)).toBeNull();
    if (name === "reads") for (let i = 4; i < value; i++) reads.begin(account);
    else reads.begin(account)(value / 4);
    expect(refusal(reads)).toEqual({ limit: { name, value, unit: expect.stringContaining("in a minute") }, wait: 20 });
    expect(refusal(reads, other)).toBeNull();
    now += 20_000;
    expect(refusal(reads)).toBeNull();
  });

  it("is answered with 429 over the API, by its name, before the chain is asked", async () => {
    const caller = fresh();
    expect((await caller.get(base())).status).toBe(200);
    await Promise.all(Array.from({ length: caps.reads - 1 }, () => caller.get(base())));
    const chain = vi.spyOn(api.deps.chain, "member");
    const answer = await caller.get(base());
    expect(chain).not.toHaveBeenCalled();
    chain.mockRestore();
    expect(answer).toMatchObject({
      status: 429,
      json: { code: "RATE_LIMITED", limit: { name: "reads", value: caps.reads, unit: "reads in a minute" } },
    });
    expect(answer.headers.get("retry-after")).toBe("20");
    expect((await fresh().get(base())).status).toBe(200);
  });
});

function wordAccount(nth: number): Address {
  return `0x${nth.toString(16).padStart(40, "0")}`;
}
