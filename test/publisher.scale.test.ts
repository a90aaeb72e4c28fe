import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Outbox } from "../functions/outbox.ts";
import { Store, type StoreConfig } from "../functions/store.ts";
import type { Hex } from "../lib/protocol/hex.ts";
import { type Store as Bucket, startStore } from "../local/store/store.ts";
import { item, World, waybill } from "./support/contract.ts";
import { Crowd, Dice, type Said } from "./support/crowd.ts";
import { RELAYER } from "./support/publishing.ts";

// 200 members, 2,000 statements, two publishers that are killed again and again, authors that relay for themselves, and a
// chain that reorganises.

const STATEMENTS = 2_000;
const CONFIRMATIONS = 3;
/** Blocks come by themselves, and with nothing else. */
const BLOCK_SECONDS = 1;
const KILLS = 10;
const REORGS = 2;
/** How long a statement waits for one that never comes: more than the slowest of the others takes to come. */
const MAX_WAIT_MS = 60_000;
const POSTED_AT_ONCE = 10;
/** WAYBILL_TEST_SEED repeats a run's choices, though never its timing. */
const seed = Number(process.env.WAYBILL_TEST_SEED ?? Date.now() % 2 ** 31);
const dice = new Dice(seed);

let world: World;
let bucket: Bucket;
let storeConfig: StoreConfig;
let store: Store;
let outbox: Outbox;

beforeAll(async () => {
  world = await World.start();
  bucket = await startStore();
  const { endpoint: s3Endpoint, bucket: name, region, credentials: s3Credentials } = bucket;
  storeConfig = { bucket: name, region, s3Endpoint, s3Credentials };
  store = new Store(storeConfig);
  outbox = new Outbox(store, world.domain);
});
afterAll(async () => {
  store.close();
  await bucket.stop();
  await world.stop();
});

/** A publisher's process, and the next one after each kill. */
class Worker {
  #child: ChildProcess = this.#start();

  async kill(): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }

  async restart(): Promise<void> {
    await this.kill();
    await delay(dice.whole(0, 1_000));
    this.#child = this.#start();
  }

  #start(): ChildProcess {
    const program = fileURLToPath(new URL("support/publisher-process.mjs", import.meta.url));
    const child = fork(program, { execArgv: [], env: { ...process.env, NODE_OPTIONS: "" } });
    const times = { confirmations: CONFIRMATIONS, blockTime: BLOCK_SECONDS * 1_000, maxWait: MAX_WAIT_MS };
    child.send({ ...world.domain, ...times, store: storeConfig, rpc: world.rpc, key: RELAYER });
    return child;
  }
}

/** Some at a time, now and then one that is posted twice, or that its author relays beside us. */
async function say(all: readonly Said[]): Promise<Hex[]> {
  const ids: Hex[] = [];
  for (let i = 0; i < all.length; i += POSTED_AT_ONCE) {
    const some = all.slice(i, i + POSTED_AT_ONCE);
    ids.push(...(await Promise.all(some.map(({ signed }) => outbox.post(signed)))));
    if (dice.next() < 0.2) await outbox.post(dice.pick(some).signed);
    if (dice.next() < 0.1) await relayByAuthor(dice.pick(some));
  }
  return ids;
}

async function relayByAuthor({ signed }: Said): Promise<void> {
  const from = ((await world.provider.send("eth_accounts", [])) as string[]).at(-1);
  const data = waybill.encodeFunctionData("relay", [[item(signed)]]);
  await world.provider.send("eth_sendTransaction", [{ from, to: world.domain.contract, data, gas: "0x7a1200" }]);
}

/** `act`, so often, at moments that the dice choose. */
async function nowAndThen(times: number, least: number, most: number, act: () => Promise<unknown>): Promise<void> {
  for (let i = 0; i < times; i++) {
    await delay(dice.whole(least, most));
    await act();
  }
}

/** How often each statement stands on the chain, by its author's signature in the contract's raw logs. */
async function counted(all: readonly Said[]): Promise<number[]> {
  const logs = (await world.provider.send("eth_getLogs", [
    { address: world.domain.contract, fromBlock: "0x0", toBlock: "latest" },
  ])) as { data: string }[];
  const text = logs.map(({ data }) => data).join("\n");
  return all.map(({ signed }) => text.split(signed.signature.slice(2)).length - 1);
}

async function settled(): Promise<void> {
  while ((await store.list("outbox/", { limit: 1 })).length > 0) await delay(500);
}

it(`brings each statement onto the chain once or refuses it, whatever is killed or undone (seed ${seed})`, async () => {
  const crowd = new Crowd(dice, world.domain, await world.now());
  const all = await crowd.statements(STATEMENTS);
  expect(new Set(all.map(({ signed }) => signed.signature)).size).toBe(STATEMENTS);
  await world.provider.send("evm_setIntervalMining", [BLOCK_SECONDS]);
  const workers = [new Worker(), new Worker()];
  try {
    const [ids] = await Promise.all([
      say(all),
      nowAndThen(KILLS, 1_000, 5_000, () => dice.pick(workers).restart()),
      nowAndThen(REORGS, 8_000, 16_000, () => world.provider.send("anvil_reorg", [dice.whole(1, CONFIRMATIONS), []])),
    ]);
    await settled();
    const times = await counted(all);
    const states = await Promise.all(ids.map((id) => outbox.state(id)));
    const wrong = all.filter(({ fate }, i) => {
      const { state } = states[i]!;
      const stands = times[i] === 1 && state === "settled";
      const refused = times[i] === 0 && state === "refused";
      return fate === "either" ? !stands && !refused : fate === "stands" ? !stands : !refused;
    });
    expect(
      wrong.map((said) => ({ ...said, times: times[all.indexOf(said)], state: states[all.indexOf(said)] })),
    ).toEqual([]);
    expect(times.filter((count) => count === 1).length).toBeGreaterThan(STATEMENTS * 0.9);
  } finally {
    await Promise.all(workers.map((worker) => worker.kill()));
  }
}, 240_000);
