import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { Interface } from "ethers";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Hex } from "../lib/protocol/hex.ts";
import type { Signed } from "../lib/protocol/statements.ts";
import type { RequestLog } from "../local/store/store.ts";
import { type Compiled, compileSources } from "./support/compiled.ts";
import { groupsIn, Task, World } from "./support/contract.ts";
import { Desk, RELAYER } from "./support/publishing.ts";
import { type RpcCall, type RpcProxy, startRpcProxy } from "./support/rpcproxy.ts";

// A publisher's whole process, killed by the bucket or the node that it talks to in the middle of a call.

let compiled: Compiled;
let world: World;
let desk: Desk;
let proxy: RpcProxy;
let onStoreRequest: (entry: RequestLog) => void;
const children: ChildProcess[] = [];

beforeAll(async () => {
  compiled = compileSources();
  world = await World.start();
});
afterAll(async () => {
  await world.stop();
  compiled.remove();
});
beforeEach(async () => {
  onStoreRequest = () => {};
  desk = await Desk.open(world, (entry) => onStoreRequest(entry));
  proxy = await startRpcProxy(world.rpc);
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  await proxy.stop();
  await desk.close();
});

/** A process that publishes until the outbox is empty. */
function start(): ChildProcess {
  const url = (module: string): string => JSON.stringify(compiled.path(module));
  const program = `
    import { Publisher } from ${url("functions/publisher.js")};
    import { keyRelayer } from ${url("functions/relay.js")};
    import { Store } from ${url("functions/store.js")};
    const { store, key, ...deps } = JSON.parse(process.env.DEPS);
    const fees = { kind: "market", maxFeePerGas: 10n ** 12n };
    const publisher = new Publisher({ ...deps, store: new Store(store), relayer: keyRelayer(key), fees });
    while ((await publisher.step()).pending > 0);
    process.exit(0);`;
  const { storeConfig: store } = desk;
  const deps = { ...world.domain, store, rpc: proxy.url, key: RELAYER, confirmations: 0, blockTime: 100 };
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    env: { ...process.env, NODE_OPTIONS: process.env.WAYBILL_TEST_PRELOAD ?? "", DEPS: JSON.stringify(deps) },
    stdio: ["ignore", "ignore", "inherit"],
  });
  children.push(child);
  return child;
}

async function ended(child: ChildProcess): Promise<"killed" | "done"> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  if (child.signalCode === "SIGKILL") return "killed";
  expect(child.exitCode).toBe(0);
  return "done";
}

async function statements(): Promise<Signed[]> {
  const task = Task.draft(world, 4);
  const notice = await task.notice([1, 2, 3]);
  const receipts = [1, 2, 3].map((i) => task.sign(task.members[i]!, task.receipt(notice.statement)));
  return [await task.sign(task.owner, task.open), notice, ...(await Promise.all(receipts)), await task.message()];
}

const events = new Interface([
  "event Opened(bytes32 indexed task, uint64 seq, uint64 prevBlock, address owner, bytes32 salt, address[] members, bytes signature)",
  "event Noticed(bytes32 indexed task, uint64 seq, uint64 prevBlock, address sender, uint16 page, uint256 recipients, bytes32 transfer, bytes32 manifest, uint48 deadline, bytes signature)",
  "event Receipts(bytes32 indexed task, uint64 seq, uint64 prevBlock, bytes receipts)",
  "event Posted(bytes32 indexed task, uint64 seq, uint64 prevBlock, address sender, uint16 page, uint256 recipients, bytes32 kind, bytes payload, bytes32 salt, uint48 deadline, bytes signature)",
]);

/** All signatures in the contract's events, as the chain's raw logs have them. */
async function signaturesOnChain(): Promise<string[]> {
  const filter = { address: world.domain.contract, fromBlock: "0x0", toBlock: "latest" };
  const logs = (await world.provider.send("eth_getLogs", [filter])) as { topics: string[]; data: string }[];
  const found = logs.map((log) => events.parseLog(log)).filter((event) => event !== null);
  return found.flatMap((event) =>
    event.name === "Receipts" ? groupsIn(event).flatMap(({ signatures }) => signatures) : String(event.args.signature),
  );
}

