import { toQuantity, Wallet } from "ethers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Deployment, TaskContractor } from "../lib/index.ts";
import { waybill } from "./support/contract.ts";
import { Cast, coded, noticed, parcel, rejection, Scene, standing } from "./support/members.ts";

// Issue 4, "Self-relay": what a member pays for itself stands like everything else, with or without a relayer.

const ETHER = 10n ** 18n;

/** A scene in which members have gas money and may relay for themselves. */
class Payers {
  readonly scene: Scene;
  readonly deployment: Deployment;

  constructor(scene: Scene) {
    this.scene = scene;
    this.deployment = { ...scene.stack.deployment, rpc: scene.stack.rpc };
  }

  /** The functions' relayer has nothing left: it publishes no more. */
  async dry(): Promise<void> {
    const accounts = (await this.scene.rpc("eth_accounts")) as string[];
    await this.scene.rpc("anvil_setBalance", accounts[1], "0x0");
  }

  async fund(address: string, wei = ETHER): Promise<void> {
    await this.scene.rpc("anvil_setBalance", address, toQuantity(wei));
  }

  /** A task of its own that its owner has opened by itself. */
  async cast(count: number): Promise<Cast> {
    const wallets = Array.from({ length: count }, () => Wallet.createRandom());
    for (const { address } of wallets) await this.fund(address);
    const members = wallets.map(({ address }) => address);
    const { deployment } = this;
    const opened = await TaskContractor.open({ signer: wallets[0]!, members, deployment, relay: "self" });
    await opened.close();
    return new Cast(this.scene, opened.task, wallets, true);
  }

  /** How many events of a name the contract has emitted for a task, from the raw logs. */
  async count(name: string, task: string): Promise<number> {
    const topics = [waybill.getEvent(name)!.topicHash, task];
    const filter = { address: this.deployment.contract, topics, fromBlock: "0x0" };
    return ((await this.scene.rpc("eth_getLogs", filter)) as unknown[]).length;
  }

  async paid(address: string): Promise<number> {
    return Number(await this.scene.rpc("eth_getTransactionCount", address, "latest"));
  }
}

const self = { relay: "self" } as const;

describe("when no relayer will", () => {
  let payers: Payers;
  beforeAll(async () => {
    payers = new Payers(await Scene.start());
    await payers.dry();
  });
  afterAll(() => payers?.scene.stop());

  it.concurrent("a payload goes from one member to another, and the receipt comes back", async () => {
    const cast = await payers.cast(2);
    const [alice, bob] = cast.accounts as [string, string];
    const { tag, dataStream } = parcel();
    const [sent, [from, data]] = await Promise.all([
      cast.process(0, self).channel.sendStream({ target: bob, dataStream, tag }),
      cast.process(1, self).channel.receiveStream({ source: alice, tag }),
    ]);
    expect([sent, from, Buffer.compare(data, dataStream)]).toEqual([bob, alice, 0]);
    expect([await payers.count("Noticed", cast.task), await payers.count("Receipts", cast.task)]).toEqual([1, 1]);
  });

  it.concurrent("a payload goes to several members, each of which pays for its own receipt", async () => {
    const cast = await payers.cast(4);
    const [alice, ...others] = cast.accounts as [string, ...string[]];
    const { tag, dataStream } = parcel();
    const [sent] = await Promise.all([
      cast.process(0, self).channel.batchSendStream({ target: others, dataStream, tag, ensureAllSucc: true }),
      ...others.map((_, i) => cast.process(i + 1, self).channel.receiveStream({ source: alice, tag })),
    ]);
    expect(sent).toEqual(others);
    expect(await Promise.all(others.map((address) => payers.paid(address)))).toEqual([1, 1, 1]);
  });

  it.concurrent("an owner opens, admits and expels by itself, and members post", async () => {
    const cast = await payers.cast(2);
    const newcomer = Wallet.createRandom().address;
    const [owner, member] = [cast.process(0, self).contractor, cast.process(1, self).contractor];
    await owner.admit([newcomer]);
    await owner.expel([newcomer]);
    expect((await owner.members()).map(({ active }) => active)).toEqual([true, true, false]);
    const heard = (async () => {
      for await (const event of member.events()) if (event.type === "message") return event;
      return null;
    })();
    const [id] = await owner.post({ kind: "hello", body: { from: "owner" } });
    expect(id).toMatch(/^0x[0-9a-f]{64}$/);
    expect(await heard).toMatchObject({ kind: "hello", body: { from: "owner" } });
    expect(await payers.count("Posted", cast.task)).toBe(1);
  });

  it.concurrent("a sending call that is ended takes its notice back by itself", async () => {
    const cast = await payers.cast(2);
    const end = new AbortController();
    const { onNotice, notice } = noticed();
    const sender = cast.process(0, self);
    const sent = rejection(
      sender.channel.sendStream({ target: cast.accounts[1]!, ...parcel(), onNotice, signal: end.signal }),
    );
    const { notice: id } = await notice;
    await standing(sender, id);
    end.abort();
    expect(await sent).toEqual(coded("ABORTED"));
    expect((await sender.contractor.status(id)).withdrawn).toBe(true);
    expect(await payers.count("Withdrawn", cast.task)).toBe(1);
  });

  it("statements of the same moment travel together", async () => {
    const cast = await payers.cast(1);
    const { contractor } = cast.process(0, self);
    await contractor.members();
    const before = await payers.paid(cast.accounts[0]!);
    await Promise.all(Array.from({ length: 30 }, (_, i) => contractor.post({ kind: "many", body: i })));
    expect(await payers.count("Posted", cast.task)).toBe(30);
    expect((await payers.paid(cast.accounts[0]!)) - before).toBeLessThanOrEqual(3);
  });

  it("what doesn't fit into one transaction goes in several", async () => {
    const cast = await payers.cast(1);
    const { contractor } = cast.process(0, self);
    const body = "x".repeat(4_000);
    await Promise.all(Array.from({ length: 40 }, () => contractor.post({ kind: "large", body })));
    expect(await payers.count("Posted", cast.task)).toBe(40);
  });
});

