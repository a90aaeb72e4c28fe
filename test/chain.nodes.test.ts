import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ChainReader, type ReaderOptions } from "../lib/chain/reader.ts";
import { Rpc } from "../lib/chain/rpc.ts";
import type { TaskEvent } from "../lib/protocol/wire.ts";
import { item, random32, Task, World, waybill } from "./support/contract.ts";
import { type RpcCall, type RpcProxy, startRpcProxy } from "./support/rpcproxy.ts";

// Several nodes of one chain, of which some fail in their own ways.

let world: World;
let first: RpcProxy;
let second: RpcProxy;
const readers: ChainReader[] = [];

beforeAll(async () => {
  world = await World.start();
});
beforeEach(async () => {
  first = await startRpcProxy(world.rpc);
  second = await startRpcProxy(world.rpc);
});
afterEach(async () => {
  for (const one of readers.splice(0)) one.close();
  await Promise.all([first.stop(), second.stop()]);
});
afterAll(() => world.stop());

function reader(over: Partial<ReaderOptions> = {}): ChainReader {
  const made = new ChainReader({ ...world.domain, rpc: [first.url, second.url], confirmations: 0, ...over });
  readers.push(made);
  return made;
}

const START = { seq: 0, block: 0 };
/** A second each. */
const mine = (blocks: number) => world.provider.send("anvil_mine", [`0x${blocks.toString(16)}`, "0x1"]);
const seqs = (events: readonly TaskEvent[]): number[] => events.map(({ seq }) => seq);
const logsAsked = ({ calls }: RpcProxy): number => calls.filter((method) => method === "eth_getLogs").length;

/** A task with so many events, each in its own block, with some empty blocks after each. */
async function sparse(count: number, gap: number): Promise<Task> {
  const task = await Task.opened(world, 1);
  for (let i = 1; i < count; i++) {
    await mine(gap);
    await world.relay([item(await task.message())]);
  }
  return task;
}

const readAll = async (chain: ChainReader, task: Task) =>
  seqs(await chain.atOne(async (view) => view.eventsAfter(task.id, START, (await view.head()).block, 100)));

/** The node gives logs for so many blocks at most. */
const capped =
  (blocks: number) =>
  ({ method, params }: RpcCall): string | null => {
    const { fromBlock, toBlock } = (params[0] ?? {}) as { fromBlock: string; toBlock: string };
    return method === "eth_getLogs" && Number(toBlock) - Number(fromBlock) >= blocks
      ? `at most ${blocks} blocks`
      : null;
  };

/** The node stands where the chain was. */
function frozen(proxy: RpcProxy, block: unknown): void {
  proxy.answer = ({ method, params }, result) =>
    method === "eth_getBlockByNumber" && params[0] === "latest" ? block : result;
}

