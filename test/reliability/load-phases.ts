import { setTimeout as delay } from "node:timers/promises";
import { Generator, isRefusal, type Phase, quantile } from "../support/load.ts";
import { Rounds } from "../support/load-rounds.ts";
import { type Crew, type LoadWorld, usageOf } from "../support/load-world.ts";

/** Whoever waits longer for an answer than this has gone: the library's own limit. */
const PATIENCE_MS = 30_000;
/** A rate is held while 99 of 100 requests are answered within this, and none is refused. */
const SWIFT_MS = 1_000;
const FIRST_RATE = 16;
const STEP = 1.25;
const STEP_SECONDS = 15;
/** Of the highest rate that a short step held: what is held for minutes leaves room for what comes only now and then. */
const SHARE = 0.8;
const FLOOD = 3;
const AFTERWARDS_SECONDS = 60;
/** So many seconds in a row must be as they were. */
const STEADY = 5;
/** What is under way when all is done, and no longer than that. */
const DRAIN_SECONDS = 180;

/** A phase, and what it took. Memory in bytes, processors as shares of one. */
export interface Measured {
  readonly name: string;
  readonly phase: Phase;
  readonly rss: readonly number[];
  readonly serve: number;
  readonly store: number;
  readonly generator: number;
}

export interface Held {
  readonly rate: number;
  readonly tried: readonly { readonly rate: number; readonly held: boolean }[];
  readonly phases: readonly Measured[];
  /** Seconds after the flood until all was as before; null: not within a minute. */
  readonly recovery: number | null;
  readonly rounds: { readonly begun: number; readonly finished: number };
  readonly faults: readonly string[];
}

/** Finds the rate that is held, holds it, then three times as much, then the same as before. */
export class LoadRun {
  readonly #world: LoadWorld;
  readonly #generator: Generator;
  readonly #rounds: Rounds;
  readonly #say: (line: string) => void;

  constructor(world: LoadWorld, crew: Crew, seed: number, say: (line: string) => void) {
    this.#world = world;
    this.#say = say;
    const more = (): void => this.#rounds.start();
    this.#generator = new Generator(world.target(crew), { seed, more, patience: PATIENCE_MS });
    this.#rounds = new Rounds(world.roundsOf(crew), this.#generator, seed);
  }

  async stop(): Promise<void> {
    this.#rounds.stop();
    await this.#generator.stop();
  }

  async run(minutes: number): Promise<Held> {
    const tried = await this.#find();
    const best = Math.max(FIRST_RATE, ...tried.filter(({ held }) => held).map(({ rate }) => rate));
    const rate = Math.round(best * SHARE);
    await this.#calm(rate);
    const usual = await this.#measure("held", rate, minutes * 60);
    const flood = await this.#measure("three times as many", FLOOD * rate, minutes * 30);
    const after = await this.#measure("afterwards", rate, AFTERWARDS_SECONDS);
    await this.#drain(rate);
    const phases = [usual, flood, after];
    await Promise.all(phases.map(({ phase }) => phase.done()));
    const { begun, finished, faults } = this.#rounds;
    return { rate, tried, phases, recovery: recoveryOf(after.phase), rounds: { begun, finished }, faults };
  }

  /** Steps up until two steps in a row are not held: one may be somebody else's fault. */
  async #find(): Promise<{ rate: number; held: boolean }[]> {
    const tried: { rate: number; held: boolean }[] = [];
    await this.#generator.during(FIRST_RATE / 2, STEP_SECONDS); // what is loaded and compiled once
    for (let rate = FIRST_RATE; tried.slice(-2).filter(({ held }) => !held).length < 2; ) {
      const phase = await this.#generator.during(rate, STEP_SECONDS);
      await this.#calm(rate / 2);
      const held = isHeld(await phase.done());
      this.#say(`${rate} a second: ${held ? "held" : "not held"}; ${inWords(phase)}`);
      tried.push({ rate, held });
      if (held) rate = Math.ceil(rate * STEP);
    }
    return tried;
  }

  /** At a low rate, until there is nothing left of what was too much. */
  async #calm(rate: number): Promise<void> {
    for (let left = DRAIN_SECONDS / STEADY; left > 0; left--)
      if (isHeld(await (await this.#generator.during(rate, STEADY)).done())) return;
  }

  async #drain(rate: number): Promise<void> {
    this.#generator.fresh = false;
    for (let left = DRAIN_SECONDS; left > 0 && this.#rounds.running > 0; left--) await this.#generator.during(rate, 1);
  }

  async #measure(name: string, rate: number, seconds: number): Promise<Measured> {
    const { serve, store } = this.#world.pids;
    const rss: number[] = [];
    let over = false;
    const sampling = (async () => {
      for (; !over; await delay(1_000)) rss.push((await usageOf(serve))?.rss ?? Number.NaN);
    })();
    const used = async (): Promise<number[]> => {
      const [one, other] = await Promise.all([usageOf(serve), usageOf(store)]);
      const { user, system } = process.cpuUsage();
      return [one?.seconds ?? Number.NaN, other?.seconds ?? Number.NaN, (user + system) / 1e6];
    };
    const before = used(); // nothing is waited for between two phases
    const phase = await this.#generator.during(rate, seconds);
    const after = used();
    over = true;
    void sampling;
    const [begin, end] = await Promise.all([before, after]);
    const [ofServe, ofStore, ofGenerator] = end.map((value, i) => (value - begin[i]!) / seconds);
    this.#say(`${name}: ${inWords(phase)}`);
    return { name, phase, rss, serve: ofServe!, store: ofStore!, generator: ofGenerator! };
  }
}

function isHeld(phase: Phase): boolean {
  const { statuses, times, missed } = phase;
  const good = [...statuses.keys()].every((status) => status === 200 || status === 202);
  return good && missed === 0 && quantile(times, 0.99) <= SWIFT_MS;
}

/** The first second from which on several in a row were swift and refused nobody. */
export function recoveryOf({ asked, begun, seconds }: Phase): number | null {
  const bad = new Set(
    asked
      .filter(({ status, ms }) => isRefusal(status) || status === "lost" || status === "open" || ms > SWIFT_MS)
      .map(({ due }) => Math.floor((due - begun) / 1000)),
  );
  for (let from = 0; from + STEADY <= seconds; from++) {
    const next = Array.from({ length: STEADY }, (_, i) => from + i);
    if (next.every((second) => !bad.has(second))) return from;
  }
  return null;
}

function inWords({ asked, statuses, refusals, times, missed }: Phase): string {
  const answers = [...statuses, ...refusals].map(([what, count]) => `${what}: ${count}`).join(", ");
  const [half, most] = [0.5, 0.99].map((share) => quantile(times, share).toFixed(0));
  return `${asked.length} asked (${answers}), p50 ${half} ms, p99 ${most} ms, missed ${missed}`;
}
