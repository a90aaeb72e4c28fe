import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Wallet } from "ethers";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createApi } from "../functions/api.ts";
import { Api } from "../lib/api.ts";
import { Follower, type FollowerOptions } from "../lib/chain/follower.ts";
import { Ledger, type News } from "../lib/chain/ledger.ts";
import { ChainReader } from "../lib/chain/reader.ts";
import type { EventSource } from "../lib/chain/source.ts";
import { TaskContractor } from "../lib/index.ts";
import { encodeKind } from "../lib/messages.ts";
import type { Deployment } from "../lib/protocol/deployment.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import type { Hex } from "../lib/protocol/hex.ts";
import { MAX_EVENTS } from "../lib/protocol/limits.ts";
import { type Message, type Signed, statementId } from "../lib/protocol/statements.ts";
import type { Head } from "../lib/protocol/wire.ts";
import { apiSource, nodeSource } from "../lib/sources.ts";
import { ApiWorld, ORIGIN } from "./support/api.ts";
import { addressOf, item, Task, waybill } from "./support/contract.ts";
import { type RpcProxy, startRpcProxy } from "./support/rpcproxy.ts";

// The follower over both sources on a real chain, while that, its nodes and the server misbehave. In the end every event
// was told in the chain's order, and exactly once.

let api: ApiWorld;
let node: RpcProxy;
const followers: Follower[] = [];
const closers: (() => void)[] = [];

beforeAll(async () => {
  api = await ApiWorld.start();
});
beforeEach(async () => {
  node = await startRpcProxy(api.world.rpc);
});
afterEach(async () => {
  for (const one of followers.splice(0)) one.close();
  for (const close of closers.splice(0)) close();
  await node.stop();
});
afterAll(() => api.stop());

type Answer = { events: Record<string, unknown>[]; next: { seq: number; block: number }; head: Head; poll: number };
/** What a server makes of its answer about events. Null: it gives none. */
type Lie = (answer: Answer, query: URLSearchParams) => Answer | null;

interface Watched {
  readonly follower: Follower;
  /** The statements told of, in order. */
  readonly told: Hex[];
  readonly rewinds: number[];
  /** Every head that it stood at. */
  readonly heads: number[];
  /** What the server says, where there is one. */
  lie: Lie | null;
}

function deployment(over: Partial<Deployment> = {}): Deployment {
  const { domain } = api.world;
  const times = { confirmations: 0, blockTime: 200, maxBlockAge: 20_000 };
  return { ...domain, ...times, api: ORIGIN, storeOrigin: "http://127.0.0.1:1", ...over };
}

function watch(task: Task, make: (watched: Watched) => EventSource, trusted: boolean): Watched {
  const ledger = new Ledger({ domain: api.world.domain, task: task.id, trusted });
  const told: Hex[] = [];
  const [rewinds, heads]: number[][] = [[], []];
  const onNews = ({ id }: News): void => void told.push(id);
  const onRewind = (seq: number): void => void rewinds!.push(seq);
  const watched = { told, rewinds: rewinds!, heads: heads!, lie: null } as unknown as Watched;
  const { blockTime, maxBlockAge } = deployment();
  const options: FollowerOptions = { ledger, source: make(watched), blockTime, maxBlockAge, onNews, onRewind };
  const follower = new Follower(options);
  followers.push(follower);
  return Object.assign(watched, { follower });
}

/** Over a node that the test bends; also over a good one, if wanted. */
function overNodes(task: Task, options: { confirmations?: number; rpc?: readonly string[] } = {}): Watched {
  const { confirmations = 0, rpc = [node.url] } = options;
  const reader = new ChainReader({ ...api.world.domain, rpc, confirmations, timeout: 10_000 });
  return watch(task, () => nodeSource(reader, deployment(), task.id), true);
}

