import { setTimeout as delay } from "node:timers/promises";
import { receiptsIn } from "../../lib/chain/events.ts";
import { toHex } from "../../lib/protocol/hex.ts";
import type { Signed } from "../../lib/protocol/statements.ts";
import { waybill } from "../contract.ts";
import type { Bed } from "./bed.ts";
import type { Hired } from "./hired.ts";

/** What one load took. */
export interface Run {
  /** From the bell to the last event, in milliseconds. */
  readonly took: number;
  /** From the bell to each event, rising. */
  readonly latencies: readonly number[];
  /** Used by all of the relayer's transactions. */
  readonly gas: number;
  readonly transactions: number;
  readonly blocks: number;
  /** From the bell until everything was settled and the outbox was empty, in milliseconds. */
  readonly settled: number;
  /** To the bucket, without those of the posts. */
  readonly requests: number;
  /** Milliseconds of CPU time of the publisher, of the chain (simulations, mining, and our looking on) and of the bucket. */
  readonly cpu: { readonly publisher: number; readonly chain: number; readonly bucket: number };
}

/** Posts that are made at the same time. */
const POSTS_AT_ONCE = 50;
const LOOK_EVERY_MS = 10;
/** Beyond this the publisher stands still, which is a bug and no figure. */
const GIVE_UP_MS = 120_000;

/** Puts a load into the outbox, rings a publisher's bell, and watches the chain's raw logs. */
export async function run(bed: Bed, publisher: Hired, load: readonly Signed[]): Promise<Run> {
  const before = await bed.provider.getBlockNumber();
  for (let i = 0; i < load.length; i += POSTS_AT_ONCE)
    await Promise.all(load.slice(i, i + POSTS_AT_ONCE).map((signed) => bed.outbox.post(signed)));
  await bed.bucket.requests();
  const idle = await bed.cpu();
  const begin = performance.now();
  publisher.ring();
  const watch = new Watch(bed, load, before);
  while (!watch.done) {
    await watch.look(performance.now() - begin);
    await pause(begin);
  }
  let probes = 1;
  for (; await bed.isPending(); probes++) await pause(begin);
  const settled = performance.now() - begin;
  const requests = (await bed.bucket.requests()) - probes;
  const busy = await bed.cpu();
  const cpu = {
    publisher: await publisher.leave(),
    chain: busy.chain - idle.chain,
    bucket: busy.bucket - idle.bucket,
  };
  const latencies = [...watch.seen.values()].sort((a, b) => a - b);
  return { took: latencies.at(-1)!, latencies, settled, requests, cpu, ...(await watch.costs()) };
}

async function pause(begin: number): Promise<void> {
  if (performance.now() - begin > GIVE_UP_MS) throw new Error("The publisher stands still.");
  await delay(LOOK_EVERY_MS);
}

/** Which statements stand on the chain, by their signatures in the contract's raw logs. */
class Watch {
  /** When a statement's event was first there to be seen. */
  readonly seen = new Map<string, number>();
  readonly #bed: Bed;
  readonly #expected: ReadonlySet<string>;
  readonly #transactions = new Map<string, number>();
  #block: number;

  constructor(bed: Bed, load: readonly Signed[], block: number) {
    this.#bed = bed;
    this.#expected = new Set(load.map(({ signature }) => signature));
    this.#block = block;
  }

  get done(): boolean {
    return this.seen.size === this.#expected.size;
  }

  async look(now: number): Promise<void> {
    const { provider, domain } = this.#bed;
    const head = await provider.getBlockNumber();
    if (head === this.#block) return;
    const logs = await provider.getLogs({ address: domain.contract, fromBlock: this.#block + 1, toBlock: head });
    this.#block = head;
    for (const { topics, data, transactionHash, blockNumber } of logs) {
      this.#transactions.set(transactionHash, blockNumber);
      for (const signature of signaturesIn(topics, data)) this.#see(signature, now);
    }
  }

  async costs(): Promise<{ gas: number; transactions: number; blocks: number }> {
    const receipts = await Promise.all(
      [...this.#transactions.keys()].map((hash) => this.#bed.provider.getTransactionReceipt(hash)),
    );
    const gas = receipts.reduce((sum, receipt) => sum + Number(receipt!.gasUsed), 0);
    return { gas, transactions: receipts.length, blocks: new Set(this.#transactions.values()).size };
  }

  #see(signature: string, now: number): void {
    if (!this.#expected.has(signature)) throw new Error("An event that nobody signed for stands on the chain.");
    if (this.seen.has(signature)) throw new Error("A statement stands on the chain twice.");
    this.seen.set(signature, now);
  }
}

/** An event's signatures: several in a Receipts event, else one. */
function signaturesIn(topics: readonly string[], data: string): string[] {
  const event = waybill.parseLog({ topics, data });
  if (event?.name !== "Receipts") return [String(event?.args.getValue("signature"))];
  return receiptsIn(toHex(String(event.args.getValue("receipts")))).flatMap(({ signatures }) => signatures);
}
