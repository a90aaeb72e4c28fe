import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { AbiCoder } from "ethers";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { ChainReader, type ReaderOptions } from "../lib/chain/reader.ts";
import { wordHex } from "../lib/protocol/hex.ts";
import { type Notice, noticeId, type Signed, signerOf } from "../lib/protocol/statements.ts";
import type { TaskEvent } from "../lib/protocol/wire.ts";
import { taskEvent } from "../lib/protocol/wire.ts";
import { addressOf, item, newKey, random32, randomAddresses, Task, World, waybill } from "./support/contract.ts";
import { type RpcProxy, startRpcProxy } from "./support/rpcproxy.ts";

let world: World;
let proxy: RpcProxy;
const readers: ChainReader[] = [];

beforeAll(async () => {
  world = await World.start();
  proxy = await startRpcProxy(world.rpc);
});
afterAll(async () => {
  for (const one of readers) one.close();
  await proxy.stop();
  await world.stop();
});

function reader(over: Partial<ReaderOptions> = {}): ChainReader {
  const made = new ChainReader({ ...world.domain, rpc: world.rpc, confirmations: 0, ...over });
  readers.push(made);
  return made;
}

const mine = (blocks: number) => world.provider.send("anvil_mine", [`0x${blocks.toString(16)}`]);
const START = { seq: 0, block: 0 };
const seqs = (events: readonly TaskEvent[]): number[] => events.map(({ seq }) => seq);

/** A task with `count` messages, a few blocks between some of them, and two in one block now and then. */
async function busyTask(count: number): Promise<Task> {
  const task = await Task.opened(world, 2);
  for (let i = 1; i < count; i += 2) {
    await world.relay([item(await task.message()), item(await task.message())]);
    if (i % 3 === 0) await mine(3);
  }
  return task;
}

describe("views", () => {
  it("tell members, roster, latest and notices, now and at an earlier block", async () => {
    const chain = reader();
    const task = await Task.opened(world, 3);
    const [first, second, third] = task.members.map(addressOf);
    const early = (await chain.tip()).block;
    const notice = await task.noticed([1, 2]);
    await world.relay([await task.receipts(notice, [task.members[1]!])]);
    await world.relay([item(await task.change("expel", [third!], 1))]);
    const again = await task.change("admit", [third!], 2);
    await world.relay([item(again)]);

    const owner = addressOf(task.owner);
    expect(await chain.roster(task.id)).toEqual({ owner, version: 3, count: 4 });
    expect(await chain.roster(task.id, early)).toEqual({ owner, version: 1, count: 3 });
    expect(await chain.members(task.id)).toEqual([
      { account: first, index: 0, active: true },
      { account: second, index: 1, active: true },
      { account: third, index: 2, active: false },
      { account: third, index: 3, active: true },
    ]);
    expect(await chain.member(task.id, third!)).toEqual({ index: 3, active: true });
    expect(await chain.member(task.id, third!, early)).toEqual({ index: 2, active: true });
    expect(await chain.member(task.id, addressOf(newKey()))).toBeNull();
    expect((await chain.latest(task.id)).seq).toBe(5);
    expect(await chain.latest(task.id, early)).toEqual({ seq: 1, block: early });
    expect(await chain.notice(task.id, 0, noticeId(notice))).toEqual({
      deadline: notice.deadline,
      outstanding: 4n,
      verified: 2n,
      withdrawn: false,
    });
    expect(await chain.notice(task.id, 0, noticeId(notice), early)).toBeNull();
    expect(await chain.notice(task.id, 1, noticeId(notice))).toBeNull();
  });

  it("know nothing of a task that doesn't exist, nor of blocks before the contract", async () => {
    const chain = reader();
    const task = random32();
    expect(await chain.roster(task)).toBeNull();
    expect(await chain.members(task)).toEqual([]);
    expect(await chain.latest(task)).toEqual(START);
    expect(await chain.roster(task, 0)).toBeNull();
    expect(await chain.latest(task, 0)).toEqual(START);
    expect(await chain.eventsAfter(task, START, (await chain.head()).block, 10)).toEqual([]);
    expect(await chain.eventsBefore(task, START, 10)).toEqual([]);
  });

  it("list more members than one call answers", async () => {
    const task = await Task.opened(world, 1);
    const accounts = task.members.map(addressOf);
    for (let roster = 1; roster <= 4; roster++) {
      const more = randomAddresses(256);
      accounts.push(...more);
      await world.relay([item(await task.change("admit", more, roster))]);
    }
    const members = await reader().members(task.id);
    expect(members.map(({ account }) => account)).toEqual(accounts);
    expect(members.at(-1)).toMatchObject({ index: 1024, active: true });
  });

  it("tell the head with its confirmations on top", async () => {
    const chain = reader({ confirmations: 2 });
    await mine(3);
    const [head, tip] = await Promise.all([chain.head(), chain.tip()]);
    expect(head.block).toBe(tip.block - 2);
    expect(head.timestamp).toBe((await world.provider.getBlock(head.block))!.timestamp);
    expect((await reader({ confirmations: 1_000_000 }).head()).block).toBe(0);
  });
});