/** Over HTTPS, from functions whose answers the test bends. */
function overHttps(task: Task, options: { confirmations?: number; as?: Wallet } = {}): Watched {
  const { confirmations = 0, as = task.members[0]! } = options;
  const config = { ...api.deps.config, confirmations };
  const chain = new ChainReader(config);
  closers.push(() => chain.close());
  const app = createApi({ ...api.deps, config, chain });
  return watch(
    task,
    (watched) => {
      const speak: typeof fetch = async (input, init) => {
        const request = new Request(String(input), init);
        const response = await app.fetch(request);
        const { pathname, searchParams } = new URL(request.url);
        if (!watched.lie || response.status !== 200 || !pathname.endsWith("/events")) return response;
        const bent = watched.lie((await response.json()) as Answer, searchParams);
        return bent ? Response.json(bent) : new Response("no", { status: 502 });
      };
      return apiSource(
        new Api({ deployment: deployment(), signer: as, account: addressOf(as), fetch: speak }),
        task.id,
      );
    },
    false,
  );
}

const sources = [
  ["with a node of one's own", overNodes],
  ["over HTTPS", overHttps],
] as const;

const idOf = ({ statement, author }: Signed): Hex => statementId(statement, author);

/** A task with so many messages, each in its own block. */
async function taskWith(count: number): Promise<{ task: Task; ids: Hex[] }> {
  const task = await api.task(2);
  const ids = [idOf(await task.sign(task.owner, task.open))];
  for (let i = 0; i < count; i++) ids.push(await post(task));
  return { task, ids };
}

/** Relays from an account of anvil's, which keeps its nonces right through reorgs. Its block may come after the answer. */
async function relay(...signed: readonly Signed[]): Promise<void> {
  const [from] = ((await send("eth_accounts")) as string[]).slice(-1);
  const data = waybill.encodeFunctionData("relay", [signed.map(item)]);
  const sent = await send("eth_sendTransaction", { from, to: api.world.domain.contract, data, gas: "0x4c4b40" });
  await api.world.mined(sent);
}

const send = (method: string, ...values: unknown[]): Promise<unknown> => api.world.provider.send(method, values);
const message = (task: Task): Promise<Signed<Message>> => task.message();

async function post(task: Task): Promise<Hex> {
  const signed = await message(task);
  await relay(signed);
  return idOf(signed);
}

/** Until so many events were applied, with many calls that fail meanwhile. */
async function reach(watched: Watched, seq: number): Promise<void> {
  const { follower, heads } = watched;
  for (let tries = 0; ; tries++) {
    try {
      await follower.until(() => {
        if (follower.head && follower.head.block !== heads.at(-1)) heads.push(follower.head.block);
        return follower.ledger.position.seq >= seq || undefined;
      });
      return;
    } catch (error) {
      expect(error).toMatchObject({ name: "WaybillError", code: expect.stringMatching(/^(BAD_SERVER|UNAVAILABLE)$/) });
      if (tries === 5) throw error;
    }
  }
}

const rising = (values: readonly number[]): boolean => values.every((value, i) => i === 0 || value > values[i - 1]!);

