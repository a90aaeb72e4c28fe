import { randomBytes } from "node:crypto";
import { hexlify, Wallet } from "ethers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Address, type Hex, SharedFileDataChannel, TaskContractor } from "../lib/index.ts";
import { encodeKind } from "../lib/messages.ts";
import {
  bitmapOf,
  EVERYONE,
  type Message,
  type Notice,
  noticeId,
  type RosterChange,
  type Signed,
  signStatement,
  taskId,
} from "../lib/protocol/statements.ts";
import { type Cast, coded, nameOf, newsOf, noticed, parcel, rejection, Scene, standing } from "./support/members.ts";

// The attacks that the first design fell to, each on the whole stack. Three of them stand where their sentence stands:
// - A receipt accepted before the deadline and mined after it: sentences.deadline.test.ts, "a receipt that was accepted ..."
// - A re-send within the same second that yields an old notice's id: sentences.deadline.test.ts, "a re-send within ..."
// - Two notices of one transfer delivered as two rounds: channel.test.ts, "two notices of one transfer", and
//   sentences.tag.test.ts, "all open notices of one transfer are one delivery ..."
// On single modules: functions.roles.test.ts ("an attack"), contract.notices.test.ts, contract.relay.test.ts,
// contract.rosters.test.ts, publisher.faults.test.ts ("what its author relayed is settled only when that is final ...").

const CONFIRMATIONS = 2;
let scene: Scene;
beforeAll(async () => {
  scene = await Scene.start({ confirmations: CONFIRMATIONS });
});
afterAll(() => scene?.stop());

const lower = (account: string): Address => account.toLowerCase() as Address;
const sign = <S extends Parameters<typeof signStatement>[2]>(wallet: Cast["wallets"][number], statement: S) =>
  signStatement(wallet, scene.stack.deployment, statement) as Promise<Signed<S>>;

/** A notice of the first member to the second one that stands on the chain, and nobody has answered. */
async function open(cast: Cast) {
  const { tag, dataStream } = parcel();
  const sender = cast.process(0);
  const { onNotice, notice } = noticed();
  const sent = sender.channel.sendStream({ target: cast.accounts[1]!, dataStream, tag, onNotice });
  sent.catch(() => {}); // where nobody waits for it, the end of the scene ends it
  const { transfer, deadline } = await standing(sender, (await notice).notice);
  return { tag, sent, transfer, deadline, notice: (await notice).notice };
}

it.concurrent("a member publishes its own notice over another's transfer id and manifest digest and asks for the download", async () => {
  const cast = await scene.cast(3);
  const [alice, , mallory] = cast.accounts as [string, string, string];
  const { tag, sent, transfer, deadline } = await open(cast);
  const { notices } = await cast.api(0).begin(cast.task, { transfer, size: null });
  const theft: Notice = { ...notices![0]!.notice, sender: lower(mallory), recipients: bitmapOf([0]), deadline };
  const signed = await sign(cast.wallets[2]!, theft);
  const finish = cast.api(2).finish(cast.task, transfer, {
    notices: [{ notice: theft, signature: signed.signature, recipients: [lower(alice)] }],
  });
  expect(await rejection(finish)).toEqual(coded("UNKNOWN_TRANSFER"));
  await scene.relay(signed); // on the chain it may say so
  await standing(cast.process(0), noticeId(theft));
  expect(await rejection(cast.api(0).download(cast.task, noticeId(theft)))).toEqual(coded("UNKNOWN_NOTICE"));
  expect(await rejection(cast.api(2).download(cast.task, noticeId(theft)))).toMatchObject({ name: "WaybillError" });
  expect(await rejection(cast.api(2).download(cast.task, noticeId(notices![0]!.notice)))).toEqual(
    coded("NOT_RECIPIENT"),
  );
  await cast.process(1).channel.receiveStream({ source: alice, tag });
  expect(await sent).toBe(cast.accounts[1]);
  expect(cast.downloads).toBe(1);
});

