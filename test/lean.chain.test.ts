import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { createApi } from "../functions/api.ts";
import { ChainReader } from "../lib/chain/reader.ts";
import { wordHex } from "../lib/protocol/hex.ts";
import { noticeId } from "../lib/protocol/statements.ts";
import { type Answer, ApiWorld, type Caller, type Published } from "./support/api.ts";
import { addressOf, newKey, type Task } from "./support/contract.ts";
import { type RpcProxy, startRpcProxy } from "./support/rpcproxy.ts";

// What a request asks of the chain: how many round trips, and what it shares with others.

const now = performance.now.bind(performance);
/** Milliseconds that have passed beyond those that did: what was shared is forgotten. */
let passed = 0;
function later(ms = 10_000): void {
  passed += ms;
}

let api: ApiWorld;
let proxy: RpcProxy;
let chain: ChainReader;
let task: Task;
let sender: Caller;
let recipient: Caller;
let published: Published;

beforeAll(async () => {
  vi.spyOn(performance, "now").mockImplementation(() => now() + passed);
  api = await ApiWorld.start({ shared: 2_000 });
  proxy = await startRpcProxy(api.world.rpc);
  task = await api.task(6);
  sender = api.caller(task.members[0]!);
  recipient = api.caller(task.members[1]!);
  published = await sender.published(task, "there", randomBytes(40), [1, 2]);
  await use(0);
});
afterAll(async () => {
  vi.restoreAllMocks();
  chain?.close();
  await proxy?.stop();
  await api?.stop();
});

/** Reads the chain by way of the proxy, in an instance that is warm. */
async function use(confirmations: number): Promise<void> {
  chain?.close();
  const config = { ...api.deps.config, confirmations, rpc: proxy.url };
  chain = new ChainReader(config);
  const app = createApi({ ...api.deps, config, chain });
  api.drive = async (request) => app.fetch(request);
  for (const member of [sender, recipient]) await member.get(`/v1/tasks/${task.id}`);
}

/** The batches that a call makes. */
async function asked(call: () => Promise<Answer>): Promise<string[][]> {
  proxy.batches.length = 0;
  const { status, json } = await call();
  if (status >= 300) throw new Error(`${status} ${JSON.stringify(json)}`);
  return proxy.batches.map((batch) => [...batch].sort());
}

const base = (): string => `/v1/tasks/${task.id}`;

async function message(recipients: bigint | null): Promise<object> {
  const draft = await task.message(recipients === null ? {} : { recipients, page: 0 });
  const said = { ...draft.statement, sender: sender.account };
  const { signature } = await task.sign(sender.wallet, said);
  return { message: { ...said, recipients: wordHex(said.recipients) }, signature };
}

const newest = async (): Promise<{ seq: number; block: number }> => {
  const { seq, block } = await api.deps.chain.latest(task.id);
  return { seq, block };
};
const [call, block] = ["eth_call", "eth_getBlockByNumber"];

describe.each([0, 2])("a request to a warm instance, %d blocks deep", (confirmations) => {
  beforeAll(async () => {
    await api.world.provider.send("anvil_mine", ["0x3"]);
    await use(confirmations);
  });
  beforeEach(() => later());

  const begin = () => sender.post(`${base()}/transfers`, { transfer: wordHex(BigInt(passed)), size: 100 });
  const stored = () => `${base()}/transfers/${published.transfer}`;
  it.each<[string, () => Promise<Answer>]>([
    ["begins a transfer", begin],
    ["finishes one", () => sender.post(`${stored()}/finish`, { manifest: published.text, notices: [] })],
    ["publishes a notice", () => sender.post(`${stored()}/finish`, { notices: [published.signed] })],
    ["downloads", () => recipient.download(task, published.id)],
    ["posts a message to everyone", async () => sender.post(`${base()}/messages`, await message(null))],
    ["posts a message to one", async () => sender.post(`${base()}/messages`, await message(2n))],
    ["reads a statement", () => sender.get(`${base()}/statements/${published.id}`)],
  ])("asks the chain once when it %s", async (_what, request) => {
    const batches = await asked(request);
    expect(batches).toHaveLength(1);
    expect(batches[0]!.filter((method) => method === block)).toHaveLength(1); // the newest, and no chain id
    expect(batches[0]!.filter((method) => method !== block && method !== call)).toEqual([]);
  });

  it("asks the chain once for URLs, for what is stored, and to abort", async () => {
    const begun = (await begin()).json;
    const transfer = `${base()}/transfers/${wordHex(BigInt(passed))}`;
    expect(begun.state).toBe("open");
    const part = { number: 1, length: 100, sha256: `${"A".repeat(43)}=` };
    for (const request of [
      () => sender.post(`${transfer}/parts`, { parts: [part] }),
      () => sender.get(`${transfer}/parts`),
      () => sender.delete(transfer),
    ]) {
      later();
      expect(await asked(request)).toEqual([[call, block]]);
    }
  });

  it("asks the chain twice for what stands at a depth, and once while it knows where that is", async () => {
    for (const path of ["", `/notices/${published.id}`, `/events?after=0&block=0`]) {
      later();
      const first = await asked(() => recipient.get(base() + path));
      expect(first[0]).toEqual([call, block]);
      // With the first of all events these are then fetched, too, in a round trip of their own.
      expect(first.length).toBeLessThanOrEqual(path.startsWith("/events") ? 3 : 2);
      const { seq, block: at } = await newest();
      // Another place, so that no answer is shared but that of where the chain stands.
      const again = path.startsWith("/events") ? `/events?after=${seq}&block=${at}` : path;
      expect(await asked(() => recipient.get(base() + again))).toHaveLength(1);
    }
  });
});