describe.each(sources)("%s", (_name, over) => {
  it("every event is told once and in order, also to whoever begins again in the middle", async () => {
    const { task, ids } = await taskWith(3);
    const first = over(task);
    await reach(first, 4);
    expect(first.told).toEqual(ids);
    first.follower.close();
    ids.push(await post(task));
    const second = over(task);
    await reach(second, 5);
    ids.push(await post(task));
    await reach(second, 6);
    expect(second.told).toEqual(ids);
    expect(second.rewinds).toEqual([]);
    expect(rising(second.heads)).toBe(true);
  });

  it("more events than a page holds are caught up with", async () => {
    const { task, ids } = await taskWith(0);
    const deadline = (await api.world.now()) + 3_600;
    for (let i = 0; i < 11; i++) {
      await send("anvil_mine", "0x5");
      const some = await Promise.all(Array.from({ length: 50 }, () => task.message({ deadline })));
      await relay(...some);
      ids.push(...some.map(idOf));
    }
    expect(ids.length).toBeGreaterThan(MAX_EVENTS);
    const watched = over(task);
    await watched.follower.sync();
    expect(watched.told).toEqual(ids);
  });

  it("a reorg that takes no event away is not noticed", async () => {
    const { task, ids } = await taskWith(2);
    await send("anvil_mine", "0x4");
    const watched = over(task);
    await reach(watched, 3);
    await send("anvil_reorg", 3, []);
    ids.push(await post(task));
    await reach(watched, 4);
    expect(watched.told).toEqual(ids);
    expect(watched.rewinds).toEqual([]);
  });

  it("a reorg within the confirmations is not noticed", async () => {
    const { task, ids } = await taskWith(1);
    await send("anvil_mine", "0x3");
    const watched = over(task, { confirmations: 3 });
    await reach(watched, 2);
    await relay(await message(task));
    await send("anvil_reorg", 1, []);
    ids.push(await post(task));
    await send("anvil_mine", "0x3");
    await reach(watched, 3);
    expect(watched.told).toEqual(ids);
    expect(watched.rewinds).toEqual([]);
  });

  it("a deep reorg is followed: what stands again is not told again, what is new is told once", async () => {
    const { task, ids } = await taskWith(1);
    const [kept, lost] = [await message(task), await message(task)];
    await relay(kept);
    await relay(lost);
    const watched = over(task);
    await reach(watched, 4);
    await send("anvil_reorg", 2, []);
    const fresh = await message(task);
    await relay(fresh);
    await relay(kept);
    const { follower } = watched;
    await follower.until(() => follower.ledger.hasMessage(idOf(fresh)) || undefined);
    await reach(watched, 4);
    expect(watched.told).toEqual([...ids, idOf(kept), idOf(lost), idOf(fresh)]);
    expect(follower.ledger.hasMessage(idOf(lost))).toBe(false);
    expect(follower.ledger.hasMessage(idOf(kept))).toBe(true);
    expect(watched.rewinds).toEqual([2]);
    await relay(lost);
    await reach(watched, 5);
    expect(watched.told).toHaveLength(5);
    expect(watched.rewinds).toHaveLength(1);
  });

  it("a reorg that puts another event into the same place is noticed by a call that only looks", async () => {
    const { task } = await taskWith(0);
    const [before, after] = [await message(task), await message(task)];
    await relay(before);
    const watched = over(task);
    await reach(watched, 2);
    await send("anvil_reorg", 1, []);
    await send("anvil_rollback", 1);
    await relay(after);
    await watched.follower.sync();
    const { ledger } = watched.follower;
    expect([ledger.hasMessage(idOf(before)), ledger.hasMessage(idOf(after))]).toEqual([false, true]);
    expect(ledger.position.seq).toBe(2);
  });

  it("whoever waits is asked again when a reorg was followed, and what was waited for comes true on the new chain", async () => {
    const { task } = await taskWith(1);
    const watched = over(task);
    const { follower } = watched;
    await reach(watched, 2);
    const coming = await message(task);
    const seen: number[] = [];
    const wait = follower.until(() => {
      seen.push(follower.ledger.position.seq);
      return follower.ledger.hasMessage(idOf(coming)) || undefined;
    });
    await send("anvil_reorg", 1, []);
    await expect.poll(() => seen.at(-1)).toBe(1);
    await relay(coming);
    expect(await wait).toBe(true);
    expect(Math.min(...seen)).toBe(1); // never a task that is half read
  });

  it("a reorg that takes the task's opening away is UNKNOWN_TASK until that stands again", async () => {
    const task = Task.draft(api.world, 2);
    api.serve(task.owner);
    const open = await task.sign(task.owner, task.open);
    await relay(open);
    const watched = over(task);
    await reach(watched, 1);
    await send("anvil_reorg", 1, []);
    const lost = watched.follower.until(() => watched.follower.ledger.position.seq === 0 || undefined);
    await expect(lost).rejects.toMatchObject({ code: "UNKNOWN_TASK" });
    await relay(open);
    const id = await post(task);
    await reach(watched, 2);
    expect(watched.told).toEqual([idOf(open), id]);
  });
});