describe("a node that fails is passed over for the next one", () => {
  it.each<[string, Partial<RpcProxy>]>([
    ["is not there", { cut: () => "before" }],
    ["refuses everything", { refuse: () => "over quota" }],
    ["gives no logs", { refuse: ({ method }) => (method === "eth_getLogs" ? "no" : null) }],
    ["leaves out an event", { answer: onLogs((logs) => logs.toSpliced(1, 1)) }],
    ["leaves out the newest", { answer: onLogs((logs) => logs.slice(0, -1)) }],
    ["shows nothing", { answer: onLogs(() => []) }],
    ["calls an event removed", { answer: onLogs((logs) => logs.with(1, removed(logs[1]))) }],
    ["puts an event elsewhere", { answer: onLogs((logs) => logs.with(1, moved(logs[1]))) }],
    ["answers nonsense", { answer: onLogs(() => [{ topics: 7 }]) }],
    ["serves another chain", { answer: onMethod("eth_chainId", () => "0x7") }],
    ["numbers blocks otherwise", { answer: onNumber(() => `0x${"7".padStart(64, "0")}`) }],
  ])("when it %s", async (_what, fault) => {
    const task = await sparse(3, 1);
    Object.assign(first, fault);
    const chain = reader();
    expect(await readAll(chain, task)).toEqual([1, 2, 3]);
    const { length } = first.calls;
    for (let i = 0; i < 3; i++) expect(await readAll(chain, task)).toEqual([1, 2, 3]);
    expect(first.calls.length).toBe(length); // remembered
  });

  it("when it hangs, which costs one time-out and no more", async () => {
    const task = await sparse(2, 1);
    let asked = 0;
    const hanging = createServer(() => {
      asked += 1;
    });
    const chain = reader({ rpc: [await urlOf(hanging), second.url], timeout: 3_000 });
    for (let i = 0; i < 8; i++) expect(await readAll(chain, task)).toEqual([1, 2]);
    expect(asked).toBe(1);
    hanging.close();
    hanging.closeAllConnections();
  });

  it("when it lags far behind what another one has shown", async () => {
    const task = await sparse(2, 1);
    const old = await world.provider.send("eth_getBlockByNumber", ["latest", false]);
    const chain = reader();
    expect(await readAll(chain, task)).toEqual([1, 2]);
    await mine(100);
    await world.relay([item(await task.message())]);
    first.cut = () => "before";
    expect(await readAll(chain, task)).toEqual([1, 2, 3]); // by the second
    first.cut = () => null;
    second.cut = () => "before";
    frozen(first, old);
    await new Promise((resolve) => setTimeout(resolve, 1_100)); // the first may come back, and is behind
    await expect(chain.head()).rejects.toMatchObject({ code: "UNAVAILABLE", retryable: true });
    second.cut = () => null;
    await expect.poll(() => readAll(chain, task)).toEqual([1, 2, 3]);
  });

  it("when it stands still, though nobody but it is asked: the others are looked at now and then", async () => {
    const task = await sparse(2, 1);
    frozen(first, await world.provider.send("eth_getBlockByNumber", ["latest", false]));
    const chain = reader();
    expect(await readAll(chain, task)).toEqual([1, 2]);
    await mine(100);
    await world.relay([item(await task.message())]);
    expect(await readAll(chain, task)).toEqual([1, 2]); // not noticed yet
    await expect.poll(() => readAll(chain, task), { interval: 1_000 }).toEqual([1, 2, 3]);
  });

  it("and gets its turn again when the other one fails", async () => {
    const task = await sparse(2, 1);
    first.cut = () => "before";
    const chain = reader();
    expect(await readAll(chain, task)).toEqual([1, 2]);
    first.cut = () => null;
    second.cut = () => "before";
    await expect.poll(() => readAll(chain, task).catch(() => null)).toEqual([1, 2]);
  });

  it("and one that doesn't know a cursor is passed over when another one proves its line from there", async () => {
    const task = await sparse(4, 1);
    const chain = reader();
    const tip = await chain.tip();
    const [, , third] = await chain.eventsAfter(task.id, START, tip.block, 100);
    const early = await world.provider.send("eth_call", [
      { to: world.domain.contract, data: waybill.encodeFunctionData("latest", [task.id]) },
      `0x${(third!.block - 1).toString(16)}`,
    ]);
    const latest = waybill.getFunction("latest")!.selector;
    first.answer = ({ method, params }, result) =>
      method === "eth_call" && (params[0] as { data: string }).data.startsWith(latest) ? early : result;
    const cursor = { seq: 3, block: third!.block, hash: third!.blockHash };
    expect(seqs(await chain.eventsAfter(task.id, cursor, tip.block, 100))).toEqual([4]);
    second.cut = () => "before"; // nobody says otherwise now
    await expect
      .poll(() => chain.eventsAfter(task.id, cursor, tip.block, 100).catch((error: unknown) => error), {
        timeout: 30_000,
      })
      .toMatchObject({ code: "CONFLICT" });
  });
});

