import http from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import type { Address, Hex } from "../../lib/protocol/hex.ts";
import type { Statement } from "../../lib/protocol/statements.ts";
import { Dice } from "./crowd.ts";

// An open loop: requests go out when their time has come, whether or not the ones before are answered, and a request's time counts
// from then on. So a server that is slow is asked as often, and its slowness is seen by all who would have asked meanwhile.

/** One request of a member, and in it perhaps a statement that is signed, too. */
export interface Step {
  /** Which member asks. */
  readonly who: number;
  readonly route: string;
  readonly method: "GET" | "POST";
  readonly path: string;
  /** "$signature" in it becomes the statement's. */
  readonly body?: unknown;
  readonly statement?: Statement;
}

interface Waiting {
  readonly step: Step;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}

interface Ready extends Waiting {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly signedAt: number;
}

/** A request that went out; `ms` from when it was due until its answer was whole. */
export interface Asked {
  readonly route: string;
  readonly due: number;
  /** How late it went out, in ms. */
  readonly late: number;
  ms: number;
  /** "lost": there was no answer. */
  status: number | "lost" | "open";
  /** What a refusal said. */
  why?: string;
}

export interface LoadTarget {
  /** Where requests are sent to. */
  readonly origin: string;
  /** What their signatures name. */
  readonly authority: string;
  readonly domain: { readonly chainId: number; readonly contract: Address };
  /** Of the members. */
  readonly keys: readonly Hex[];
}

export interface LoadOptions {
  readonly seed: number;
  /** Starts what asks step after step; called whenever too little is ready to be sent. */
  readonly more: () => void;
  /** Milliseconds after which nobody listens to an answer any more. Default: none. */
  readonly patience?: number;
}

/** A signature lives for 60 s, and the answer may take half of them. */
const STALE_MS = 25_000;
const SIGNERS = 2;
/** What is signed ahead, in seconds' worth of requests. */
const STOCK = 0.5;
const LEAST_STOCK = 8;

/** What came of the requests that were due in one stretch of time. */
export class Phase {
  readonly rate: number;
  readonly seconds: number;
  readonly begun: number = performance.now();
  readonly asked: Asked[] = [];
  /** Times at which nothing was ready to be sent: the generator, not the server, was too slow. */
  missed = 0;

  constructor(rate: number, seconds: number) {
    this.rate = rate;
    this.seconds = seconds;
  }

  get open(): number {
    return this.asked.filter(({ status }) => status === "open").length;
  }

  /** Until each of its requests has an answer, or nobody waits for it any more. */
  async done(): Promise<this> {
    while (this.open > 0) await delay(20);
    return this;
  }

  get statuses(): Map<number | string, number> {
    const counts = new Map<number | string, number>();
    for (const { status } of this.asked) counts.set(status, (counts.get(status) ?? 0) + 1);
    return counts;
  }

  get refused(): number {
    return this.asked.filter(({ status }) => isRefusal(status)).length;
  }

  /** How often a route was refused with which words. */
  get refusals(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { route, status, why } of this.asked) {
      if (!isRefusal(status)) continue;
      const words = `${status} of ${route}: ${why}`;
      counts.set(words, (counts.get(words) ?? 0) + 1);
    }
    return counts;
  }

  /** How long the good answers took, sorted. */
  get times(): number[] {
    return sorted(this.asked.filter(({ status }) => isGood(status)).map(({ ms }) => ms));
  }
}

/** Asks as many members at a given rate, whatever they want to ask. */
export class Generator {
  readonly #target: LoadTarget;
  readonly #options: LoadOptions;
  readonly #dice: Dice;
  readonly #agent = new http.Agent({ keepAlive: true, scheduling: "lifo" });
  readonly #signers: readonly Worker[];
  readonly #signing = new Map<number, Waiting>();
  readonly #ready: Ready[] = [];
  #nth = 0;
  #rate = 0;
  /** Whether `more` may be called. */
  fresh = true;