it.concurrent("ten recipients with the same outcome: ten statements, not one", async () => {
  const cast = await scene.cast(11);
  const [alice, ...target] = cast.accounts as [string, ...string[]];
  const { tag, dataStream } = parcel();
  const outcomes: string[] = [];
  const [received] = await Promise.all([
    cast.process(0).channel.batchSendStream({
      ...{ target, dataStream, tag },
      onReceipt: ({ recipient, outcome }) => outcomes.push(`${recipient} ${outcome}`),
    }),
    ...target.map((_, i) => cast.process(i + 1).channel.receiveStream({ source: alice, tag })),
  ]);
  expect(received).toEqual(target);
  expect(outcomes.toSorted()).toEqual(target.map((id) => `${id} VERIFIED`).toSorted());
});

it.concurrent("a receipt of another task for somebody else's notice", async () => {
  const cast = await scene.cast(3);
  const { deployment } = scene.stack;
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, sent, notice } = await open(cast);
  // The same members at the same places in another task, so that page and bit agree.
  const members = cast.accounts;
  const other = scene.adopt(await TaskContractor.open({ signer: cast.wallets[0]!, members, deployment }));
  const receipt = { kind: "receipt", task: other.task, notice, outcome: "VERIFIED" } as const;
  const signed = await sign(cast.wallets[1]!, receipt);
  const posts = [other.task, cast.task].map((task) => cast.api(1).receipt(task, notice, "VERIFIED", signed.signature));
  const refusals = await Promise.all(posts.map(rejection));
  expect(refusals).toEqual([coded("UNKNOWN_NOTICE"), coded("BAD_SIGNATURE")]);
  // A bystander's, in the right task, answers for nobody either.
  const bystander = await sign(cast.wallets[2]!, { ...receipt, task: cast.task });
  const seq = await cast.seq();
  await scene.relay(signed, bystander, { ...signed, statement: { ...receipt, task: cast.task } });
  expect(await cast.seq()).toBe(seq);
  const { recipients } = await cast.process(0).contractor.status(notice);
  expect(recipients).toMatchObject([{ account: lower(bob), state: "outstanding" }]);
  await cast.process(1).channel.receiveStream({ source: alice, tag });
  expect(await sent).toBe(bob);
});

it.concurrent("a forged item naming a task must not move that task's seq", async () => {
  const cast = await scene.cast(2);
  const [alice, bob] = cast.accounts.map(lower) as [Address, Address];
  const stranger = Wallet.createRandom();
  const { deadline, transfer } = await open(cast);
  const seq = await cast.seq();
  const ids = { task: cast.task, sender: alice, page: 0, deadline };
  const manifest = hexlify(randomBytes(32)) as Hex;
  const forged = [
    await sign(stranger, { kind: "notice", ...ids, recipients: bitmapOf([1]), transfer, manifest }),
    await sign(stranger, message(cast, "forged", deadline)),
    await sign(stranger, { kind: "expel", task: cast.task, members: [bob], roster: 1 }),
    await sign(stranger, { kind: "admit", task: cast.task, members: [lower(stranger.address)], roster: 1 }),
  ];
  await scene.relay(...forged);
  expect(await cast.seq()).toBe(seq);
  const members = await cast.process(1).contractor.members();
  expect(members).toMatchObject([
    { account: alice, active: true },
    { account: bob, active: true },
  ]);
});

