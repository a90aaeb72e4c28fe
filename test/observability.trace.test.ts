import { Wallet } from "ethers";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Api } from "../lib/api.ts";
import { type Address, type Hex, SharedFileDataChannel, TaskContractor, WaybillError } from "../lib/index.ts";
import { type Stack, startStack } from "../local/stack.ts";

// From a client's call to its transaction, by the call's id alone.

const wallets = [Wallet.createRandom(), Wallet.createRandom()];
const [alice, bob] = wallets.map(({ address }) => address) as [string, string];
const lines: Record<string, unknown>[] = [];
/** The id of each call, by method and path. */
const calls: { readonly call: string; readonly requestId: string }[] = [];
let stack: Stack;
let task: string;
const open: TaskContractor[] = [];

const watched: typeof fetch = async (input, init) => {
  const requestId = new Headers(init?.headers).get("x-request-id")!;
  calls.push({ call: `${init?.method} ${new URL(String(input)).pathname}`, requestId });
  return fetch(input, init);
};

beforeAll(async () => {
  stack = await startStack({ log: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) });
  const { deployment } = stack;
  const contractor = await TaskContractor.open({
    signer: wallets[0]!,
    members: [alice, bob],
    deployment,
    fetch: watched,
  });
  open.push(contractor);
  task = contractor.task;
  open.push(new TaskContractor({ task, signer: wallets[1]!, deployment, fetch: watched }));
});
afterAll(async () => {
  await Promise.all(open.map((contractor) => contractor.close()));
  await stack?.stop();
});

const about = (requestId: string): Record<string, unknown>[] => lines.filter((line) => line.requestId === requestId);

it("a transfer's notice and receipt lead from the client's calls to their transactions", async () => {
  const [mine, theirs] = open.map((contractor) => new SharedFileDataChannel(contractor)) as [
    SharedFileDataChannel,
    SharedFileDataChannel,
  ];
  const dataStream = new TextEncoder().encode("traced");
  await Promise.all([
    mine.sendStream({ source: alice, target: bob, dataStream, tag: "traced" }),
    theirs.receiveStream({ receiver: bob, source: alice, tag: "traced" }),
  ]);
  for (const path of ["/finish", "/receipts"]) {
    const { requestId } = calls.findLast(({ call }) => call.startsWith("POST") && call.endsWith(path))!;
    // A statement is settled when its block is known to stand, which nobody waits for.
    await expect.poll(() => about(requestId)).toHaveLength(3);
    const [asked, claimed, settled] = about(requestId);
    expect(asked).toMatchObject({ message: "request", statements: [claimed!.statement] });
    expect(claimed).toMatchObject({ service: "publisher", message: "claimed" });
    expect(settled).toMatchObject({
      message: "settled",
      statement: claimed!.statement,
      transaction: claimed!.transaction,
    });
  }
});

it("every call has an id of its own, of 128 bits, and keeps it over its tries", async () => {
  const ids: string[] = [];
  const flaky: typeof fetch = async (input, init) => {
    ids.push(new Headers(init?.headers).get("x-request-id")!);
    return ids.length % 2 === 1 ? new Response(null, { status: 503 }) : fetch(input, init);
  };
  const api = new Api({
    ...{ deployment: stack.deployment, signer: wallets[0]!, fetch: flaky },
    account: alice.toLowerCase() as Address,
  });
  await api.newest(task as Hex);
  await api.newest(task as Hex);
  expect(ids).toEqual([ids[0], ids[0], ids[2], ids[2]]);
  expect(ids[0]).not.toBe(ids[2]);
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{32}$/);
  for (const { requestId } of calls) expect(requestId).toMatch(/^[0-9a-f]{32}$/);
});

it("an error tells its user the id by which the operator finds the call", async () => {
  const stranger = new TaskContractor({ task, signer: Wallet.createRandom(), deployment: stack.deployment });
  open.push(stranger);
  const error = await stranger.members().then(
    () => null,
    (thrown: unknown) => thrown as WaybillError,
  );
  expect(error).toBeInstanceOf(WaybillError);
  expect(about(String(error!.details.requestId))).toMatchObject([{ message: "request", code: error!.code }]);
});

it("the stack counts what its functions do", () => {
  const value = (name: string) => stack.metrics().find((sample) => sample.name === name)?.value;
  expect(value("Transfers")).toBe(1);
  expect(value("TransferBytes")).toBe("traced".length);
  expect(value("StatementsSettled")).toBe(3); // the opening, the notice, the receipt
  expect(value("OutboxDepth")).toBe(0);
  expect(value("GasUsed")).toBeGreaterThan(100_000);
  expect(value("Refusals")).toBeGreaterThan(0);
});