  constructor(target: LoadTarget, options: LoadOptions) {
    this.#target = target;
    this.#options = options;
    this.#dice = new Dice(options.seed);
    const workerData = { keys: target.keys, authority: target.authority, domain: target.domain };
    this.#signers = Array.from({ length: SIGNERS }, () => {
      const signer = new Worker(new URL("load-signer.mjs", import.meta.url), { workerData });
      return signer.on("message", (signed) => this.#signed(signed));
    });
  }

  async stop(): Promise<void> {
    await Promise.all(this.#signers.map((signer) => signer.terminate()));
    this.#agent.destroy();
  }

  /** A good answer's JSON. Asked when it is its turn, and again after a refusal. @throws Error for any other answer. */
  ask(step: Step): Promise<unknown> {
    return new Promise((resolve, reject) => this.#sign({ step, resolve, reject }));
  }

  /** For so many seconds, requests go out at `rate` a second, as if from people who don't know of each other. */
  async during(rate: number, seconds: number): Promise<Phase> {
    this.#rate = rate;
    this.#restock();
    while (this.fresh && this.#ready.length === 0) await delay(5); // the signers are loaded at first
    const phase = new Phase(rate, seconds);
    const end = phase.begun + seconds * 1000;
    for (let due = phase.begun; ; ) {
      due += (-Math.log(1 - this.#dice.next()) * 1000) / rate;
      await until(Math.min(due, end));
      if (due >= end) return phase;
      this.#arrive(phase, due);
    }
  }

  #arrive(phase: Phase, due: number): void {
    const ready = this.#nextReady();
    if (ready === undefined) phase.missed += 1;
    else this.#send(phase, ready, due);
    this.#restock();
  }

  #nextReady(): Ready | undefined {
    for (;;) {
      const ready = this.#ready.shift();
      if (ready === undefined || performance.now() - ready.signedAt < STALE_MS) return ready;
      this.#sign(ready);
    }
  }

  #restock(): void {
    const wanted = Math.max(LEAST_STOCK, this.#rate * STOCK);
    for (let left = wanted; this.fresh && left > 0 && this.#ready.length + this.#signing.size < wanted; left--)
      this.#options.more();
  }

  #sign(waiting: Waiting): void {
    const id = this.#nth++;
    this.#signing.set(id, waiting);
    this.#signers[id % SIGNERS]!.postMessage({ id, ...waiting.step });
  }

  #signed({ id, ...made }: { id: number; headers: Record<string, string>; body: string }): void {
    const waiting = this.#signing.get(id)!;
    this.#signing.delete(id);
    this.#ready.push({ ...waiting, ...made, signedAt: performance.now() });
  }

  #send(phase: Phase, ready: Ready, due: number): void {
    const { route, method, path } = ready.step;
    const asked: Asked = { route, due, late: performance.now() - due, ms: Number.NaN, status: "open" };
    phase.asked.push(asked);
    const over = (status: number | "lost", text: string, retryAfter: number): void => {
      if (asked.status !== "open") return;
      asked.status = status;
      asked.ms = performance.now() - due;
      if (isRefusal(status)) asked.why = detailOf(text);
      this.#settle(ready, asked, text, retryAfter);
    };
    const headers = { ...ready.headers, "content-length": Buffer.byteLength(ready.body) };
    const request = http.request(`${this.#target.origin}${path}`, { method, headers, agent: this.#agent });
    request.on("error", () => over("lost", "", 1));
    request.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
      });
      response.on("error", () => over("lost", "", 1));
      response.on("end", () => over(response.statusCode!, text, Number(response.headers["retry-after"] ?? 1)));
    });
    const { patience } = this.#options;
    if (patience !== undefined) {
      const timer = setTimeout(() => request.destroy(new Error("nobody listens any more")), patience);
      request.on("close", () => clearTimeout(timer));
    }
    request.end(ready.body);
  }

  #settle({ step, resolve, reject }: Ready, { status }: Asked, text: string, retryAfter: number): void {
    if (isGood(status)) resolve(JSON.parse(text));
    else if (status === "lost" || isRefusal(status))
      setTimeout(() => this.#sign({ step, resolve, reject }), retryAfter * 1000);
    else reject(new Error(`${step.method} ${step.route} was answered ${status}: ${text}`));
  }
}

function detailOf(problem: string): string {
  const { detail = "nothing" } = JSON.parse(problem) as { detail?: string };
  return detail;
}

export function isGood(status: Asked["status"]): boolean {
  return status === 200 || status === 202;
}

export function isRefusal(status: Asked["status"]): boolean {
  return status === 429 || status === 503;
}

export function sorted(values: readonly number[]): number[] {
  return values.toSorted((a, b) => a - b);
}

/** The value below which that share of sorted ones lies. */
export function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** Timers are late at times and never early; what is due already is not waited for. */
async function until(time: number): Promise<void> {
  const wait = time - performance.now();
  if (wait > 0) await delay(wait);
}