describe.each([
  ["with a node of one's own", true],
  ["over HTTPS", false],
])("a process that is started again, %s", (_name, ownNode) => {
  let stateDir: string;
  beforeEach(async () => {
    stateDir = await mkdtemp(join(tmpdir(), "waybill-follower-"));
  });
  const made: TaskContractor[] = [];
  afterEach(async () => {
    await Promise.all(made.splice(0).map((contractor) => contractor.close()));
    await rm(stateDir, { recursive: true });
  });

  const app = () => createApi({ ...api.deps, config: { ...api.deps.config, longPoll: true } });
  const process = (task: Task): TaskContractor => {
    const served = app();
    const contractor = new TaskContractor({
      task: task.id,
      signer: task.members[1]!,
      deployment: deployment(ownNode ? { rpc: [node.url, api.world.rpc] } : {}),
      fetch: async (input, init) => served.fetch(new Request(String(input), init)),
      stateDir,
    });
    made.push(contractor);
    return contractor;
  };
  const saying = (task: Task, kind: string) => task.message({ name: encodeKind(kind), payload: "0x31" });
  /** Reads so many events and is done with them. */
  const read = async (contractor: TaskContractor, count: number): Promise<string[]> => {
    const seen: string[] = [];
    for await (const news of contractor.events({ timeout: 5_000 })) {
      seen.push(news.type === "message" ? news.kind : news.change);
      if (seen.length === count) break;
    }
    return seen;
  };

  it("goes on where it was, also when a reorg came meanwhile: at least once, and nothing is missed", async () => {
    const { task } = await taskWith(0);
    const first = process(task);
    await first.members(); // its position is known
    const [one, two, three, four] = await Promise.all(
      ["one", "two", "three", "four"].map((kind) => saying(task, kind)),
    );
    for (const signed of [one!, two!]) await relay(signed);
    expect(await read(first, 2)).toEqual(["one", "two"]);
    await relay(three!);
    await first.close();

    const second = process(task);
    expect(await read(second, 1)).toEqual(["three"]);
    await second.close();
    await send("anvil_reorg", 2, []); // takes the second and the third
    for (const signed of [four!, three!]) await relay(signed);

    const third = process(task);
    expect(await read(third, 2)).toEqual(["four", "three"]);
    await relay(two!);
    expect(await read(third, 1)).toEqual(["two"]);
    await third.close();
  });

  it("hears of what a reorg brings while it runs, and its position survives that", async () => {
    const { task } = await taskWith(1);
    const first = process(task);
    await first.members();
    const [one, two] = await Promise.all(["one", "two"].map((kind) => saying(task, kind)));
    await relay(one!);
    expect(await read(first, 1)).toEqual(["one"]);
    await send("anvil_reorg", 2, []); // takes both messages
    await relay(two!);
    expect(await read(first, 1)).toEqual(["two"]);
    await relay(one!); // again, and told before
    await first.members();
    await first.close();
    await relay(await saying(task, "later"));
    expect(await read(process(task), 2)).toEqual(["one", "later"]); // nobody was done with anything after "two"
  });
});

