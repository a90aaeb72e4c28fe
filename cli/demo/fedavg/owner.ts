import { Wallet } from "ethers";
import { type SendOptions, SharedFileDataChannel, TaskContractor, WaybillError } from "../../../lib/index.ts";
import { say, serve } from "../program.ts";
import { modelTag, type Said, tell, understand, updateTag } from "./messages.ts";
import { decodeModel, encodeModel } from "./model.ts";
import { accuracyOf, PARAMETERS, ROUNDS, STRAGGLER, samplesOf, trainAlone, trainRound } from "./plan.ts";
import type { OwnerOrder, OwnerWord } from "./words.ts";

// A data owner's process. Its samples never leave it.

/** Longer than any round takes; the demo ends it earlier when something fails. In milliseconds. */
const ROUND_TIME = 120_000;
const MODEL_BYTES = PARAMETERS * Float32Array.BYTES_PER_ELEMENT;

/** An update that is trained and not sent yet. */
interface Update {
  readonly round: number;
  readonly bytes: Uint8Array;
  /** What the training took. */
  readonly seconds: number;
}

interface Seat {
  /** Which of the owners. */
  readonly owner: number;
  /** The aggregator's account. */
  readonly aggregator: string;
}

class Owner {
  readonly #contractor: TaskContractor;
  readonly #channel: SharedFileDataChannel;
  readonly #seat: Seat;
  /** The last round that it took part in. */
  #round = 0;
  #held: Update | null = null;
  /** Ends the late delivery: nobody is going to take it. */
  readonly #enough = new AbortController();
  #late: Promise<void> = Promise.resolve();

  constructor(contractor: TaskContractor, seat: Seat) {
    this.#contractor = contractor;
    this.#channel = new SharedFileDataChannel(contractor);
    this.#seat = seat;
  }

  /** Takes part until the last round is closed. */
  async run(): Promise<void> {
    await tell(this.#contractor, "check_in", { samples: samplesOf(this.#seat.owner).count });
    for await (const news of this.#contractor.events()) {
      const said = understand(news);
      if (said?.sender !== this.#seat.aggregator.toLowerCase()) continue;
      if (said.kind === "start_round") await this.#startRound(said);
      if (said.kind === "close_round") await this.#closeRound(said.body.round);
      if (said.kind === "close_round" && said.body.round === ROUNDS) break;
    }
    await this.#late;
  }

  async #startRound({ body: { round, notice } }: Extract<Said, { kind: "start_round" }>): Promise<void> {
    if (round <= this.#round) return; // who comes back may be told twice
    this.#round = round;
    const model = await this.#model(round, notice);
    say<OwnerWord>({ is: "training", round });
    const began = performance.now();
    const { owner } = this.#seat;
    const bytes = encodeModel(await trainRound(model, owner, round));
    const update = { round, bytes, seconds: (performance.now() - began) / 1000 };
    if (round === STRAGGLER.round && owner === STRAGGLER.owner) this.#held = update;
    else await this.#deliver(update);
  }

  /** With a notice it is read again if we verified it before we were killed: no notice of it comes twice. */
  async #model(round: number, notice?: string): Promise<Float32Array> {
    const common = { source: this.#seat.aggregator, tag: modelTag(round), maxBytes: MODEL_BYTES, timeout: ROUND_TIME };
    try {
      const [, bytes] = await this.#channel.receiveStream({ ...common, ...(notice && { notice }) });
      return decodeModel(bytes, PARAMETERS);
    } catch (error) {
      // Not mined yet, so we can't have verified it either.
      if (notice && error instanceof WaybillError && error.code === "UNKNOWN_NOTICE") return this.#model(round);
      throw error;
    }
  }

  /** Gives whether the aggregator took it. */
  async #deliver({ round, bytes, seconds }: Update, more: Partial<SendOptions> = {}): Promise<boolean> {
    const { aggregator: target } = this.#seat;
    const [received] = await Promise.all([
      this.#channel.sendStream({ target, dataStream: bytes, tag: updateTag(round), timeout: ROUND_TIME, ...more }),
      tell(this.#contractor, "ready_for_aggregation", { round, seconds }),
    ]);
    return received !== null;
  }

  async #closeRound(round: number): Promise<void> {
    if (this.#held?.round === round) await this.#sendLate(this.#held);
    else if (round > STRAGGLER.round) this.#enough.abort();
  }

  /** The straggler: its round is over, and here its update comes, ahead of the next one, during which it lies there. */
  async #sendLate(update: Update): Promise<void> {
    this.#held = null;
    let published = (): void => {};
    const noticed = new Promise<void>((resolve) => {
      published = resolve;
    });
    const sending = this.#deliver(update, { signal: this.#enough.signal, onNotice: published }).catch(wasTaken);
    this.#late = sending.then((taken) => say<OwnerWord>({ is: "late", round: update.round, taken }));
    await Promise.race([noticed, this.#late]);
  }
}

/** Whether a sending call that was ended had its receipt by then. */
function wasTaken(error: unknown): boolean {
  if (!(error instanceof WaybillError) || error.code !== "ABORTED") throw error;
  return Array.isArray(error.details.received) && error.details.received.length > 0;
}

let owner: Owner | undefined;
let place = 0;

serve(async (order: OwnerOrder): Promise<OwnerWord> => {
  if (order.do === "join") {
    const { key, deployment, task, ...seat } = order;
    owner = new Owner(new TaskContractor({ task, signer: new Wallet(key), deployment }), seat);
    place = seat.owner;
    return { is: "ready" };
  }
  if (!owner) throw new WaybillError("USAGE", "An owner joins before it works.");
  await owner.run();
  return { is: "finished", accuracyAlone: accuracyOf(await trainAlone(place)) };
});