async function expectAllOnce(all: readonly Signed[], ids: readonly Hex[]): Promise<void> {
  const found = await signaturesOnChain();
  for (const { signature } of all) expect(found.filter((other) => other === signature)).toHaveLength(1);
  for (const id of ids) expect(await desk.outbox.state(id)).toMatchObject({ state: "settled" });
  expect(await desk.keys("outbox/")).toEqual([]);
}

/** Kills the process when it makes such a call, before the chain sees it. */
function killAtCall(child: ChildProcess, method: string): void {
  proxy.cut = (call: RpcCall) => {
    if (call.method !== method) return null;
    child.kill("SIGKILL");
    return "before";
  };
}

describe("kill -9 of a publisher loses nothing and does nothing twice:", () => {
  const calls: [string, string][] = [
    ["while it looks", "eth_getTransactionCount"],
    ["while it simulates", "eth_call"],
    ["before it signs", "eth_feeHistory"],
    ["after its claim, before its transaction is broadcast", "eth_sendRawTransaction"],
    ["after its transaction was mined, before it looks for the events", "eth_getTransactionReceipt"],
  ];
  it.each(calls)("%s", async (_when, method) => {
    const all = await statements();
    const ids = await desk.post(...all);
    const child = start();
    killAtCall(child, method);
    expect(await ended(child)).toBe("killed");
    proxy.cut = () => null;
    expect(await ended(start())).toBe("done");
    await expectAllOnce(all, ids);
  });

  it("after its transaction was broadcast, before it hears of it", async () => {
    const all = await statements();
    const ids = await desk.post(...all);
    const child = start();
    proxy.answer = ({ method }, result) => {
      if (method === "eth_sendRawTransaction") child.kill("SIGKILL"); // anvil has it
      return result;
    };
    expect(await ended(child)).toBe("killed");
    proxy.answer = (_call, result) => result;
    expect(await ended(start())).toBe("done");
    await expectAllOnce(all, ids);
    expect(await desk.transactions()).toHaveLength(1);
  });

  const writes: [string, string, string][] = [
    ["right after its claim", "PUT", "relay/"],
    ["after a settlement, before the entry goes", "PUT", "settled/"],
    ["after the entries went", "POST", ""], // DeleteObjects names them in its body
  ];
  it.each(writes)("%s", async (_when, verb, prefix) => {
    const all = await statements();
    const ids = await desk.post(...all);
    const child = start();
    onStoreRequest = ({ method, key }) => void (method === verb && key?.startsWith(prefix) && child.kill("SIGKILL"));
    expect(await ended(child)).toBe("killed");
    onStoreRequest = () => {};
    expect(await ended(start())).toBe("done");
    await expectAllOnce(all, ids);
    expect(await desk.transactions()).toHaveLength(1);
  });

  it("again and again, each time a few calls later", async () => {
    const all = await statements();
    const ids = await desk.post(...all);
    let kills = 0;
    for (let last = 3, done = false; !done; last += 4) {
      const child = start();
      let calls = 0;
      const count = (): boolean => ++calls >= last && child.kill("SIGKILL");
      onStoreRequest = () => void count();
      proxy.cut = () => (count() ? "before" : null);
      done = (await ended(child)) === "done";
      kills += done ? 0 : 1;
    }
    expect(kills).toBeGreaterThan(4);
    await expectAllOnce(all, ids);
  });

  it("of one of two that work side by side", async () => {
    const all = [...(await statements()), ...(await statements())];
    const ids = await desk.post(...all);
    const [one, two] = [start(), start()];
    onStoreRequest = ({ method, key }) => void (method === "PUT" && key?.startsWith("relay/") && one.kill("SIGKILL"));
    await Promise.all([ended(one), ended(two)]);
    expect(await ended(start())).toBe("done");
    await expectAllOnce(all, ids);
  });
});