describe("a node of one's own", () => {
  type Log = { blockNumber: string };
  it.each<[string, (logs: Log[]) => unknown[]]>([
    ["repeats logs", (logs) => [...logs, ...logs]],
    ["mixes their order", (logs) => logs.toReversed()],
    ["leaves some out", (logs) => logs.filter((_, i) => i % 2 === 0)],
    ["calls some removed", (logs) => logs.map((log, i) => ({ ...log, removed: i % 2 === 1 }))],
    ["shows none", () => []],
    ["puts them into other blocks", (logs) => logs.map((log) => ({ ...log, blockNumber: "0x1" }))],
  ])("that now and then %s makes nobody miss or hear twice", async (_what, bend) => {
    const { task, ids } = await taskWith(2);
    let bad = true;
    node.answer = ({ method }, result) => {
      if (method !== "eth_getLogs") return result;
      bad = !bad;
      return bad ? result : bend(result as Log[]);
    };
    const watched = overNodes(task);
    await reach(watched, 3);
    for (let i = 4; i < 8; i++) {
      ids.push(await post(task));
      if (i % 2) await reach(watched, i);
    }
    expect(watched.told).toEqual(ids);
    expect(rising(watched.heads)).toBe(true);
  });

  it("whose head goes backwards now and then makes nobody's head go backwards", async () => {
    const { task, ids } = await taskWith(3);
    const watched = overNodes(task);
    await reach(watched, 4);
    const old = await send("eth_getBlockByNumber", "latest", false);
    let turn = 0;
    node.answer = ({ method, params }, result) =>
      method === "eth_getBlockByNumber" && params[0] === "latest" && turn++ % 2 === 0 ? old : result;
    for (let i = 5; i < 9; i++) {
      ids.push(await post(task));
      await reach(watched, i);
    }
    expect(watched.told).toEqual(ids);
    expect(rising(watched.heads)).toBe(true);
    expect(watched.rewinds).toEqual([]);
  });

  it("that invents an event is left for one that doesn't, and nothing of what it said stays", async () => {
    const { task, ids } = await taskWith(3);
    node.answer = ({ method }, result) => {
      if (method !== "eth_getLogs") return result;
      // The third word of the last message is its sender.
      const stranger = "5".repeat(40).padStart(64, "0");
      const forge = (data: string): string => `${data.slice(0, 130)}${stranger}${data.slice(194)}`;
      return (result as { data: string }[]).map((log, i) => (i === 3 ? { ...log, data: forge(log.data) } : log));
    };
    const watched = overNodes(task, { rpc: [node.url, api.world.rpc] });
    await watched.follower.sync();
    await reach(watched, 4);
    expect(watched.told).toEqual(ids);
    const alone = overNodes(task);
    await expect(alone.follower.sync()).rejects.toMatchObject({ code: "BAD_SERVER" });
  });

  it("and another one that disagree: whoever can't prove the line loses", async () => {
    const { task, ids } = await taskWith(4);
    const watched = overNodes(task, { rpc: [node.url, api.world.rpc] });
    node.answer = ({ method }, result) => (method === "eth_getLogs" ? (result as unknown[]).slice(0, 3) : result);
    await reach(watched, 5);
    expect(watched.told).toEqual(ids);
    expect(watched.rewinds).toEqual([]);
  });
});