describe("events", () => {
  it("of every kind come as the wire has them, with signatures of their authors", async () => {
    const chain = reader();
    const task = await Task.opened(world, 4);
    const [sender, one, two] = task.members;
    const second = await task.noticed([1, 2]);
    const notice = await task.notice([1, 2]);
    const message = await task.message({ payload: "0x" });
    const expel = await task.change("expel", [addressOf(task.members[3]!)], 1);
    const admit = await task.change("admit", [addressOf(newKey())], 2);
    const withdraw = await task.sign(sender!, { kind: "withdraw", of: notice.statement } as const);
    const wallet = await task.sign(two!, task.walletReceipt(notice.statement, addressOf(two!)));
    await world.relay([
      item(notice),
      item(message),
      await task.receipts(notice.statement, [one!], { outcome: "CORRUPT" }),
      await task.receipts(second, [two!, one!]),
      item(wallet),
      item(expel),
      item(admit),
    ]);
    const other = await task.noticed([1]);
    await world.relay([item(await task.sign(sender!, { kind: "withdraw", of: other }))]);
    expect(withdraw.author).toBe(addressOf(sender!));

    const events = await chain.eventsAfter(task.id, START, (await chain.head()).block, 100);
    expect(events.map(({ type }) => type)).toEqual([
      "opened",
      "noticed",
      "noticed",
      "posted",
      "receipts",
      "walletReceipt",
      "expelled",
      "admitted",
      "noticed",
      "withdrawn",
    ]);
    for (const event of events) expect(taskEvent.parse(onWire(event))).toEqual(event);
    expect(statementIn(events[2]!)).toEqual(notice.statement);
    expect(events[3]).toMatchObject({ sender: addressOf(sender!), payload: "0x", recipients: 2n ** 256n - 1n });
    const told = (events[4] as Extract<TaskEvent, { type: "receipts" }>).receipts;
    const receipts = [task.receipt(notice.statement, { outcome: "CORRUPT" }), task.receipt(second)];
    expect(told).toMatchObject(receipts.map(({ notice, outcome }) => ({ notice, outcome })));
    const signed = told.map(({ signatures }, i) => signatures.map((one) => signerOf(world.domain, receipts[i]!, one)));
    expect(signed).toEqual([[addressOf(one!)], [addressOf(two!), addressOf(one!)]]);
    expect(events[5]).toMatchObject({ account: addressOf(two!), signature: wallet.signature });
    expect(events[6]).toMatchObject({ roster: 1, members: expel.statement.members, signature: expel.signature });
    expect(events[7]).toMatchObject({ roster: 2, members: admit.statement.members });
    expect(events[9]).toMatchObject({ notice: noticeId(other) });
  });

  it("of a contract account come with as long a signature as it likes", async () => {
    const chain = reader();
    const yes = await world.deploy("0x6010600c60003960106000f3631626ba7e60e01b60005260206000f3"); // ERC-1271: any will do
    const task = await Task.opened(world, 1);
    await world.relay([item(await task.change("admit", [yes], 1))]);
    const { statement } = await task.message({ sender: yes });
    const signature = `0x${"5a".repeat(100_000)}` as const;
    await world.send([item({ statement, author: yes, signature })]);
    const [posted] = await chain.eventsBefore(task.id, { ...(await chain.latest(task.id)), seq: 4 }, 1);
    expect(posted).toMatchObject({ type: "posted", sender: yes, signature });
    expect(taskEvent.parse(onWire(posted!))).toEqual(posted);
  });

  it("come in pages that join without a gap, forwards and backwards", async () => {
    const chain = reader();
    const task = await busyTask(13);
    const latest = await chain.latest(task.id);
    const all = await chain.eventsAfter(task.id, START, latest.block, 100);
    expect(seqs(all)).toEqual(Array.from({ length: 13 }, (_, i) => i + 1));

    for (const size of [1, 2, 5, 13, 50]) {
      const forwards: TaskEvent[] = [];
      for (let cursor = START; forwards.length < 13; ) {
        const page = await chain.eventsAfter(task.id, cursor, latest.block, size);
        expect(page.length).toBe(Math.min(size, 13 - forwards.length));
        forwards.push(...page);
        cursor = page.at(-1)!;
      }
      expect(forwards).toEqual(all);

      for (const block of ["block", "prevBlock"] as const) {
        let backwards: TaskEvent[] = [];
        for (let cursor = { seq: 14, block: latest.block }; backwards.length < 13; ) {
          const page = await chain.eventsBefore(task.id, cursor, size);
          expect(page.length).toBe(Math.min(size, 13 - backwards.length));
          backwards = [...page, ...backwards];
          cursor = { seq: page[0]!.seq, block: page[0]![block] };
        }
        expect(backwards).toEqual(all);
      }
    }
    expect(await chain.eventsAfter(task.id, latest, latest.block, 10)).toEqual([]);
    expect(await chain.eventsBefore(task.id, { seq: 1, block: all[0]!.block }, 10)).toEqual([]);
  });

  it("are found walking back over more blocks than are looked at together", async () => {
    const chain = reader();
    const task = await Task.opened(world, 2);
    await world.relay([item(await task.message())]);
    await mine(110);
    await world.relay([item(await task.message())]);
    const latest = await chain.latest(task.id);
    expect(seqs(await chain.eventsBefore(task.id, { seq: 4, block: latest.block }, 100))).toEqual([1, 2, 3]);
    expect(seqs(await chain.eventsBefore(task.id, { seq: 3, block: latest.block }, 1))).toEqual([2]);
  });

  it("end at the block that is asked for, also when it is before the cursor", async () => {
    const chain = reader({ confirmations: 2 });
    const task = await busyTask(3);
    const first = (await chain.eventsAfter(task.id, START, (await chain.tip()).block, 1))[0]!;
    expect(await chain.eventsAfter(task.id, START, first.block - 1, 10)).toEqual([]);
    expect(await chain.eventsAfter(task.id, first, first.block - 1, 10)).toEqual([]);
    expect(seqs(await chain.eventsAfter(task.id, START, first.block, 10))).toEqual([1]);
    await mine(2);
    expect(seqs(await chain.eventsAfter(task.id, START, (await chain.head()).block, 10))).toEqual([1, 2, 3]);
  });

  it("of other tasks and other contracts stay out", async () => {
    const chain = reader();
    const [task, other] = [await busyTask(3), await busyTask(3)];
    const { block } = await chain.tip();
    const events = await chain.eventsAfter(task.id, START, block, 10);
    expect(new Set(events.map((event) => event.task))).toEqual(new Set([task.id]));
    const cursor = events.at(-1)!;
    await expect(chain.eventsAfter(other.id, { ...cursor, seq: 9 }, block, 10)).rejects.toMatchObject({
      code: "CONFLICT",
    });
    await expect(chain.eventsAfter(task.id, { seq: 1, block: 0 }, block, 10)).rejects.toMatchObject({
      code: "CONFLICT",
    });
  });
});

