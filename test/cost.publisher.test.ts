import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { Task, World } from "./support/contract.ts";
import { Desk } from "./support/publishing.ts";
import { type RpcProxy, startRpcProxy } from "./support/rpcproxy.ts";

// A publisher that has nothing to do costs a listing of its outbox, and nothing of an RPC node.

let world: World;
let proxy: RpcProxy;
let desk: Desk;
let task: Task;
const requests: string[] = [];

beforeAll(async () => {
  world = await World.start();
  proxy = await startRpcProxy(world.rpc);
  desk = await Desk.open(world, ({ method }) => requests.push(method));
  task = await Task.opened(world, 2);
});
afterAll(async () => {
  await desk?.close();
  await proxy?.stop();
  await world?.stop();
});

it("asks no RPC node while its outbox is empty and nothing is on its way, and goes on counting its turns", async () => {
  const publisher = desk.publisher({ rpc: proxy.url });
  await publisher.step(); // it doesn't know yet whether something is on its way
  proxy.calls.length = 0;
  requests.length = 0;
  const turns = (): number => desk.counted.samples().find(({ name }) => name === "PublisherTurns")!.value;
  const before = turns();
  for (let i = 0; i < 5; i++) expect(await publisher.step()).toEqual({ pending: 0, moved: false });
  expect(proxy.calls).toEqual([]);
  expect(requests).toEqual(Array(5).fill("GET"));
  expect(turns()).toBe(before + 5);
});

it("looks at its account again after an hour: what was sent to it, or taken from it, shows in its balance", async () => {
  const publisher = desk.publisher({ rpc: proxy.url });
  for (let i = 0; i < 2; i++) await publisher.step();
  proxy.calls.length = 0;
  const wall = Date.now;
  const later = vi.spyOn(Date, "now").mockImplementation(() => wall() + 3_600_000);
  expect(await publisher.step()).toMatchObject({ pending: 0 });
  expect(proxy.calls).toContain("eth_getBalance");
  proxy.calls.length = 0;
  await publisher.step();
  expect(proxy.calls).toEqual([]);
  later.mockRestore();
});

it("begins at once when there is something to do, and rests again only when that is done", async () => {
  const publisher = desk.publisher({ rpc: proxy.url, confirmations: 2 });
  await publisher.step();
  await publisher.step();
  const [id] = await desk.post(await task.message());
  await publisher.step();
  expect(await desk.transactions()).toHaveLength(1);
  // Mined, but not deep enough: it is still looked after.
  proxy.calls.length = 0;
  await publisher.step();
  expect(proxy.calls.length).toBeGreaterThan(0);
  await world.provider.send("anvil_mine", ["0x3"]);
  expect((await publisher.step()).pending).toBe(0);
  expect(await desk.outbox.state(id!)).toMatchObject({ state: "settled" });
  proxy.calls.length = 0;
  await publisher.step();
  expect(proxy.calls).toEqual([]);
});