describe("with an operator who serves one owner", () => {
  const owner = Wallet.createRandom();
  let served: Scene;
  beforeAll(async () => {
    served = await Scene.start({ config: { owners: [lower(owner.address)] } });
  });
  afterAll(() => served?.stop());

  it("a stranger opens a task of its own and uploads at the operator's cost", async () => {
    const { deployment } = served.stack;
    const signer = Wallet.createRandom();
    const members = [signer.address, owner.address];
    const opening = TaskContractor.open({ signer, members, deployment });
    expect(await rejection(opening)).toEqual(coded("NOT_OWNER"));
    // It may relay for itself, but the task is nothing to the functions.
    const salt = hexlify(randomBytes(32)) as Hex;
    const open = { kind: "open", owner: lower(signer.address), salt, members: members.map(lower) } as const;
    await served.relay(await signStatement(signer, deployment, open));
    const task = taskId(open.owner, salt);
    const ownNode = { ...deployment, rpc: served.stack.rpc };
    for (const use of [deployment, ownNode]) {
      const contractor = served.adopt(new TaskContractor({ task, signer, deployment: use }));
      const sent = new SharedFileDataChannel(contractor).sendStream({ target: owner.address, ...parcel() });
      expect(await rejection(sent)).toEqual(coded("UNKNOWN_TASK"));
    }
    expect(served.requests.filter(({ key }) => key.startsWith("payload/") || key.startsWith("transfer/"))).toEqual([]);
    // While the owner is served.
    const welcome = await TaskContractor.open({ signer: owner, members, deployment });
    served.adopt(welcome);
    expect(await welcome.members()).toHaveLength(2);
  });
});

it.concurrent("a replayed message; an old Admit after an Expel", async () => {
  const cast = await scene.cast(2);
  const { timestamp } = await scene.block();
  const [owner] = cast.wallets;
  const hello = await sign(owner!, message(cast, "hello", timestamp + 1_000));
  const guest = lower(Wallet.createRandom().address);
  const change = (kind: "admit" | "expel", roster: number): RosterChange => {
    return { kind, task: cast.task, members: [guest], roster };
  };
  const admit = await sign(owner!, change("admit", 1));
  await scene.relay(hello, admit, await sign(owner!, change("expel", 2)));
  const seq = await cast.seq();
  await scene.relay(hello, admit);
  await cast
    .api(0)
    .message(hello)
    .catch(() => {}); // over the functions too, whatever they say
  await cast
    .api(0)
    .changeRoster(admit)
    .catch(() => {});
  const { contractor } = cast.process(1, { from: 0 });
  expect((await newsOf(contractor, 4)).map(nameOf)).toEqual(["opened", "hello", "admitted", "expelled"]);
  expect(await cast.seq()).toBe(seq);
  expect((await contractor.members()).map(({ active }) => active)).toEqual([true, true, false]);
});

// Blocks come every second only from here on.
it('"duplicate" seen between mining and confirmations, taken for refused, then reorged', async () => {
  const cast = await scene.cast(2);
  const reader = cast.process(1, { from: 0 });
  await reader.contractor.members();
  const { timestamp } = await scene.block();
  const hello = await sign(cast.wallets[0]!, message(cast, "hello", timestamp + 1_000));
  await scene.withoutBlocks(async () => {
    const before = await scene.rpc("evm_snapshot");
    const relayed = scene.relay(hello); // by its author
    await scene.pending(1);
    await scene.rpc("evm_mine");
    await relayed;
    const posted = await cast.api(0).message(hello); // and over the functions: a duplicate, for now
    await new Promise((resolve) => setTimeout(resolve, 1_500)); // the publisher looks
    expect(await cast.api(0).statement(cast.task, posted.statement)).toMatchObject({ state: "pending" });
    await scene.rpc("evm_revert", before);
  });
  const news = reader.contractor.events();
  const seen = [(await news.next()).value, (await news.next()).value];
  await news.return();
  expect(seen).toMatchObject([{ change: "opened" }, { kind: "hello" }]);
  expect(await cast.seq()).toBe(2);
});

function message(cast: Cast, kind: string, deadline: number): Message {
  const common = { kind: "message", task: cast.task, sender: lower(cast.accounts[0]!), page: 0 } as const;
  const salt = hexlify(randomBytes(32)) as Hex;
  return { ...common, recipients: EVERYONE, name: encodeKind(kind), payload: "0x31", salt, deadline };
}
