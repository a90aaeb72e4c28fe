import { setTimeout as pause } from "node:timers/promises";
import type { Command } from "commander";
import type { NoticeRecord } from "../../lib/chain/ledger.ts";
import { checkNotice } from "../../lib/options.ts";
import { WaybillError } from "../../lib/protocol/errors.ts";
import type { Hex } from "../../lib/protocol/hex.ts";
import type { Context } from "../command.ts";
import { note, warnOfSilence } from "../output.ts";
import { type Participant, participantOf, taskOf } from "../participant.ts";
import { jsonLine, Names } from "../words.ts";
import { type Details, detailsOf } from "./details.ts";
import { Screen } from "./screen.ts";
import { described, isOpen, type Standing, standingOf } from "./standing.ts";
import { type Watched, watch } from "./watched.ts";

interface Options {
  readonly all?: true;
  readonly watch?: true;
  readonly json?: true;
}

/** Between two looks with --watch: recipients say how far they are every two seconds at most. */
const LOOK_MS = 2_000;
/** The API is asked for the details of so many notices, the newest; of the others the chain's words are shown. */
const MOST_DETAILS = 50;

const NOTHING = "Nothing is open. A transfer is, once it is in the store and its notice on the chain.";

/** What `waybill status` does. */
export async function showStatus(given: string | undefined, command: Command, { signal }: Context): Promise<void> {
  const options = command.opts<Options>();
  const notice = given === undefined ? null : checkNotice(given);
  const participant = await participantOf(command, { signal });
  const task = taskOf(command, participant);
  await participant.unlock();
  const watched = await watch(participant, task);
  try {
    const status = new Status(participant, watched, notice, options.all ?? false, signal);
    await (options.watch ? follow(status, options, watched, signal) : once(status, options));
  } finally {
    watched.close();
  }
}

async function once(status: Status, { json }: Options): Promise<void> {
  const standings = await status.look();
  if (standings.length === 0) note(`${NOTHING} --all shows what is over.`);
  if (standings.length > 0) process.stdout.write(`${status.text(standings, json)}\n`);
}

/** Shows every change; ends by itself only when it is about one notice, and nobody is outstanding in it. */
async function follow(status: Status, { json }: Options, watched: Watched, signal: AbortSignal): Promise<void> {
  const screen = new Screen(json ?? false);
  const silence = warnOfSilence(watched.follower);
  try {
    for (;;) {
      const standings = await status.look();
      screen.show(status.text(standings, json) || (json ? "" : NOTHING), status.gist(standings));
      if (status.isOver(standings)) return status.conclude(standings);
      await pause(LOOK_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  } finally {
    silence.end();
  }
}

class Status {
  readonly #participant: Participant;
  readonly #watched: Watched;
  readonly #notice: Hex | null;
  readonly #all: boolean;
  readonly #signal: AbortSignal;
  readonly #names: Names;

  constructor(participant: Participant, watched: Watched, notice: Hex | null, all: boolean, signal: AbortSignal) {
    this.#participant = participant;
    this.#watched = watched;
    this.#notice = notice;
    this.#all = all;
    this.#signal = signal;
    this.#names = new Names(participant.names, participant.account);
  }

  /** As it is now. @throws WaybillError UNKNOWN_NOTICE */
  async look(): Promise<Standing[]> {
    const { follower, ledger, api } = this.#watched;
    const { head } = await follower.sync(this.#signal);
    ledger.take();
    const { account } = this.#participant;
    const view = { ledger, account, names: this.#names, now: head.timestamp };
    const records = this.#wanted().filter((record) => {
      return this.#notice !== null || this.#all || isOpen(standingOf(record, null, view));
    });
    const asked = new Set(records.slice(-MOST_DETAILS));
    const details = (record: NoticeRecord): Promise<Details | null> =>
      asked.has(record) ? detailsOf(api, record, this.#signal) : Promise.resolve(null);
    return Promise.all(records.map(async (record) => standingOf(record, await details(record), view)));
  }

  #wanted(): NoticeRecord[] {
    const { ledger } = this.#watched;
    const { account } = this.#participant;
    if (this.#notice === null)
      return [...ledger.notices()].filter(({ notice, recipients }) => {
        return notice.sender === account || recipients.has(account);
      });
    const record = ledger.notice(this.#notice);
    if (record?.proved) return [record];
    throw new WaybillError("UNKNOWN_NOTICE", "There is no such notice on the chain of this task, or not yet.");
  }

  text(standings: readonly Standing[], json: boolean | undefined): string {
    return standings.map((one) => (json ? jsonLine(one) : described(one, this.#names))).join("\n");
  }

  /** What is a change: everything but that time goes by. */
  gist(standings: readonly Standing[]): string {
    const still = ({ recipients, now: _now, ...rest }: Standing): unknown => {
      return { ...rest, recipients: recipients.map(({ age: _age, ...recipient }) => recipient) };
    };
    return JSON.stringify(standings.map(still));
  }

  isOver(standings: readonly Standing[]): boolean {
    return this.#notice !== null && !standings.some(isOpen);
  }

  /** @throws WaybillError NOT_ALL_RECEIVED */
  conclude([standing]: readonly Standing[]): void {
    const missing = standing!.recipients.filter(({ state }) => state !== "verified");
    if (missing.length === 0) return;
    const list = missing.map(({ account, state, outcome }) => `${this.#names.short(account)} (${outcome ?? state})`);
    throw new WaybillError("NOT_ALL_RECEIVED", `Not all have verified it: ${list.join(", ")}.`);
  }
}