describe.each([0, 2])("a look for news that haven't come, %d blocks deep", (confirmations) => {
  beforeAll(async () => {
    await api.world.provider.send("anvil_mine", ["0x3"]);
    await use(confirmations);
  });

  it("asks the chain twice: it is what members ask most", async () => {
    const { seq, block: at } = await newest();
    later();
    expect(await asked(() => recipient.get(`${base()}/events?after=${seq}&block=${at}`))).toHaveLength(2);
  });
});

describe("who has no standing", () => {
  beforeAll(async () => {
    await api.world.provider.send("anvil_mine", ["0x3"]);
    await use(2);
  });
  beforeEach(() => later());

  it.each<[string, (who: Caller) => Promise<Answer>]>([
    ["for events", (who) => who.get(`${base()}/events?after=0&block=0`)],
    ["for the task", (who) => who.get(base())],
    ["for a notice", (who) => who.get(`${base()}/notices/${published.id}`)],
    ["for a download", (who) => who.download(task, published.id)],
    [
      "to finish",
      (who) => who.post(`${base()}/transfers/${published.transfer}/finish`, { notices: [published.signed] }),
    ],
  ])("is asked about and nothing else, when it asks %s", async (_what, request) => {
    proxy.batches.length = 0;
    expect((await request(api.caller(newKey()))).json).toMatchObject({ code: "NOT_MEMBER" });
    await new Promise((resolve) => setTimeout(resolve, 100)); // what was asked ahead may go on
    expect(proxy.batches).toEqual([[call, block], [call]]); // who it is, and whether the task is still there
  });
});

describe("what requests share", () => {
  beforeAll(() => use(0));
  beforeEach(() => later());

  it("is one reading of the events after the same place", async () => {
    const { seq, block: at } = await newest();
    const path = `${base()}/events?after=${seq - 1}&block=${at}`;
    const first = await recipient.get(`${base()}/events?after=0&block=0`);
    expect(first.json.events).toHaveLength(seq);
    const batches = await asked(() => sender.get(`${base()}/events?after=0&block=0`));
    expect(batches).toEqual([[call]]); // its own standing, and nothing else
    expect((await sender.get(`${base()}/events?after=0&block=0`)).json).toEqual(first.json);
    expect(path).toContain("after");
  });

  it("is never anybody's standing: who was expelled a moment ago is told so", async () => {
    const gone = api.caller(task.members[5]!);
    const { seq, block: at } = await newest();
    const path = `${base()}/events?after=${seq}&block=${at}`;
    expect((await gone.get(path)).status).toBe(200);
    await api.relay(await task.change("expel", [addressOf(task.members[5]!)], 1));
    expect((await gone.get(path)).json).toMatchObject({ code: "EXPELLED" });
    expect((await gone.post(`${base()}/transfers`, { transfer: wordHex(1n), size: 1 })).json).toMatchObject({
      code: "EXPELLED",
    });
  });

  it("is not what somebody asks who wants to know where things stand", async () => {
    const before = await recipient.get(`${base()}/events`);
    await api.relay(await task.message());
    const after = await recipient.get(`${base()}/events`);
    const seqOf = ({ json }: Answer): number => (json.next as { seq: number }).seq;
    expect(seqOf(after)).toBe(seqOf(before) + 1);
  });

  it("is forgotten by an instance that was frozen, whose own clock stood still", async () => {
    const { seq, block: at } = await newest();
    const path = `${base()}/events?after=${seq}&block=${at}`;
    await recipient.get(path);
    expect(await asked(() => recipient.get(path))).toEqual([[call]]);
    const wall = Date.now;
    const thawed = vi.spyOn(Date, "now").mockImplementation(() => wall() + 20_000);
    expect((await asked(() => recipient.get(path))).flat()).toContain(block);
    thawed.mockRestore();
  });

  it("is not an answer that failed", async () => {
    const { seq, block: at } = await newest();
    const path = `${base()}/events?after=${seq}&block=${at}`;
    proxy.cut = ({ method }) => (method === block ? "before" : null);
    expect((await recipient.get(path)).status).toBe(503);
    proxy.cut = () => null;
    later(70_000); // the node is left alone for a while
    expect((await recipient.get(path)).status).toBe(200);
  });
});

describe("a cold instance", () => {
  it("learns which chain it is with its first question, and never asks again", async () => {
    await use(0);
    chain.close();
    const cold = new ChainReader({ ...api.deps.config, rpc: proxy.url });
    proxy.batches.length = 0;
    const [member] = await Promise.all([cold.member(task.id, sender.account), cold.tip()]);
    expect(member).toEqual({ index: 0, active: true });
    expect(proxy.batches[0]).toContain("eth_chainId");
    expect(proxy.batches).toHaveLength(2); // the second one asks for a block's number in that block
    await cold.member(task.id, sender.account);
    expect(proxy.batches).toHaveLength(3);
    expect(proxy.batches[2]).toEqual(["eth_call"]);
    cold.close();
  });
});

it("is published under the id that the sender's statement has", () => {
  expect(noticeId(published.signed.notice)).toBe(published.id);
});
