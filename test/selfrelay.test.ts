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

  it.concurrent("statements of the same moment travel together", async () => {
    const cast = await payers.cast(1);
    const { contractor } = cast.process(0, self);
    await contractor.members();
    const before = await payers.paid(cast.accounts[0]!);
    await Promise.all(Array.from({ length: 30 }, (_, i) => contractor.post({ kind: "many", body: i })));
    expect(await payers.count("Posted", cast.task)).toBe(30);
    expect((await payers.paid(cast.accounts[0]!)) - before).toBeLessThanOrEqual(3);
  });

  it.concurrent("what doesn't fit into one transaction goes in several", async () => {
    const cast = await payers.cast(1);
    const { contractor } = cast.process(0, self);
    const body = "x".repeat(4_000);
    await Promise.all(Array.from({ length: 40 }, () => contractor.post({ kind: "large", body })));
    expect(await payers.count("Posted", cast.task)).toBe(40);
  });
});
