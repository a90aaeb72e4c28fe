import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Outbox, type StatementState } from "../functions/outbox.ts";
import { Store, type StoreConfig } from "../functions/store.ts";
import type { Hex } from "../lib/protocol/hex.ts";
import { item, World, waybill } from "./support/contract.ts";
import { Crowd, Dice, type Said } from "./support/crowd.ts";
import { RELAYER } from "./support/publishing.ts";

// 200 members, 2,000 statements, two publishers that are killed again and again, authors that relay for themselves, and a
// chain that reorganises. The publishers are what `npm test` has built.

const STATEMENTS = 2_000;
const CONFIRMATIONS = 3;
/** Blocks come by themselves, and with nothing else. */
const BLOCK_SECONDS = 1;
const KILLS = 10;
const REORGS = 3;
/** How long a statement waits for one that never comes: more than the slowest of the others takes to come. */
const MAX_WAIT_MS = 60_000;
const POSTED_AT_ONCE = 20;
/** With so many in the outbox nobody posts more: a slow machine then takes longer, and nothing else is different. */
const CROWDED = 300;
/** WAYBILL_TEST_SEED repeats a run's choices, though never its timing. */
const seed = Number(process.env.WAYBILL_TEST_SEED ?? Date.now() % 2 ** 31);
const dice = new Dice(seed);

let world: World;
let bucket: ChildProcess;
let config: StoreConfig;
let store: Store;
let outbox: Outbox;

beforeAll(async () => {
  world = await World.start();
  bucket = program("store-process.mjs");
  [config] = (await once(bucket, "message")) as [StoreConfig];
  store = new Store(config);
  outbox = new Outbox(store, world.domain);
});
afterAll(async () => {
  store.close();
  const ended = once(bucket, "exit");
  bucket.disconnect();
  await ended;
  await world.stop();
});

function program(name: string): ChildProcess {
  const file = fileURLToPath(new URL(`support/${name}`, import.meta.url));
  return fork(file, { execArgv: [], env: { ...process.env, NODE_OPTIONS: process.env.WAYBILL_TEST_PRELOAD ?? "" } });
}

/** A publisher's process, and the next one after each kill. */
class Worker {
  #child: ChildProcess = this.#start();
  #restarted: Promise<void> = Promise.resolve();

  async kill(): Promise<void> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }

  /** One restart after the other. */
  restart(): Promise<void> {
    this.#restarted = this.#restarted.then(() => this.#restart());
    return this.#restarted;
  }

  async #restart(): Promise<void> {
    await delay(dice.whole(0, 2_000)); // in the middle of whatever it does
    await this.kill();
    await delay(dice.whole(0, 1_000));
    this.#child = this.#start();
  }

  #start(): ChildProcess {
    const child = program("publisher-process.mjs");
    const times = { confirmations: CONFIRMATIONS, blockTime: BLOCK_SECONDS * 1_000, maxWait: MAX_WAIT_MS };
    child.send({ ...world.domain, ...times, store: config, rpc: world.rpc, key: RELAYER });
    return child;
  }
}

/** Posts all, now and then one twice or one that its author relays beside us, and calls `between` as it goes on. */
async function say(all: readonly Said[], between: (posted: number) => void): Promise<Hex[]> {
  const ids: Hex[] = [];
  while (ids.length < all.length) {
    const some = all.slice(ids.length, ids.length + POSTED_AT_ONCE);
    ids.push(...(await Promise.all(some.map(({ signed }) => outbox.post(signed)))));
    if (dice.next() < 0.3) await outbox.post(dice.pick(some).signed);
    if (dice.next() < 0.2) await relayByAuthor(dice.pick(some));
    between(ids.length);
    while ((await waiting()) >= CROWDED) await delay(200);
  }
  return ids;
}

async function waiting(): Promise<number> {
  return (await store.list("outbox/", { limit: CROWDED })).length;
}

async function relayByAuthor({ signed }: Said): Promise<void> {
  const from = ((await world.provider.send("eth_accounts", [])) as string[]).at(-1);
  const data = waybill.encodeFunctionData("relay", [[item(signed)]]);
  await world.provider.send("eth_sendTransaction", [{ from, to: world.domain.contract, data, gas: "0x7a1200" }]);
}

/** The last blocks are undone, with all that was in them. */
function reorganise(): Promise<unknown> {
  return world.provider.send("anvil_reorg", [dice.whole(1, CONFIRMATIONS), []]);
}

/** How often each statement stands on the chain, by its author's signature in the contract's raw logs. */
async function counted(all: readonly Said[]): Promise<number[]> {
  const filter = { address: world.domain.contract, fromBlock: "0x0", toBlock: "latest" };
  const logs = (await world.provider.send("eth_getLogs", [filter])) as { data: string }[];
  const text = logs.map(({ data }) => data).join("\n");
  return all.map(({ signed }) => text.split(signed.signature.slice(2)).length - 1);
}

async function statesOf(ids: readonly Hex[]): Promise<StatementState[]> {
  const states: StatementState[] = [];
  for (let i = 0; i < ids.length; i += POSTED_AT_ONCE)
    states.push(...(await Promise.all(ids.slice(i, i + POSTED_AT_ONCE).map((id) => outbox.state(id)))));
  return states;
}

it(`brings each statement onto the chain once or refuses it, whatever is killed or undone (seed ${seed})`, async () => {
  const all = await new Crowd(dice, world.domain, await world.now()).statements(STATEMENTS);
  expect(new Set(all.map(({ signed }) => signed.signature)).size).toBe(STATEMENTS);
  await world.provider.send("evm_setIntervalMining", [BLOCK_SECONDS]);
  const workers = [new Worker(), new Worker()];
  const disasters: Promise<unknown>[] = [];
  /** So many, each after its share of the statements. */
  const due = (posted: number, times: number): boolean =>
    Math.floor((posted / STATEMENTS) * times) > Math.floor(((posted - POSTED_AT_ONCE) / STATEMENTS) * times);
  try {
    const ids = await say(all, (posted) => {
      if (due(posted, KILLS)) disasters.push(workers[disasters.length % 2]!.restart());
      if (due(posted, REORGS)) disasters.push(reorganise());
    });
    await Promise.all(disasters);
    while ((await waiting()) > 0) await delay(500);
    const [times, states] = [await counted(all), await statesOf(ids)];
    const ends = all.map(({ fate, signed }, i) => ({ fate, signed, times: times[i]!, state: states[i]! }));
    const wrong = ends.filter(({ fate, times, state }) => {
      const stands = times === 1 && state.state === "settled";
      const refused = times === 0 && state.state === "refused";
      return fate === "either" ? stands === refused : fate === "stands" ? !stands : !refused;
    });
    expect(wrong).toEqual([]);
    expect(disasters.length).toBe(KILLS + REORGS);
    expect(times.filter((count) => count === 1).length).toBeGreaterThan(STATEMENTS * 0.9);
  } finally {
    await Promise.allSettled(disasters);
    await Promise.all(workers.map((worker) => worker.kill()));
  }
}, 480_000);