describe("a server", () => {
  const twice = <T>(list: readonly T[]): T[] => [...list, ...list];
  it.each<[string, (events: Answer["events"]) => Answer["events"]]>([
    ["repeats events", (events) => twice(events)],
    ["mixes their order", (events) => events.toReversed()],
    ["leaves some out", (events) => events.filter((_, i) => i % 2 === 1)],
    ["leaves all out", () => []],
    [
      "tells them with another's signature",
      (events) => events.map((event) => ({ ...event, sender: `0x${"5".repeat(40)}` })),
    ],
    ["tells another task's", (events) => events.map((event) => ({ ...event, task: `0x${"6".repeat(64)}` }))],
    ["skips ahead", (events) => events.map((event) => ({ ...event, seq: Number(event.seq) + 1 }))],
    ["lies about blocks", (events) => events.map((event) => ({ ...event, prevBlock: 1 }))],
    ["breaks off", () => [{}]],
  ])("that now and then %s makes nobody believe, miss or hear twice", async (_what, bend) => {
    const { task, ids } = await taskWith(3);
    const watched = overHttps(task);
    let bad = false;
    watched.lie = (answer) => {
      bad = !bad;
      return bad ? { ...answer, events: bend(answer.events) } : answer;
    };
    await reach(watched, 4);
    for (let i = 5; i < 8; i++) {
      ids.push(await post(task));
      await reach(watched, i);
    }
    expect(watched.told).toEqual(ids);
    expect(rising(watched.heads)).toBe(true);
  });

  it("whose head goes backwards makes nobody's head go backwards", async () => {
    const { task, ids } = await taskWith(2);
    const watched = overHttps(task);
    let turn = 0;
    watched.lie = (answer) => ({ ...answer, head: turn++ % 2 ? answer.head : { block: 1, timestamp: 1 } });
    await reach(watched, 3);
    ids.push(await post(task));
    await reach(watched, 4);
    expect(watched.told).toEqual(ids);
    expect(rising(watched.heads)).toBe(true);
  });

  it("that tells of events and shows none is not waited for without end", async () => {
    const { task } = await taskWith(1);
    const ledger = new Ledger({ domain: api.world.domain, task: task.id, trusted: false });
    const { blockTime } = deployment();
    const source: EventSource = {
      read: async () => ({ events: [], head: { block: 9, timestamp: 9 }, poll: 50 }),
      look: async () => ({ head: { block: 9, timestamp: 9 }, seq: 2 }),
      close: () => {},
    };
    const follower = new Follower({ ledger, source, blockTime, maxBlockAge: 1_000 });
    followers.push(follower);
    await expect(follower.sync()).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });

  it("that calls every place wrong, again and again, is a typed error in time and not a storm of requests", async () => {
    const { task } = await taskWith(1);
    const ledger = new Ledger({ domain: api.world.domain, task: task.id, trusted: false });
    const reader = new ChainReader({ ...api.world.domain, rpc: api.world.rpc, confirmations: 0 });
    closers.push(() => reader.close());
    const honest = nodeSource(reader, deployment(), task.id);
    let reads = 0;
    const source: EventSource = {
      ...honest,
      read: async (after, signal) => {
        reads += 1;
        if (after.seq > 0) throw new WaybillError("CONFLICT", "no such place");
        return { ...(await honest.read(after, signal)), head: null, poll: 0 };
      },
    };
    const follower = new Follower({ ledger, source, blockTime: 200, maxBlockAge: 3_000 });
    followers.push(follower);
    const wait = follower.until(() => undefined, { at: 1 });
    await expect(wait).rejects.toMatchObject({ code: "UNAVAILABLE", retryable: true });
    expect(reads).toBeLessThan(40);
  });

  it.each([2 ** 31 - 1, 2 ** 40])(
    "that says to come back in %d ms is neither left alone nor asked at once",
    async (poll) => {
      const { task } = await taskWith(0);
      const app = createApi(api.deps);
      const speak: typeof fetch = async (input, init) => {
        const response = await app.fetch(new Request(String(input), init));
        return Response.json({ ...((await response.json()) as Answer), poll });
      };
      const [signer] = task.members as [Wallet];
      const source = apiSource(
        new Api({ deployment: deployment(), signer, account: addressOf(signer), fetch: speak }),
        task.id,
      );
      const { head, seq } = await source.look();
      const batch = await source.read({ seq, block: head.block }, new AbortController().signal);
      expect(batch.events).toEqual([]);
      expect(batch.poll).toBe(30_000); // a timer holds 2 ** 31 - 1, and takes more for nothing
    },
  );

  it("tells whoever was expelled so, and what was told before stays", async () => {
    const { task, ids } = await taskWith(1);
    const watched = overHttps(task, { as: task.members[1]! });
    await reach(watched, 2);
    await relay(await task.change("expel", [addressOf(task.members[1]!)], 1));
    await expect(watched.follower.sync()).rejects.toMatchObject({ code: "EXPELLED" });
    expect(watched.told).toEqual(ids);
  });
});
