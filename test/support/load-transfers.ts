import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Wallet } from "ethers";
import type { Deployment } from "../../lib/protocol/deployment.ts";
import { newKey, openCrew, quiet, usageOf } from "./load-world.ts";

const KiB = 1024;
export const TRANSFER = { size: 1024 * KiB, partSize: 256 * KiB } as const;

export interface Many {
  readonly members: number;
  /** Transfers at a time. */
  readonly transfers: number;
  /** Processes that the members share. */
  readonly processes: number;
}

/** What the stack's process holds. */
export interface Alive {
  /** Bytes on its heap after a full collection. */
  readonly live: number;
  /** In its store, which has the index of them in memory. */
  readonly objects: number;
}

/** What was seen of the stack's process at one time. */
export interface Sample {
  readonly second: number;
  readonly rss: number;
  readonly underWay: number;
}

export interface Transferred {
  readonly samples: readonly Sample[];
  readonly transfers: number;
  readonly seconds: number;
  /** When every pair had had its first transfer, and at the end. */
  readonly alive: readonly [early: Alive, late: Alive];
  /** Its processor time, in seconds. */
  readonly processor: number;
}

/** So many transfers under way through the embedded stack at all times, until `enough` says so. @throws Error when one fails. */
export async function transferMany(
  { members, transfers, processes }: Many,
  enough: (seen: { seconds: number; transfers: number }) => boolean,
): Promise<Transferred> {
  const stack = start("stack-process.mjs", [String(TRANSFER.partSize)], ["--expose-gc"]);
  const clients: Client[] = [];
  try {
    const [{ deployment: given }] = (await once(stack, "message")) as [{ deployment: Deployment }];
    const deployment = { ...given, maxBlockAge: PATIENCE_MS };
    const { task, keys } = await openCrew(members, new Wallet(newKey()), deployment);
    const pairs = Array.from({ length: transfers }, (_, nth) => [keys[2 * nth]!, keys[2 * nth + 1]!]);
    for (let nth = 0; nth < processes; nth++) {
      const mine = pairs.filter((_, index) => index % processes === nth);
      clients.push(new Client({ deployment, task, pairs: mine, ...TRANSFER, tag: `many/${nth}` }));
    }
    return await watched(stack, clients, enough);
  } finally {
    for (const client of clients) await client.stop();
    if (stack.connected) {
      const ended = once(stack, "exit");
      stack.disconnect();
      await ended;
    }
  }
}

const SAMPLE_MS = 1_000;
/** Two hundred members begin at once: on a machine with much else to do some see nothing of the chain for half a minute. */
const PATIENCE_MS = 10 * 60_000;

async function watched(
  stack: ChildProcess,
  clients: readonly Client[],
  enough: (seen: { seconds: number; transfers: number }) => boolean,
): Promise<Transferred> {
  const total = (what: "began" | "ended"): number => clients.reduce((sum, client) => sum + client[what], 0);
  const begun = performance.now();
  const before = (await usageOf(stack.pid!))?.seconds ?? Number.NaN;
  const seconds = (): number => (performance.now() - begun) / 1000;
  const samples: Sample[] = [];
  let early: Alive | null = null;
  while (!enough({ seconds: seconds(), transfers: total("ended") })) {
    await delay(SAMPLE_MS);
    const fault = clients.find((client) => client.fault !== null)?.fault;
    if (fault) throw new Error(fault);
    const rss = (await usageOf(stack.pid!))?.rss ?? Number.NaN;
    samples.push({ second: seconds(), rss, underWay: total("began") - total("ended") });
    // Once every pair has had its first: what is made once for each is made.
    if (early === null && clients.every((client) => client.isWarm)) early = await liveOf(stack);
  }
  const measured = { transfers: total("ended"), seconds: seconds() };
  const late = await liveOf(stack);
  const processor = ((await usageOf(stack.pid!))?.seconds ?? Number.NaN) - before;
  for (const client of clients) client.end();
  await Promise.all(clients.map((client) => client.over));
  return { ...measured, samples, alive: [early ?? late, late], processor };
}

async function liveOf(stack: ChildProcess): Promise<Alive> {
  stack.send("live?");
  const [alive] = (await once(stack, "message")) as [Alive];
  return alive;
}

interface Order {
  readonly deployment: Deployment;
  readonly task: string;
  readonly pairs: readonly (readonly string[])[];
  readonly size: number;
  readonly partSize: number;
  readonly tag: string;
}

/** A process of many members. */
class Client {
  began = 0;
  ended = 0;
  fault: string | null = null;
  readonly over: Promise<void>;
  readonly #pairs: number;
  readonly #process: ChildProcess;
  readonly #exited: Promise<unknown>;

  constructor(order: Order) {
    this.#pairs = order.pairs.length;
    this.#process = start("transfers-process.mjs");
    this.#exited = once(this.#process, "exit");
    this.over = this.#exited.then(() => {
      if (this.fault !== null) throw new Error(this.fault);
    });
    this.over.catch(() => undefined); // also told by `fault`
    this.#process.on("message", (said: { began?: 1; ended?: 1; fault?: string }) => {
      this.began += said.began ?? 0;
      this.ended += said.ended ?? 0;
      this.fault ??= said.fault ?? null;
    });
    this.#process.send(order);
  }

  /** Whether as many transfers have ended as there are pairs. */
  get isWarm(): boolean {
    return this.ended >= this.#pairs;
  }

  /** Each pair ends with the transfer that is under way. */
  end(): void {
    if (this.#process.connected) this.#process.send("end");
  }

  async stop(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#exited;
  }
}

function start(name: string, args: readonly string[] = [], execArgv: string[] = []): ChildProcess {
  const options = { env: quiet(), execArgv, stdio: ["ignore", "ignore", "inherit", "ipc"] as const };
  return fork(join(import.meta.dirname, name), args, { ...options, stdio: [...options.stdio] });
}
