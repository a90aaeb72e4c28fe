import { writeFile } from "node:fs/promises";
import { Wallet } from "ethers";
import { type Address, type Hex, SharedFileDataChannel, TaskContractor, WaybillError } from "../../../lib/index.ts";
import { say, serve } from "../program.ts";
import { average } from "./average.ts";
import { modelTag, type Said, tell, understand, updateTag } from "./messages.ts";
import { decodeModel, encodeModel, sha256 } from "./model.ts";
import { accuracyOf, averagedIn, initialModel, PARAMETERS, ROUNDS } from "./plan.ts";
import type { AggregatorOrder, AggregatorWord, RoundReport } from "./words.ts";

// The aggregator's process.

/** Longer than any round takes; the demo ends it earlier when something fails. In milliseconds. */
const ROUND_TIME = 120_000;
/** What the others get when a round does not wait for everybody. In milliseconds. */
const GRACE = 1_000;

/** The round that is under way. */
class Round {
  readonly number: number;
  /** Of its model, as soon as it is known. */
  notice: Hex | undefined;
  /** Whose update is on its way, and how many seconds it trained. */
  readonly #ready = new Map<Address, number>();
  #wake: () => void = () => {};

  constructor(number: number) {
    this.number = number;
  }

  isReady(owner: Address, seconds: number): void {
    this.#ready.set(owner, seconds);
    this.#wake();
  }

  /** The seconds of the slowest of these owners, when all of them are ready. */
  async trained(owners: readonly Address[]): Promise<number> {
    for (;;) {
      const seconds = owners.flatMap((owner) => this.#ready.get(owner) ?? []);
      if (seconds.length === owners.length) return Math.max(...seconds);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

class Aggregator {
  readonly #contractor: TaskContractor;
  readonly #channel: SharedFileDataChannel;
  /** In member order. */
  readonly #owners: readonly Address[];
  /** Who has checked in, and its samples. */
  readonly #samples = new Map<Address, number>();
  #round: Round | null = null;

  constructor(contractor: TaskContractor, owners: readonly Address[]) {
    this.#contractor = contractor;
    this.#channel = new SharedFileDataChannel(contractor);
    this.#owners = owners;
  }

  /** All rounds; gives the last model. */
  async run(): Promise<Float32Array> {
    const over = new AbortController();
    try {
      await this.#checkIns();
      return await Promise.race([this.#rounds(), this.#listen(over.signal)]);
    } finally {
      over.abort();
    }
  }

  async #checkIns(): Promise<void> {
    for await (const news of this.#contractor.events()) {
      const said = understand(news);
      if (said) await this.#hear(said);
      if (this.#owners.every((owner) => this.#samples.has(owner))) return;
    }
  }

  async #listen(signal: AbortSignal): Promise<never> {
    for await (const news of this.#contractor.events({ signal })) {
      const said = understand(news);
      if (said) await this.#hear(said);
    }
    throw new WaybillError("INTERNAL", "The task's messages ended.");
  }

  async #hear({ kind, sender, body }: Said): Promise<void> {
    if (!this.#owners.includes(sender)) return;
    if (kind === "check_in") await this.#checkIn(sender, body.samples);
    if (kind === "ready_for_aggregation" && body.round === this.#round?.number)
      this.#round.isReady(sender, body.seconds);
  }

  /** Who comes back is told where we are. Its weight is what it said first. */
  async #checkIn(owner: Address, samples: number): Promise<void> {
    if (!this.#samples.has(owner)) this.#samples.set(owner, samples);
    if (!this.#round) return;
    const { number: round, notice } = this.#round;
    await tell(this.#contractor, "start_round", { round, ...(notice && { notice }) }, [owner]);
  }

  async #rounds(): Promise<Float32Array> {
    let model = initialModel();
    for (let round = 1; round <= ROUNDS; round++) model = await this.#play(new Round(round), model);
    return model;
  }

  async #play(round: Round, model: Float32Array): Promise<Float32Array> {
    this.#round = round;
    const began = performance.now();
    await this.#distribute(round, encodeModel(model));
    const distributed = performance.now();
    const updates = await this.#collect(round.number);
    const collected = performance.now();
    const averaged = this.#owners.filter((owner) => updates.has(owner));
    const next = average(
      averaged.map((owner) => {
        return { parameters: decodeModel(updates.get(owner)!, PARAMETERS), samples: this.#samples.get(owner)! };
      }),
    );
    const train = await round.trained(averaged);
    const report: RoundReport = {
      round: round.number,
      accuracy: accuracyOf(next),
      averaged: averaged.map((owner) => this.#owners.indexOf(owner)),
      bytes: next.byteLength * (this.#owners.length + averaged.length),
      seconds: {
        distribute: (distributed - began) / 1000,
        train,
        collect: Math.max(0, (collected - distributed) / 1000 - train),
      },
    };
    const close = { round: round.number, averaged, sha256: sha256(encodeModel(next)) };
    await tell(this.#contractor, "close_round", close);
    say<AggregatorWord>({ is: "round", report });
    return next;
  }

  async #distribute(round: Round, dataStream: Uint8Array): Promise<void> {
    const sending = this.#channel.batchSendStream({
      target: this.#owners,
      dataStream,
      tag: modelTag(round.number),
      timeout: ROUND_TIME,
      ensureAllSucc: true,
      onNotice: ({ notice }) => {
        round.notice = notice;
      },
    });
    await Promise.all([sending, tell(this.#contractor, "start_round", { round: round.number })]);
  }

  #collect(round: number): Promise<Map<string, Uint8Array>> {
    const expected = averagedIn(round).length;
    const all = expected === this.#owners.length;
    return this.#channel.batchReceiveStream({
      sourceList: this.#owners,
      tag: updateTag(round),
      timeout: ROUND_TIME,
      maxBytes: PARAMETERS * Float32Array.BYTES_PER_ELEMENT,
      ...(all ? { ensureAllSucc: true } : { atLeast: expected, graceAfter: GRACE }),
    });
  }
}

let aggregator: Aggregator | undefined;

serve(async (order: AggregatorOrder): Promise<AggregatorWord> => {
  if (order.do === "join") {
    const { key, deployment, task, owners } = order;
    const contractor = new TaskContractor({ task, signer: new Wallet(key), deployment });
    // From here on nothing that an owner says is missed.
    await contractor.members();
    aggregator = new Aggregator(
      contractor,
      owners.map((owner) => owner.toLowerCase() as Address),
    );
    return { is: "ready" };
  }
  if (!aggregator) throw new WaybillError("USAGE", "The aggregator joins before it works.");
  const model = await aggregator.run();
  await writeFile(order.path, encodeModel(model));
  return { is: "finished", accuracyBefore: accuracyOf(initialModel()), accuracyAfter: accuracyOf(model) };
});
