import { HDNodeWallet, type LogDescription, Mnemonic } from "ethers";
import { Registry } from "../../functions/metrics.ts";
import { Outbox, type OutboxStore } from "../../functions/outbox.ts";
import { Publisher, type PublisherDeps } from "../../functions/publisher.ts";
import { keyRelayer, type Relayer } from "../../functions/relay.ts";
import { Store, type StoreConfig } from "../../functions/store.ts";
import type { Hex } from "../../lib/protocol/hex.ts";
import type { Signed } from "../../lib/protocol/statements.ts";
import { type Store as Bucket, type RequestLog, startStore } from "../../local/store/store.ts";
import { type World, waybill } from "./contract.ts";
import { secret } from "./secrets.ts";

/** One of anvil's rich accounts that nobody else in the tests pays from. */
export const RELAYER: string = HDNodeWallet.fromMnemonic(
  Mnemonic.fromPhrase("test test test test test test test test test test test junk"),
  "m/44'/60'/0'/0/5",
).privateKey;

/**
 * The tests' chain mines at once, and a step ends when it has: so only a step that has something mined to wait for takes as
 * long as the machine needs. Tests in which nothing is mined say a shorter time.
 */
const PATIENT_MS = 20_000;

/** A bucket with an outbox of its own, and publishers over it. */
export class Desk {
  readonly world: World;
  readonly storeConfig: StoreConfig;
  readonly store: Store;
  readonly outbox: Outbox;
  readonly relayer: Relayer = keyRelayer(RELAYER);
  /** What the publishers warn of. */
  readonly log: string[] = [];
  /** All that they say. */
  readonly lines: Record<string, unknown>[] = [];
  readonly counted: Registry = new Registry();
  readonly #bucket: Bucket;
  readonly #publishers: Publisher[] = [];
  /** The chain's first block that is this desk's. */
  readonly #fromBlock: number;

  private constructor(world: World, bucket: Bucket, fromBlock: number) {
    this.world = world;
    this.#fromBlock = fromBlock;
    this.#bucket = bucket;
    const { endpoint: s3Endpoint, bucket: name, region, credentials: s3Credentials } = bucket;
    secret(s3Credentials.secretAccessKey);
    this.storeConfig = { bucket: name, region, s3Endpoint, s3Credentials };
    this.store = new Store(this.storeConfig);
    this.outbox = new Outbox(this.store, world.domain);
  }

  static async open(world: World, onRequest: (entry: RequestLog) => void = () => {}): Promise<Desk> {
    return new Desk(world, await startStore({ onRequest }), (await world.provider.getBlockNumber()) + 1);
  }

  async close(): Promise<void> {
    for (const publisher of this.#publishers) publisher.close();
    this.store.close();
    await this.#bucket.stop();
  }

  /** A publisher as a fresh process would have it. */
  publisher(over: Partial<PublisherDeps> = {}): Publisher {
    const publisher = new Publisher({
      ...this.world.domain,
      store: this.store,
      rpc: this.world.rpc,
      confirmations: 0,
      blockTime: PATIENT_MS,
      relayer: this.relayer,
      fees: { kind: "market", maxFeePerGas: 10n ** 12n },
      log: (line, level) => {
        if (level !== "INFO") this.log.push(line);
        this.lines.push(JSON.parse(line) as Record<string, unknown>);
      },
      metrics: this.counted.of("publisher"),
      ...over,
    });
    this.#publishers.push(publisher);
    return publisher;
  }

  async post(...statements: readonly Signed[]): Promise<Hex[]> {
    const ids: Hex[] = [];
    for (const signed of statements) ids.push(await this.outbox.post(signed));
    return ids;
  }

  /** Steps until nothing is pending; fails when that takes suspiciously long. */
  async drain(publisher: Publisher = this.publisher()): Promise<void> {
    for (let steps = 0; steps < 100; steps++) if ((await publisher.step()).pending === 0) return;
    throw new Error(`still pending: ${(await this.keys("outbox/")).join()}`);
  }

  async keys(prefix: string): Promise<string[]> {
    return (await this.store.list(prefix)).map(({ key }) => key);
  }

  /** What was claimed, in the order of nonces and attempts; not the refusals. */
  async transactions(): Promise<{ transaction: string; raw: string; statements: readonly Hex[] }[]> {
    const found = await Promise.all((await this.keys("relay/")).map((key) => this.store.getJson(key)));
    const slots = found.map((slot) => slot!.value as { transaction: string; raw: string; statements: readonly Hex[] });
    return slots.filter((slot) => "transaction" in slot);
  }

  /** The contract's events since the desk was opened, as the chain has them, without any of our readers. */
  async events(name?: string): Promise<LogDescription[]> {
    const all = await this.world.provider.getLogs({ address: this.world.domain.contract, fromBlock: 0 });
    const logs = all.filter(({ blockNumber }) => blockNumber >= this.#fromBlock);
    return logs.map((log) => waybill.parseLog(log)!).filter((event) => name === undefined || event.name === name);
  }

  /** How often a statement stands on the chain: signatures are unique to their statements. */
  async timesOnChain({ signature }: Signed): Promise<number> {
    const inEvents = (await this.events()).map(({ args }) => String(args.signature ?? args.receipts ?? "0x"));
    return inEvents.join().toLowerCase().split(signature.slice(2).toLowerCase()).length - 1;
  }

  /** So long passes on the chain, which knows nothing of our clock and may be behind it by all that a test took. */
  async pass(seconds: number): Promise<void> {
    await this.world.provider.send("evm_increaseTime", [seconds]);
    await this.mine(1);
  }

  /** Blocks on top. */
  async mine(blocks: number): Promise<void> {
    await this.world.provider.send("anvil_mine", [`0x${blocks.toString(16)}`]);
  }
}

/** The store, failing where a test says so: "before" the work is done or "after". */
export function failing(
  store: OutboxStore,
  when: (operation: string, key: string) => "before" | "after" | null,
): OutboxStore {
  const wrapped = <A extends readonly unknown[], R>(operation: string, work: (...values: A) => Promise<R>) => {
    return async (...values: A): Promise<R> => {
      const fault = when(operation, String(values[0]));
      if (fault === "before") throw new Error(`injected before ${operation}`);
      const result = await work(...values);
      if (fault === "after") throw new Error(`injected after ${operation}`);
      return result;
    };
  };
  return {
    getJson: wrapped("getJson", (key: string) => store.getJson(key)),
    putJson: wrapped("putJson", (...values: Parameters<OutboxStore["putJson"]>) => store.putJson(...values)),
    list: wrapped("list", (...values: Parameters<OutboxStore["list"]>) => store.list(...values)),
    delete: wrapped("delete", (key: string) => store.delete(key)),
  };
}
