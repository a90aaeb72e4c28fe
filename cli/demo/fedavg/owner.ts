import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Wallet } from "ethers";
import { SharedFileDataChannel, TaskContractor, WaybillError } from "../../../lib/index.ts";
import { say, serve } from "../program.ts";
import { modelTag, type Said, tell, understand, updateTag } from "./messages.ts";
import { decodeModel, encodeModel } from "./model.ts";
import { accuracyOf, PARAMETERS, ROUNDS, STRAGGLER, samplesOf, trainAlone, trainRound } from "./plan.ts";
import type { OwnerOrder, OwnerWord } from "./words.ts";

// A data owner's process. Its samples never leave it.

/** Longer than any round takes; the demo ends it earlier when something fails. In milliseconds. */
const ROUND_TIME = 120_000;
/** How long a late update lies there for somebody to take it: well into the next round. In milliseconds. */
const LATE_TIME = 4_000;

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
  /** Where received models are kept: they outlive the process. */
  readonly dir: string;
}

class Owner {
  readonly #contractor: TaskContractor;
  readonly #channel: SharedFileDataChannel;
  readonly #seat: Seat;
  /** The last round that it took part in. */
  #round = 0;
  #held: Update | null = null;
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
      if (said.kind === "close_round") this.#closeRound(said.body.round);
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
    else await this.#deliver(update, ROUND_TIME);
  }

  async #model(round: number, notice: string | undefined): Promise<Float32Array> {
    const path = join(this.#seat.dir, `round-${round}.model`);
    // Before it was killed, it may have received the model: then a receipt stands, and the file was there before it.
    if (!notice || !(await this.#isVerified(notice))) {
      const { aggregator: source } = this.#seat;
      await this.#channel.receiveStream({ source, tag: modelTag(round), to: { path }, timeout: ROUND_TIME });
    }
    return decodeModel(await readFile(path), PARAMETERS);
  }

  async #isVerified(notice: string): Promise<boolean> {
    const account = await this.#contractor.account();
    const status = await this.#contractor.status(notice).catch((error: unknown) => {
      if (error instanceof WaybillError && error.code === "UNKNOWN_NOTICE") return null; // not mined yet
      throw error;
    });
    return status?.recipients.some((mine) => mine.account === account && mine.state === "verified") ?? false;
  }

  /** Gives whether the aggregator took it. */
  async #deliver({ round, bytes, seconds }: Update, timeout: number): Promise<boolean> {
    const { aggregator: target } = this.#seat;
    const tag = updateTag(round);
    const [received] = await Promise.all([
      this.#channel.sendStream({ target, dataStream: bytes, tag, timeout }),
      tell(this.#contractor, "ready_for_aggregation", { round, seconds }),
    ]);
    return received !== null;
  }

  /** The straggler: its round is over, and here its update comes. It does not wait for that. */
  #closeRound(round: number): void {
    const held = this.#held;
    if (held?.round !== round) return;
    this.#held = null;
    this.#late = this.#deliver(held, LATE_TIME).then((taken) => say<OwnerWord>({ is: "late", round, taken }));
    this.#late.catch(() => {}); // it is looked at in the end
  }
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