describe("all nodes", () => {
  it("on another chain are WRONG_CHAIN, and one that can't be asked leaves hope", async () => {
    first.answer = onMethod("eth_chainId", () => "0x7");
    second.answer = onMethod("eth_chainId", () => "0x8");
    const chain = reader();
    for (let i = 0; i < 3; i++) await expect(chain.tip()).rejects.toMatchObject({ code: "WRONG_CHAIN" });
    second.cut = () => "before";
    const mixed = reader();
    for (let i = 0; i < 3; i++) await expect(mixed.tip()).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });

  it("must be named by http(s) URLs, and there must be one", () => {
    for (const rpc of [[], [first.url, "ws://127.0.0.1:1"], ["sekrit"]])
      expect(() => reader({ rpc })).toThrowError(expect.objectContaining({ code: "USAGE" }));
  });

  it("show no head that is behind the last one, until the chain was rolled back for certain", async () => {
    await mine(50);
    const old = await world.provider.send("eth_getBlockByNumber", ["latest", false]);
    await mine(50);
    const chain = reader({ rpc: first.url });
    await chain.tip();
    frozen(first, old);
    for (let i = 0; i < 3; i++) await expect(chain.tip()).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });

  it("whose newest block is older than staleAfter are not believed; without it an idle chain is", async () => {
    const { timestamp } = await reader().tip();
    const age = Date.now() - timestamp * 1000;
    const young = reader({ staleAfter: age + 600_000 });
    const task = random32();
    await young.atOne((view) => Promise.all([view.tip(), view.roster(task)]));
    const picky = reader({ staleAfter: age - 1_000 });
    await expect(picky.atOne((view) => Promise.all([view.tip(), view.roster(task)]))).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringContaining("old"),
    });
  });
});

describe("one reading", () => {
  it("is composed from one node's view: when that fails in the middle it begins again at the next", async () => {
    const task = await sparse(3, 1);
    first.refuse = ({ method }) => (method === "eth_getLogs" ? "no" : null);
    const began: string[] = [];
    second.answer = (call, result) => {
      began.push(call.method);
      return result;
    };
    expect(await readAll(reader(), task)).toEqual([1, 2, 3]);
    expect(began).toContain("eth_getBlockByNumber"); // the second's own head, not the first's
  });
});

describe("where a node caps ranges", () => {
  it("10,000 blocks with three events and a cap of ten blocks take a handful of calls", async () => {
    // Blocks since Cancun write to the state, and thousands of them take anvil minutes.
    const long = await World.start({ target: "paris", args: ["--prune-history", "--hardfork", "shanghai"] });
    const node = await startRpcProxy(long.rpc);
    try {
      const task = await Task.opened(long, 1);
      for (let i = 0; i < 2; i++) {
        await long.provider.send("anvil_mine", ["0x1388", "0x1"]);
        await long.relay([item(await task.message())]);
      }
      node.refuse = capped(10);
      const chain = reader({ ...long.domain, rpc: node.url });
      const { block } = await chain.tip();
      expect(block).toBeGreaterThan(10_000);
      expect(seqs(await chain.eventsAfter(task.id, START, block, 100))).toEqual([1, 2, 3]);
      expect(logsAsked(node)).toBeLessThanOrEqual(8);
      const before = logsAsked(node);
      expect(seqs(await chain.eventsAfter(task.id, START, block, 100))).toEqual([1, 2, 3]);
      expect(logsAsked(node) - before).toBeLessThanOrEqual(3); // the cap is known by now
      expect(seqs(await chain.eventsBefore(task.id, { seq: 4, block }, 100))).toEqual([1, 2, 3]);
      node.refuse = () => null;
      expect(seqs(await reader({ ...long.domain, rpc: node.url }).eventsAfter(task.id, START, block, 9))).toEqual([
        1, 2, 3,
      ]);
    } finally {
      await node.stop();
      await long.stop();
    }
  });

  it("many events are read in windows as wide as it allows, and wider ones are rarely tried", async () => {
    const task = await Task.opened(world, 1);
    const fromBlock = (await task.world.provider.getBlockNumber()) - 1;
    for (let i = 0; i < 20; i++)
      await world.relay(await Promise.all([1, 2, 3, 4].map(async () => item(await task.message()))));
    first.refuse = capped(4);
    const chain = reader({ rpc: first.url, fromBlock });
    const { block } = await chain.tip();
    const all = await chain.eventsAfter(task.id, START, block, 100);
    expect(seqs(all)).toEqual(Array.from({ length: 81 }, (_, i) => i + 1));
    expect(logsAsked(first)).toBeLessThanOrEqual(20);
    expect(await chain.eventsBefore(task.id, { seq: 82, block }, 100)).toEqual(all);
  });

  it("an event that a walk misses is noticed as in a window", async () => {
    const task = await sparse(3, 50);
    first.refuse = capped(10);
    const { block } = await reader().tip();
    for (const hide of [1, 2]) {
      first.answer = ({ method, params }, result) => {
        if (method !== "eth_getLogs") return result;
        const { fromBlock, toBlock } = params[0] as { fromBlock: string; toBlock: string };
        return fromBlock === toBlock ? (result as unknown[]).slice(hide) : result;
      };
      const read = reader({ rpc: first.url }).eventsAfter(task.id, START, block, 100);
      await expect(read).rejects.toMatchObject({ code: "UNAVAILABLE" });
    }
  });
});

