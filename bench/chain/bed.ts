import { HDNodeWallet, JsonRpcProvider, Wallet } from "ethers";
import { Outbox } from "../../functions/outbox.ts";
import { Store } from "../../functions/store.ts";
import type { Domain, Item } from "../../lib/protocol/statements.ts";
import { type Anvil, startAnvil } from "../../local/anvil.ts";
import { deployContract } from "../../local/contract.ts";
import { waybill } from "../contract.ts";
import { type Bucket, startBucket } from "./bucket.ts";
import { cpuOf } from "./cpu.ts";
import { type Hired, hire } from "./hired.ts";

/** How the chain makes blocks: one per transaction, or one every so many seconds. */
export type Mining = "instant" | number;

/** What setting up may use per transaction. */
const SETUP_GAS = 16_000_000;
/** No block comes by itself unless we say so. */
const NEVER = 365 * 86_400;

/** A bucket, a chain with the contract, and a publisher between them: the real ones, on this machine. */
export class Bed {
  readonly domain: Domain;
  readonly outbox: Outbox;
  readonly provider: JsonRpcProvider;
  readonly bucket: Bucket;
  readonly #payer: Wallet;
  readonly #anvil: Anvil;
  readonly #store: Store;
  readonly #undo: (() => unknown)[];

  private constructor(parts: {
    anvil: Anvil;
    provider: JsonRpcProvider;
    payer: Wallet;
    bucket: Bucket;
    store: Store;
    domain: Domain;
    undo: (() => unknown)[];
  }) {
    const { anvil, provider, payer, bucket, store, domain, undo } = parts;
    this.domain = domain;
    this.provider = provider;
    this.bucket = bucket;
    this.outbox = new Outbox(store, domain);
    this.#payer = payer;
    this.#anvil = anvil;
    this.#store = store;
    this.#undo = undo;
  }

  static async start(): Promise<Bed> {
    const undo: (() => unknown)[] = [];
    try {
      const bucket = await startBucket();
      undo.unshift(() => bucket.stop());
      const store = new Store(bucket.config);
      undo.unshift(() => store.close());
      const anvil = await startAnvil({ blockTime: NEVER });
      undo.unshift(() => anvil.stop());
      const options = { staticNetwork: true, cacheTimeout: -1, pollingInterval: 20 };
      const provider = new JsonRpcProvider(anvil.url, anvil.chainId, options);
      undo.unshift(() => provider.destroy());
      const payer = new Wallet(anvil.accounts[0]!.privateKey, provider);
      const { contract } = await deployContract(payer);
      const domain = { chainId: anvil.chainId, contract };
      return new Bed({ anvil, provider, payer, bucket, store, domain, undo });
    } catch (error) {
      for (const step of undo) await step();
      throw error;
    }
  }

  async stop(): Promise<void> {
    for (const step of this.#undo) await step();
  }

  /** Milliseconds of CPU time so far, of the chain and of the bucket. */
  async cpu(): Promise<{ chain: number; bucket: number }> {
    return { chain: await cpuOf(this.#anvil.pid), bucket: await cpuOf(this.bucket.pid) };
  }

  async mine(mining: Mining): Promise<void> {
    if (mining === "instant") await this.provider.send("evm_setAutomine", [true]);
    else await this.provider.send("evm_setIntervalMining", [mining]); // and none for transactions
  }

  /** One request to the bucket. */
  async isPending(): Promise<boolean> {
    return (await this.#store.list("outbox/", { limit: 1 })).length > 0;
  }

  /** Brings items onto the chain past the publisher, at once. */
  async relay(items: readonly Item[], atOnce: number): Promise<void> {
    for (let i = 0; i < items.length; i += atOnce) {
      const data = waybill.encodeFunctionData("relay", [items.slice(i, i + atOnce)]);
      const sent = await this.#payer.sendTransaction({ to: this.domain.contract, data, gasLimit: SETUP_GAS });
      if ((await sent.wait())?.status !== 1) throw new Error("The benchmark's own set-up was reverted.");
    }
  }

  hire(mining: Mining): Promise<Hired> {
    const blockTime = mining === "instant" ? 100 : mining * 1_000;
    const { config: store } = this.bucket;
    return hire({ ...this.domain, store, rpc: this.#anvil.url, blockTime, key: this.#anvil.accounts[1]!.privateKey });
  }
}

/** Keys that nobody else has, the same in every run. */
export function keys(count: number): Wallet[] {
  const root = HDNodeWallet.fromPhrase(
    "test test test test test test test test test test test junk",
    "",
    "m/44'/60'/7'",
  );
  return Array.from({ length: count }, (_, i) => new Wallet(root.deriveChild(i).privateKey));
}
