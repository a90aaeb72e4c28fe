import { Wallet } from "ethers";
import { type Address, type Hex, SharedFileDataChannel, TaskContractor } from "../../lib/index.ts";
import { MiB } from "../../lib/protocol/limits.ts";
import type { CostBed } from "./bed.ts";

/** The same bytes in every payload: what they are doesn't matter to anybody here. */
export interface RoundPlan {
  /** Members beside the aggregator. */
  readonly members: number;
  /** Parts of each payload. */
  readonly parts: number;
  readonly partMiB: number;
}

interface Party {
  readonly account: Address;
  readonly contractor: TaskContractor;
  readonly channel: SharedFileDataChannel;
}

/** Longer than any of these takes. In milliseconds. */
const PATIENCE = 300_000;

/**
 * A task whose rounds are federated averaging: the aggregator says that a round begins and sends everybody its model, everybody
 * sends an update of the same size back, and the aggregator says that the round is over.
 */
export class Federation {
  readonly #bed: CostBed;
  readonly #plan: RoundPlan;
  readonly #aggregator: Party;
  readonly #members: readonly Party[];
  readonly #payload: Uint8Array;
  #round = 0;

  private constructor(bed: CostBed, plan: RoundPlan, parties: readonly Party[]) {
    this.#bed = bed;
    this.#plan = plan;
    [this.#aggregator, ...this.#members] = parties as [Party, ...Party[]];
    this.#payload = new Uint8Array(plan.parts * plan.partMiB * MiB).fill(7);
  }

  static async found(bed: CostBed, plan: RoundPlan): Promise<Federation> {
    const { deployment } = bed;
    const signers = Array.from({ length: plan.members + 1 }, () => Wallet.createRandom());
    const owner = Wallet.createRandom();
    const members = signers.map(({ address }) => address);
    const opened = await TaskContractor.open({ signer: owner, members, deployment });
    await opened.close();
    const parties = signers.map((signer) => partyOf(bed, opened.task, signer));
    await Promise.all(parties.map(({ contractor }) => contractor.members()));
    await bed.drain();
    return new Federation(bed, plan, parties);
  }

  /** One round, until all that was said in it is settled. */
  async play(): Promise<void> {
    this.#round += 1;
    const { contractor, channel } = this.#aggregator;
    await contractor.post({ kind: "start_round", body: { round: this.#round } });
    const accounts = this.#members.map(({ account }) => account);
    const sent = this.#send(channel, accounts, "model");
    await Promise.all([
      sent,
      ...this.#members.map((member) => this.#receive(member.channel, this.#aggregator.account)),
    ]);
    const gathered = channel.batchReceiveStream({
      ...{ sourceList: accounts, tag: this.#tag("update"), timeout: PATIENCE, to: "stream" },
      ensureAllSucc: true,
    });
    const updates = this.#members.map((member) => this.#send(member.channel, [this.#aggregator.account], "update"));
    const [received] = await Promise.all([gathered, ...updates]);
    await Promise.all([...received.values()].map(drop));
    await contractor.post({ kind: "close_round", body: { round: this.#round } });
    await this.#bed.drain();
  }

  async leave(): Promise<void> {
    for (const { contractor } of [this.#aggregator, ...this.#members]) await contractor.close();
  }

  /** A member that waits for news that doesn't come, for so many milliseconds. */
  async wait(ms: number): Promise<void> {
    for await (const _ of this.#aggregator.contractor.events({ timeout: ms })) throw new Error("There was news.");
  }

  #tag(what: "model" | "update"): string {
    return `round-${this.#round}/${what}`;
  }

  #send(channel: SharedFileDataChannel, target: readonly Address[], what: "model" | "update"): Promise<unknown> {
    const how = { partSize: this.#plan.partMiB * MiB, timeout: PATIENCE, ensureAllSucc: true };
    return channel.batchSendStream({ target, tag: this.#tag(what), dataStream: this.#payload, ...how });
  }

  async #receive(channel: SharedFileDataChannel, source: Address): Promise<void> {
    const [, stream] = await channel.receiveStream({
      source,
      tag: this.#tag("model"),
      timeout: PATIENCE,
      to: "stream",
    });
    await drop(stream);
  }
}

function partyOf(bed: CostBed, task: Hex, signer: Wallet | ReturnType<typeof Wallet.createRandom>): Party {
  const contractor = new TaskContractor({ task, signer, deployment: bed.deployment });
  const account = signer.address.toLowerCase() as Address;
  return { account, contractor, channel: new SharedFileDataChannel(contractor) };
}

/** A payload of which only the arrival matters. */
async function drop(stream: ReadableStream<Uint8Array>): Promise<void> {
  for await (const _ of stream);
}