describe("a node in the middle of its next block", () => {
  it("that answers from that one for a moment is asked again, and one that keeps on doing so lags", async () => {
    const task = await sparse(2, 1);
    const chain = reader({ rpc: first.url });
    const { block } = await chain.tip();
    await world.relay([item(await task.message())]);
    const ahead = await world.provider.send("eth_call", [
      { to: world.domain.contract, data: waybill.encodeFunctionData("latest", [task.id]) },
      "latest",
    ]);
    const selector = waybill.getFunction("latest")!.selector;
    let early = 1;
    first.answer = ({ method, params }, result) =>
      method === "eth_call" && (params[0] as { data: string }).data.startsWith(selector) && early-- > 0
        ? ahead
        : result;
    expect(await chain.latest(task.id, block)).toMatchObject({ seq: 2 });
    early = Number.POSITIVE_INFINITY;
    await expect(chain.latest(task.id, block)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });
});

describe("a chain whose block.number is not the log's block", () => {
  it("is refused before anything is read", async () => {
    first.answer = onNumber((told) => `0x${(BigInt(told) / 2n).toString(16).padStart(64, "0")}`);
    await expect(reader({ rpc: first.url }).tip()).rejects.toMatchObject({
      code: "WRONG_CHAIN",
      message: expect.stringContaining("Arbitrum"),
    });
  });

  it("is refused with a task's first event where the node runs no call without a contract", async () => {
    const task = await sparse(2, 1);
    first.refuse = ({ method, params }) =>
      method === "eth_call" && (params[0] as { to?: string }).to === undefined ? "a contract is needed" : null;
    expect(await readAll(reader({ rpc: first.url }), task)).toEqual([1, 2]); // an ordinary chain behind such a node
    await mine(30);
    const late = await sparse(2, 1);
    first.answer = ({ method, params }, result) => {
      if (method !== "eth_getLogs") return result;
      const { fromBlock, toBlock } = params[0] as { fromBlock: string; toBlock: string };
      return (result as { blockNumber: string }[])
        .map((log) => ({ ...log, blockNumber: `0x${(Number(log.blockNumber) - 20).toString(16)}` }))
        .filter(
          ({ blockNumber }) => Number(blockNumber) >= Number(fromBlock) && Number(blockNumber) <= Number(toBlock),
        );
    };
    await expect(readAll(reader({ rpc: first.url }), late)).rejects.toMatchObject({ code: "WRONG_CHAIN" });
  });
});

describe("calls by several URLs", () => {
  it("go to the next node when one doesn't answer, and not when it refuses", async () => {
    first.cut = () => "before";
    const rpc = new Rpc([first.url, second.url]);
    for (let i = 0; i < 5; i++) expect(await rpc.send("eth_chainId", [])).toBe("0x7a69");
    expect(first.calls).toEqual(["eth_chainId"]);
    second.refuse = () => "nonce too low";
    await expect(rpc.send("eth_chainId", [])).rejects.toMatchObject({ details: { rpcMessage: "nonce too low" } });
    expect(first.calls).toEqual(["eth_chainId"]);
    second.refuse = () => null;
    second.cut = () => "before";
    await expect(rpc.send("eth_chainId", [])).rejects.toMatchObject({ code: "UNAVAILABLE" });
    rpc.close();
  });
});

type Answering = RpcProxy["answer"];

function onMethod(name: string, change: (result: unknown) => unknown): Answering {
  return ({ method }, result) => (method === name ? change(result) : result);
}

function onLogs(change: (logs: unknown[]) => unknown[]): Answering {
  return onMethod("eth_getLogs", (result) => change(result as unknown[]));
}

/** What a call without a contract answers: the constructor that tells block.number. */
function onNumber(change: (told: string) => string): Answering {
  return ({ method, params }, result) =>
    method === "eth_call" && (params[0] as { to?: string }).to === undefined ? change(String(result)) : result;
}

const removed = (log: unknown): unknown => ({ ...(log as object), removed: true });
const moved = (log: unknown): unknown => ({ ...(log as object), blockNumber: "0x1" });

async function urlOf(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}
