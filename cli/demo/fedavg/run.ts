import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Wallet } from "ethers";
import type { Address, Hex } from "../../../lib/index.ts";
import { readChain } from "../ledger.ts";
import { Party } from "../party.ts";
import { openTask, play, type Stage } from "../stage.ts";
import type { CommonWord } from "../words.ts";
import { audit } from "./audit.ts";
import { encodeModel, sha256 } from "./model.ts";
import { averagedIn, KILLED, OWNERS, PARAMETERS, ROUNDS, STRAGGLER, samplesOf } from "./plan.ts";
import { trainHere } from "./reference.ts";
import type { FedAvgResult, RoundResult } from "./table.ts";
import type { AggregatorOrder, AggregatorWord, OwnerOrder, OwnerWord, RoundReport } from "./words.ts";

const AGGREGATOR = new URL("./aggregator.js", import.meta.url);
const OWNER = new URL("./owner.js", import.meta.url);
const MODEL_BYTES = PARAMETERS * Float32Array.BYTES_PER_ELEMENT;
/** Each round's model and updates in the store, and as much again for what is being written. */
const DISK = 2 * ROUNDS * (1 + OWNERS.length) * MODEL_BYTES;

/** Federated averaging as a real task: one aggregator and its data owners, each a process with a key of its own. */
export function runFedAvg(signal: AbortSignal): Promise<FedAvgResult> {
  return play(DISK, signal, (stage) => new Federation(stage).run());
}

interface Key {
  readonly address: string;
  readonly privateKey: string;
}

type Joining = Pick<Extract<OwnerOrder, { do: "join" }>, "do" | "key" | "deployment" | "task">;

class Federation {
  readonly #stage: Stage;
  readonly #began: number = performance.now();
  readonly #aggregator: Key = Wallet.createRandom();
  readonly #owners: readonly Key[] = OWNERS.map(() => Wallet.createRandom());
  readonly #reports: RoundReport[] = [];
  /** What truly happened of what was planned. */
  #wasKilled = false;
  #lateTaken: boolean | null = null;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  async run(): Promise<FedAvgResult> {
    const { dir, line, signal } = this.#stage;
    const accounts = this.#owners.map(({ address }) => address);
    const task = await openTask(this.#stage, [this.#aggregator.address, ...accounts]);
    line.note(`task ${task} is open for aggregator, ${OWNERS.join(", ")}`);

    const path = join(dir, "last.model");
    const aggregator = this.#start<AggregatorOrder, AggregatorWord>(AGGREGATOR, "aggregator", (word) => {
      if (word.is === "round") this.#note(word.report);
    });
    const listens = aggregator.ask({ ...this.#joining(this.#aggregator, task), owners: accounts }, "ready");
    const owning = OWNERS.map((_, owner) => this.#takePart(owner, task, listens));
    const aggregating = listens.then(async () => {
      const finished = await aggregator.ask({ do: "work", path }, "finished");
      line.note("all rounds are over; training alone, and all of it again in one process …");
      return finished;
    });
    const [finished, reference, alone] = await Promise.all([
      aggregating,
      aggregating.then(() => trainHere(signal)),
      Promise.all(owning),
    ]);
    const model = { sha256: sha256(await readFile(path)), reference: sha256(encodeModel(reference)) };
    return this.#conclude(task, finished, model, alone);
  }

  #joining({ privateKey }: Key, task: Hex): Joining {
    return { do: "join", key: privateKey as Hex, deployment: this.#stage.stack.deployment, task };
  }

  #start<Order extends object, Word extends { is: string }>(
    program: URL,
    name: string,
    onWord: (word: Word | CommonWord) => void,
  ): Party<Order, Word> {
    const party = new Party<Order, Word>(program, name, onWord);
    this.#stage.atEnd(() => party.stop());
    return party;
  }

  #note(report: RoundReport): void {
    this.#reports.push(report);
    const { round, accuracy } = report;
    this.#stage.line.note(`round ${round} of ${ROUNDS} is closed: accuracy ${(100 * accuracy).toFixed(1)} %`);
  }

  /** An owner's life in the task, as one process or two, once the aggregator listens; gives its accuracy alone. */
  async #takePart(owner: number, task: Hex, listens: Promise<unknown>): Promise<number> {
    const doomed = owner === KILLED.owner;
    try {
      return await this.#work(owner, task, listens, doomed);
    } catch (error) {
      if (!doomed || !this.#wasKilled) throw error;
      return await this.#work(owner, task, listens, false);
    }
  }

  async #work(owner: number, task: Hex, listens: Promise<unknown>, doomed: boolean): Promise<number> {
    const party = this.#start<OwnerOrder, OwnerWord>(OWNER, OWNERS[owner]!, (word) => {
      if (word.is === "late") this.#lateTaken = word.taken;
      if (word.is !== "training" || word.round !== KILLED.round || !doomed) return;
      this.#wasKilled = true;
      this.#stage.line.note(`round ${word.round}: ${party.name} trains, is killed, and starts again`);
      void party.stop();
    });
    const joining = this.#joining(this.#owners[owner]!, task);
    await Promise.all([party.ask({ ...joining, owner, aggregator: this.#aggregator.address }, "ready"), listens]);
    return (await party.ask({ do: "work" }, "finished")).accuracyAlone;
  }

  async #conclude(
    task: Hex,
    { accuracyBefore, accuracyAfter }: Extract<AggregatorWord, { is: "finished" }>,
    model: { readonly sha256: string; readonly reference: string },
    localOnly: readonly number[],
  ): Promise<FedAvgResult> {
    const { stack } = this.#stage;
    const [aggregator, ...owners] = [this.#aggregator, ...this.#owners].map(({ address }) => lower(address));
    const chain = await readChain(stack.rpc, stack.deployment, task);
    const books = audit(chain, { aggregator: aggregator!, owners });
    const rounds = this.#reports.map((report) => this.#roundOf(report, books.rounds[report.round]!));
    const asPlanned = this.#wasKilled && this.#lateTaken === false && rounds.length === ROUNDS;
    const averaged = this.#reports.every((report) => `${report.averaged}` === `${averagedIn(report.round)}`);
    const better = accuracyAfter > Math.max(accuracyBefore, ...localOnly);
    return {
      ok: asPlanned && averaged && better && books.complete && books.late && model.sha256 === model.reference,
      task,
      aggregator: this.#aggregator.address,
      owners: OWNERS.map((name, i) => {
        return { name, id: this.#owners[i]!.address, samples: samplesOf(i).count };
      }),
      modelBytes: MODEL_BYTES,
      rounds,
      accuracyBefore,
      accuracyAfter,
      localOnly,
      modelSha256: model.sha256,
      referenceSha256: model.reference,
      receipts: books.receipts,
      gas: chain.gas,
      bytes: rounds.reduce((sum, { bytes }) => sum + bytes, 0),
      seconds: (performance.now() - this.#began) / 1000,
      transactions: chain.transactions.map(({ hash, gas, carries }) => ({
        hash,
        gas,
        carries: [...carries].join("+"),
      })),
    };
  }

  #roundOf(report: RoundReport, { receipts, gas }: { receipts: number; gas: number }): RoundResult {
    const { round } = report;
    const averaged = report.averaged.map((owner) => OWNERS[owner]!);
    const killed = round === KILLED.round && this.#wasKilled ? OWNERS[KILLED.owner]! : null;
    const late = round === STRAGGLER.round && this.#lateTaken === false ? OWNERS[STRAGGLER.owner]! : null;
    return { ...report, averaged, killed, late, receipts, gas };
  }
}

function lower(account: string): Address {
  return account.toLowerCase() as Address;
}
