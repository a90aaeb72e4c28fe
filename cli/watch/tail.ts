import type { Command } from "commander";
import { WaybillError } from "../../lib/protocol/errors.ts";
import type { Hex } from "../../lib/protocol/hex.ts";
import type { Context } from "../command.ts";
import { note, warnOfSilence } from "../output.ts";
import { type Participant, participantOf, taskOf } from "../participant.ts";
import { jsonLine, Names } from "../words.ts";
import { detailsOf } from "./details.ts";
import { type Line, lineOf, noticesIn, type Telling } from "./lines.ts";
import { type Told, type Watched, watch } from "./watched.ts";

interface Options {
  readonly from?: number;
  readonly json?: true;
}

/** What `waybill tail` does, until it is interrupted. */
export async function tailTask(command: Command, { signal }: Context): Promise<void> {
  const { from, json } = command.opts<Options>();
  const participant = await participantOf(command, { signal });
  const task = taskOf(command, participant);
  const { rpc } = participant.deployment;
  if (rpc === undefined) await participant.unlock();
  const watched = await watch(participant, task);
  const quiet = warnOfSilence(watched.follower);
  try {
    const { seq } = await watched.follower.sync(signal);
    if (process.stderr.isTTY) note(from === undefined ? "Waiting for events; Ctrl-C ends it." : "Ctrl-C ends it.");
    const shown = new Tail(participant, watched, signal);
    const isWanted = ({ event, fork }: Told): boolean => fork !== undefined || event.seq > (from ?? seq);
    for (;;) {
      const batch = await watched.follower.until(() => some(watched.ledger.take()), { signal });
      for (const line of await shown.lines(batch.filter(isWanted)))
        process.stdout.write(`${json ? jsonLine(line.object) : line.text}\n`);
    }
  } finally {
    quiet.end();
    watched.close();
  }
}

function some(batch: Told[]): Told[] | undefined {
  return batch.length === 0 ? undefined : batch;
}

class Tail {
  readonly #watched: Watched;
  readonly #participant: Participant;
  readonly #signal: AbortSignal;
  readonly #tags = new Map<Hex, string | null>();
  readonly #telling: Telling;

  constructor(participant: Participant, watched: Watched, signal: AbortSignal) {
    this.#watched = watched;
    this.#participant = participant;
    this.#signal = signal;
    const names = new Names(participant.names, participant.account);
    const tagOf = (notice: Hex): string | null => this.#tags.get(notice) ?? null;
    this.#telling = { ledger: watched.ledger, domain: participant.deployment, names, tagOf };
  }

  async lines(batch: readonly Told[]): Promise<Line[]> {
    for (const { event } of batch) for (const notice of event ? noticesIn(event) : []) await this.#learn(notice);
    return batch.map((told) =>
      told.fork === undefined ? lineOf(told.event, told.news, this.#telling) : undone(told.fork),
    );
  }

  /** The tag, if the notice concerns us: of others' the API doesn't tell, and the chain has only the tag's hash. */
  async #learn(notice: Hex): Promise<void> {
    const { account } = this.#participant;
    const { ledger, api } = this.#watched;
    const record = ledger.notice(notice);
    if (!record || this.#tags.has(notice)) return;
    const isOurs = [record.notice.sender, ledger.owner].includes(account) || record.recipients.has(account);
    const asked = isOurs ? detailsOf(api, record, this.#signal).catch(unlessInterrupted(this.#signal)) : null;
    this.#tags.set(notice, (await asked)?.named?.tag ?? null);
  }
}

/** A tag is a comfort: an API that is away must not keep the chain's events from being shown. */
function unlessInterrupted(signal: AbortSignal): (error: unknown) => null {
  return (error) => {
    signal.throwIfAborted();
    if (error instanceof WaybillError) return null;
    throw error;
  };
}

function undone(fork: number): Line {
  const text = `The chain was reorganised: what came after #${fork} is undone, and told again as it stands now.`;
  return { text, object: { type: "reorganised", seq: fork } };
}
