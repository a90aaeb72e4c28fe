import { toQuantity } from "ethers/utils";
import * as z from "zod/mini";
import { WaybillError } from "../protocol/errors.ts";
import type { Address, Hex } from "../protocol/hex.ts";
import { type Reason, reasonOf } from "../protocol/reasons.ts";
import type { Domain, Item } from "../protocol/statements.ts";
import { decodeAnswer, encodeCall } from "./codec.ts";
import { parseLogs, type RawLog } from "./events.ts";
import { isRefusal, type Rpc } from "./rpc.ts";

/** A transaction's gas on mainnet rules (EIP-7825). */
const MAX_GAS = 16_777_216;
/** The state moves between the estimate and the block; what isn't used isn't paid. */
const GAS_MARGIN = 1.2;
const SPARE_GAS = 30_000;

export interface Mined {
  readonly block: number;
  /** What it used. */
  readonly gas: number;
  readonly logs: readonly RawLog[];
}

const blockJson = z.object({ gasLimit: z.string() });
const receiptJson = z.object({ blockNumber: z.string(), gasUsed: z.string(), logs: z.unknown() });

/** What is simulated is sent afterwards, and a full transaction takes long to encode. */
const encoded = new WeakMap<readonly Item[], Hex>();

/** The calldata that relays items. */
export function relayData(items: readonly Item[]): Hex {
  const data = encoded.get(items) ?? encodeCall("relay", [items]);
  encoded.set(items, data);
  return data;
}

/**
 * The side of the chain that whoever relays needs, as the account `from`: it simulates, estimates, sends and looks
 * again; it signs nothing, and what it all means is decided elsewhere. Every method throws WaybillError UNAVAILABLE when
 * the node doesn't answer.
 */
export class RelayCalls {
  readonly #rpc: Rpc;
  readonly #domain: Domain;
  readonly #from: Address;

  constructor(rpc: Rpc, domain: Domain, from: Address) {
    this.#rpc = rpc;
    this.#domain = domain;
    this.#from = from;
  }

  /** How many transactions of the account were mined up to a block, or are known to the node ("pending"): the next one's nonce. */
  async nonce(block: number | "latest" | "pending"): Promise<number> {
    const tag = typeof block === "number" ? toQuantity(block) : block;
    return Number(await this.#rpc.send("eth_getTransactionCount", [this.#from, tag]));
  }

  /** What the account owns, in wei. */
  async balance(block: number): Promise<bigint> {
    return BigInt(String(await this.#rpc.send("eth_getBalance", [this.#from, toQuantity(block)])));
  }

  /** What a transaction may use: on consortium chains a block may hold less than mainnet allows. */
  async gasCap(block: number): Promise<number> {
    const answer = blockJson.safeParse(await this.#rpc.send("eth_getBlockByNumber", [toQuantity(block), false]));
    if (!answer.success) throw new WaybillError("UNAVAILABLE", "The RPC node lags behind. Try again, or use another.");
    return Math.min(MAX_GAS, Number(answer.data.gasLimit));
  }

  /**
   * What the contract would answer in block `block`, per item and signature; null when the node gave up on
   * so many, and nothing is known.
   */
  async simulate(items: readonly Item[], block: number, gas: number): Promise<Reason[][] | null> {
    const call = { ...this.#call(items), gas: toQuantity(gas) };
    const answer = await orTooMuch(this.#rpc.send("eth_call", [call, toQuantity(block)]));
    if (answer === null) return null;
    if (answer === "0x") return items.map(() => ["UNKNOWN_TASK"]); // before the contract's own block
    const [codes] = decodeAnswer("relay", String(answer)) as unknown as [bigint[][]];
    return codes.map((ofItem) => [...ofItem].map((code) => reasonOf(Number(code))));
  }

  /** The gas limit for a transaction with these items; null when they are too many for one. */
  async gasLimit(items: readonly Item[], cap: number): Promise<number | null> {
    const answer = await orTooMuch(this.#rpc.send("eth_estimateGas", [this.#call(items)]));
    const needed = Number(answer);
    return answer === null || needed > cap ? null : Math.min(cap, Math.ceil(needed * GAS_MARGIN) + SPARE_GAS);
  }

  /** Hands a transaction to the node. Its complaint, if any, proves nothing: it may have it, or have mined it. */
  async broadcast(raw: Hex): Promise<{ complaint: string | null }> {
    try {
      await this.#rpc.send("eth_sendRawTransaction", [raw]);
      return { complaint: null };
    } catch (error) {
      if (isRefusal(error)) return { complaint: String(error.details.rpcMessage) };
      throw error;
    }
  }

  /** Where a transaction was mined, with the contract's logs; null if it wasn't. */
  async mined(transaction: Hex): Promise<Mined | null> {
    const answer = await this.#rpc.send("eth_getTransactionReceipt", [transaction]);
    if (answer === null) return null;
    const parsed = receiptJson.safeParse(answer);
    if (!parsed.success) throw new WaybillError("BAD_SERVER", "The RPC node's transaction receipt is malformed.");
    const logs = parseLogs(parsed.data.logs).filter((log) => log.address.toLowerCase() === this.#domain.contract);
    return { block: Number(parsed.data.blockNumber), gas: Number(parsed.data.gasUsed), logs };
  }

  #call(items: readonly Item[]): { from: Address; to: Address; data: Hex } {
    return { from: this.#from, to: this.#domain.contract, data: relayData(items) };
  }
}

/** The call's answer, or null if the node found that it takes more gas than a transaction may have. */
async function orTooMuch(answer: Promise<unknown>): Promise<unknown> {
  try {
    return await answer;
  } catch (error) {
    if (isRefusal(error) && /gas|revert|too large/i.test(String(error.details.rpcMessage))) return null;
    throw error;
  }
}
