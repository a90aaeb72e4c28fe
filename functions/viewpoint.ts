import { type FeePolicy, type Fees, feesNow } from "../lib/chain/fees.ts";
import { Node } from "../lib/chain/node.ts";
import { RelayCalls } from "../lib/chain/relay.ts";
import { Rpc } from "../lib/chain/rpc.ts";
import type { Address } from "../lib/protocol/hex.ts";
import type { Domain } from "../lib/protocol/statements.ts";
import { LINE_BLOCKS } from "./attempts.ts";

/** The chain as one node shows it at one moment. Views of two nodes must not be mixed: each may be right, and yet both wrong together. */
export interface Scene {
  /** The newest block, and its timestamp in seconds. */
  readonly tip: number;
  readonly time: number;
  /** The newest block with `confirmations` on top. */
  readonly head: number;
  /** What a transaction may use. */
  readonly gasCap: number;
  /** The nonce that the chain takes next, now and LINE_BLOCKS blocks ago. */
  readonly next: number;
  readonly earlier: number;
  /** Transactions with a nonce below this are final. */
  readonly final: number;
  /** The nonce up to which the node knows transactions, mined or not. */
  readonly known: number;
  /** What the relayer owns, in wei. */
  readonly balance: bigint;
}

/** One RPC node, as the publisher uses it. */
export class Viewpoint extends RelayCalls {
  readonly #rpc: Rpc;
  readonly #node: Node;
  readonly #confirmations: number;

  /** @throws WaybillError USAGE if `url` is no http(s) URL. */
  constructor(
    url: string,
    domain: Domain,
    {
      confirmations,
      relayer,
      fetch: send,
    }: { confirmations: number; relayer: Address; fetch?: typeof fetch | undefined },
  ) {
    const rpc = new Rpc(url, { fetch: send });
    super(rpc, domain, relayer);
    this.#rpc = rpc;
    this.#confirmations = confirmations;
    this.#node = new Node(url, { ...domain, confirmations, fetch: send }, () => {});
  }

  /** @throws WaybillError WRONG_CHAIN when the node serves another chain, or there is no Waybill contract. */
  async look(): Promise<Scene> {
    const { block: tip, timestamp: time } = await this.#node.tip();
    const head = Math.max(0, tip - this.#confirmations);
    const [next, earlier, final, known, gasCap, balance] = await Promise.all([
      this.nonce(tip),
      this.nonce(Math.max(0, tip - LINE_BLOCKS)),
      this.nonce(head),
      this.nonce("pending"),
      this.gasCap(tip),
      this.balance(tip),
    ]);
    return { tip, time, head, gasCap, next, earlier, final, known, balance };
  }

  /** What a transaction should pay now; null while that is above the policy's cap. */
  fees(policy: FeePolicy): Promise<Fees | null> {
    return feesNow(this.#rpc, policy);
  }

  close(): void {
    this.#rpc.close();
    this.#node.close();
  }
}