describe("beside a relayer", () => {
  let payers: Payers;
  beforeAll(async () => {
    payers = new Payers(await Scene.start());
  });
  afterAll(() => payers?.scene.stop());

  it.concurrent.each([
    ["the sender", self, {}],
    ["the recipient", {}, self],
    ["everybody", self, self],
    ["nobody", {}, {}],
  ])("each statement stands once, by whomsoever: %s pays", async (_name, mine, yours) => {
    const cast = await payers.cast(2);
    const [alice, bob] = cast.accounts as [string, string];
    const { tag, dataStream } = parcel();
    const [sent, [from]] = await Promise.all([
      cast.process(0, mine).channel.sendStream({ target: bob, dataStream, tag }),
      cast.process(1, yours).channel.receiveStream({ source: alice, tag }),
    ]);
    expect([sent, from]).toEqual([bob, alice]);
    // A publisher that comes second finds a duplicate, and says nothing in the task.
    await cast.process(1).contractor.post({ kind: "afterwards", body: null });
    const events = ["Opened", "Noticed", "Receipts", "Posted"].map((name) => payers.count(name, cast.task));
    expect(await Promise.all(events)).toEqual([1, 1, 1, 1]);
    expect(await cast.seq()).toBe(4);
  });

  it.concurrent("an empty account is said to be before anything is uploaded, and by every statement", async () => {
    const cast = await payers.cast(2);
    const [alice, bob] = cast.accounts as [string, string];
    await payers.fund(alice, 1n);
    const { contractor, channel } = cast.process(0, self);
    const empty = coded("NOT_PUBLISHED", { reason: "INSUFFICIENT_FUNDS", balance: "1" });
    expect(await rejection(channel.sendStream({ target: bob, ...parcel() }))).toEqual(empty);
    expect(cast.uploads).toBe(0);
    expect(await rejection(contractor.post({ kind: "hello", body: 1 }))).toEqual(empty);
    expect(await rejection(contractor.expel([bob]))).toEqual(empty);
    expect(await cast.seq()).toBe(1);
  });

  it.concurrent("a recipient that can't pay keeps the payload, and the next call brings the receipt", async () => {
    const cast = await payers.cast(2);
    const [alice, bob] = cast.accounts as [string, string];
    await payers.fund(bob, 0n);
    const { tag, dataStream } = parcel();
    const sent = cast.process(0, self).channel.sendStream({ target: bob, dataStream, tag });
    const { channel } = cast.process(1, self);
    const empty = coded("NOT_PUBLISHED", { reason: "INSUFFICIENT_FUNDS" });
    expect(await rejection(channel.receiveStream({ source: alice, tag }))).toEqual(empty);
    await payers.fund(bob);
    expect((await channel.receiveStream({ source: alice, tag }))[0]).toBe(alice);
    expect(await sent).toBe(bob);
    expect(cast.downloads).toBe(1);
  });

  it.concurrent("a salt that stands for another task is refused with the contract's reason", async () => {
    const signer = Wallet.createRandom();
    await payers.fund(signer.address);
    const salt = `0x${"5a".repeat(32)}`;
    const { deployment } = payers;
    const open = (members: string[]) => TaskContractor.open({ signer, members, salt, deployment, ...self });
    const [first, again] = [await open([signer.address]), await open([signer.address])];
    expect(again.task).toBe(first.task);
    const other = open([Wallet.createRandom().address]);
    expect(await rejection(other)).toEqual(coded("REFUSED_STATEMENT", { reason: "TASK_EXISTS" }));
    await Promise.all([first.close(), again.close()]);
  });

  it("an option that can't be is a usage error, and without a node it is NEEDS_RPC", async () => {
    const { deployment } = payers;
    const { rpc: _rpc, ...overHttps } = deployment;
    const [task, signer] = [`0x${"11".repeat(32)}`, Wallet.createRandom()];
    const make = (more: object) => () => new TaskContractor({ task, signer, deployment, ...more });
    expect(make({ ...self, deployment: overHttps })).toThrow(coded("NEEDS_RPC"));
    expect(make({ relay: "me" })).toThrow(coded("USAGE"));
    expect(make({ maxFeePerGas: 5n })).toThrow(coded("USAGE"));
    expect(make({ ...self, maxFeePerGas: 0n })).toThrow(coded("USAGE"));
    expect(make({ ...self, maxFeePerGas: 10 })).toThrow(coded("USAGE"));
    const mute = { getAddress: () => "", signMessage: () => "", signTypedData: () => "" };
    expect(make({ ...self, signer: mute })).toThrow(coded("USAGE"));
  });
});