describe("a node", () => {
  const whileLogs = async (change: (logs: unknown[]) => unknown[], work: (chain: ChainReader) => Promise<unknown>) => {
    proxy.answer = ({ method }, result) => (method === "eth_getLogs" ? change(result as unknown[]) : result);
    try {
      return await work(reader({ rpc: proxy.url }));
    } finally {
      proxy.answer = (_call, result) => result;
    }
  };

  it.each([
    ["no logs", () => []],
    ["all but the first", (logs: unknown[]) => logs.slice(1)],
    ["all but one in the middle", (logs: unknown[]) => logs.toSpliced(2, 1)],
    ["all but the last", (logs: unknown[]) => logs.slice(0, -1)],
    ["a removed one", (logs: unknown[]) => logs.with(2, { ...(logs[2] as object), removed: true })],
    ["another's in its place", (logs: unknown[]) => logs.with(2, { ...(logs[2] as object), blockNumber: "0x1" })],
  ])("that shows %s of a task is never believed", async (_what, change) => {
    const task = await busyTask(5);
    const latest = await reader().latest(task.id);
    await whileLogs(change, async (chain) => {
      await expect(chain.eventsAfter(task.id, START, latest.block, 100)).rejects.toMatchObject({ code: "UNAVAILABLE" });
      const before = chain.eventsBefore(task.id, { seq: 6, block: latest.block }, 100);
      await expect(before).rejects.toMatchObject({ code: "UNAVAILABLE" });
    });
  });

  it("may repeat logs and mix their order", async () => {
    const task = await busyTask(5);
    const latest = await reader().latest(task.id);
    await whileLogs(
      (logs) => [...logs.toReversed(), ...logs],
      async (chain) => {
        expect(seqs(await chain.eventsAfter(task.id, START, latest.block, 100))).toEqual([1, 2, 3, 4, 5]);
      },
    );
  });

  it("that gives logs for few blocks at a time, or cuts a long answer, is asked for less at once", async () => {
    const task = await busyTask(5);
    const { block } = await reader().latest(task.id);
    const chain = reader({ rpc: proxy.url });
    proxy.refuse = ({ method, params }) => {
      const { fromBlock, toBlock } = (params[0] ?? {}) as { fromBlock: string; toBlock: string };
      return method === "eth_getLogs" && Number(toBlock) - Number(fromBlock) >= 2 ? "at most two blocks" : null;
    };
    try {
      expect(seqs(await chain.eventsAfter(task.id, START, block, 100))).toEqual([1, 2, 3, 4, 5]);
      expect(seqs(await chain.eventsAfter(task.id, START, block, 2))).toEqual([1, 2]);
    } finally {
      proxy.refuse = () => null;
    }
    const padding = "x".repeat(33 * 2 ** 20);
    await whileLogs(
      (logs) => (logs.length > 2 ? [{ ...(logs[0] as object), padding }, ...logs.slice(1)] : logs),
      async (fresh) => {
        expect(seqs(await fresh.eventsAfter(task.id, START, block, 100))).toEqual([1, 2, 3, 4, 5]);
      },
    );
  });

  it.each<[string, (receipts: Buffer) => Buffer]>([
    ["none", () => Buffer.alloc(0)],
    ["a group that ends in its notice", (good) => Buffer.concat([good, good.subarray(0, 31)])],
    ["a group that ends before its count", (good) => Buffer.concat([good, good.subarray(0, 33)])],
    ["a group that ends in a signature", (good) => good.subarray(0, -1)],
    ["a byte behind the last group", (good) => Buffer.concat([good, Buffer.alloc(1)])],
    ["more signatures announced than there are", (good) => withByte(good, 33, 2)],
    ["fewer signatures announced than there are", (good) => withByte(Buffer.concat([good, good.subarray(34)]), 33, 1)],
    ["a group of nobody", (good) => Buffer.concat([good, good.subarray(0, 33), Buffer.alloc(1)])],
    ["more signatures than a page has members", (good) => manyOf(good, 105)],
    ["an outcome that there is not", (good) => withByte(good, 32, 5)],
    ["the outcome zero", (good) => withByte(good, 32, 0)],
  ])("that tells of receipts with %s is never believed", async (_what, change) => {
    const task = await Task.opened(world, 2);
    const notice = await task.noticed([1]);
    const { block } = await world.relay([await task.receipts(notice, [task.members[1]!])]);
    const types = "uint64,uint64,bytes".split(",");
    const tampered = (logs: unknown[]) =>
      (logs as { topics: string[]; data: string }[]).map((log) => {
        if (log.topics[0] !== waybill.getEvent("Receipts")!.topicHash) return log;
        const [seq, prevBlock, receipts] = AbiCoder.defaultAbiCoder().decode(types, log.data);
        const changed = change(Buffer.from(receipts.slice(2), "hex"));
        return { ...log, data: AbiCoder.defaultAbiCoder().encode(types, [seq, prevBlock, changed]) };
      });
    await whileLogs(tampered, async (chain) => {
      await expect(chain.eventsAfter(task.id, START, block, 9)).rejects.toMatchObject({ code: "BAD_SERVER" });
    });
    expect(seqs(await reader().eventsAfter(task.id, START, block, 9))).toEqual([1, 2, 3]);
  });

  it("that gives no logs at all says why", async () => {
    const task = await busyTask(1);
    const { block } = await reader().latest(task.id);
    proxy.refuse = ({ method }) => (method === "eth_getLogs" ? "no logs today" : null);
    const refused = reader({ rpc: proxy.url }).eventsAfter(task.id, START, block, 9);
    await expect(refused).rejects.toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("no logs") });
    proxy.refuse = () => null;
  });

  it("that answers nonsense is a typed error", async () => {
    const task = await busyTask(1);
    await whileLogs(
      () => [{ topics: 7 }],
      async (chain) => {
        const { block } = await chain.tip();
        await expect(chain.eventsAfter(task.id, START, block, 9)).rejects.toMatchObject({ code: "BAD_SERVER" });
      },
    );
    await whileLogs(
      (logs) => logs.map((log) => ({ ...(log as object), data: "0x1234" })),
      async (chain) => {
        const { block } = await chain.tip();
        await expect(chain.eventsAfter(task.id, START, block, 9)).rejects.toMatchObject({ code: "BAD_SERVER" });
      },
    );
    proxy.answer = ({ method }, result) => (method === "eth_getBlockByNumber" ? null : result);
    await expect(reader({ rpc: proxy.url }).tip()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    proxy.answer = (_call, result) => result;
  });

  it("of another chain, or without the contract, is refused before anything is read", async () => {
    await expect(reader({ chainId: 1 }).tip()).rejects.toMatchObject({
      code: "WRONG_CHAIN",
      message: expect.stringContaining("31337"),
    });
    for (const contract of [addressOf(newKey()), await world.deploy("0x600a600c600039600a6000f3602a60005260206000f3")])
      await expect(reader({ contract }).roster(random32())).rejects.toMatchObject({
        code: "WRONG_CHAIN",
        message: expect.stringContaining(contract),
      });
  });

  it("that comes up late is asked again", async () => {
    proxy.cut = () => "before";
    const chain = reader({ rpc: proxy.url });
    await expect(chain.tip()).rejects.toMatchObject({ code: "UNAVAILABLE", retryable: true });
    proxy.cut = () => null;
    expect((await chain.tip()).block).toBeGreaterThan(0);
  });

  it("that doesn't answer, answers 429 or 500, or refuses a call is UNAVAILABLE, and its key is in no error", async () => {
    let status = 0;
    const server = createServer((_request, response) => {
      if (status !== 0) response.writeHead(status).end("key sekrit-0a1b2c3d is over its quota");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const origin = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const urls = [
      `http://${origin}/v3/sekrit-0a1b2c3d?apikey=sekrit-0a1b2c3d`,
      `http://user:sekrit-0a1b2c3d@${origin}/`,
    ];
    try {
      for (const rpc of urls)
        for (status of [0, 429, 500, 302, 200]) {
          const error = await reader({ rpc, timeout: 200 })
            .tip()
            .catch((thrown: unknown) => thrown);
          expect(error).toMatchObject({ code: "UNAVAILABLE" });
          expect(everythingIn(error)).not.toContain("sekrit");
        }
    } finally {
      server.closeAllConnections();
      server.close();
    }
    const refused = await reader()
      .eventsAfter(random32(), START, 2 ** 50, 1)
      .catch((thrown: unknown) => thrown);
    expect(refused).toMatchObject({ code: "UNAVAILABLE", details: { rpcCode: expect.any(Number) } });
  });

  it("that quotes its own URL in a refusal is not quoted", async () => {
    const server = createServer((request, response) => {
      const error = { code: -32000, message: `no credit for ${request.headers.host}${request.url} (sekrit-0a1b2c3d)` };
      response.end(JSON.stringify([0, 1, 2, 3, 4].map((id) => ({ jsonrpc: "2.0", id, error }))));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const rpc = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v3/sekrit-0a1b2c3d`;
    const error = await reader({ rpc })
      .tip()
      .catch((thrown: unknown) => thrown);
    server.closeAllConnections();
    server.close();
    expect(error).toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("no credit") });
    expect(everythingIn(error)).not.toContain("sekrit");
  });

  it("that quotes its host, with or without the key in front of it, is not quoted", async () => {
    const host = "sekrit-0a1b2c3d.node.example";
    const server = createServer((_request, response) => {
      const error = { code: -32000, message: `no credit for ${host}, whose key is sekrit-0a1b2c3d` };
      response.end(JSON.stringify([0, 1, 2, 3, 4].map((id) => ({ jsonrpc: "2.0", id, error }))));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const there = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const real = globalThis.fetch; // resolves the name, which no DNS knows
    vi.stubGlobal("fetch", (url: string, init: RequestInit) => real(url.replace(host, there), init));
    const error = await reader({ rpc: `http://${host}/` })
      .tip()
      .catch((thrown: unknown) => thrown);
    vi.unstubAllGlobals();
    server.closeAllConnections();
    server.close();
    expect(error).toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("no credit") });
    for (const secret of ["sekrit", "node.example"]) expect(everythingIn(error)).not.toContain(secret);
  });

  it("has to have an http(s) URL", () => {
    for (const rpc of ["", "sekrit", "ws://127.0.0.1:1/sekrit"]) {
      expect(() => reader({ rpc })).toThrowError(expect.objectContaining({ code: "USAGE" }));
      expect(() => reader({ rpc })).not.toThrowError(/sekrit/);
    }
  });
});

/** A bigint is 64 hex digits on the wire. */
function onWire(event: TaskEvent): unknown {
  return "recipients" in event ? { ...event, recipients: wordHex(event.recipients) } : event;
}

function statementIn(event: TaskEvent): Notice {
  if (event.type !== "noticed") throw new Error(event.type);
  const { task, sender, page, recipients, transfer, manifest, deadline } = event;
  return { kind: "notice", task, sender, page, recipients, transfer, manifest, deadline } satisfies Signed["statement"];
}

/** An error with all that hangs on it, also what is not enumerable. */
function everythingIn(error: unknown): string {
  if (typeof error !== "object" || error === null) return String(error);
  return Object.getOwnPropertyNames(error)
    .map((name) => `${name}: ${everythingIn((error as Record<string, unknown>)[name])}`)
    .join("\n");
}

function withByte(bytes: Buffer, at: number, value: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[at] = value;
  return changed;
}

/** A group of one signature as one of that signature so many times. */
function manyOf(group: Buffer, count: number): Buffer {
  return withByte(Buffer.concat([group, ...Array.from({ length: count - 1 }, () => group.subarray(34))]), 33, count);
}
