import { keccak256, toQuantity, Wallet } from "ethers";
import * as z from "zod/mini";
import { parseLogs, type RawLog, waybill } from "../lib/chain/events.ts";
import { isRefusal, type Rpc } from "../lib/chain/rpc.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import { type Address, type Hex, toHex } from "../lib/protocol/hex.ts";
import { type Reason, reasonOf } from "../lib/protocol/reasons.ts";
import type { Domain, Item } from "../lib/protocol/statements.ts";

/** A transaction's gas on mainnet rules (EIP-7825). */
const MAX_GAS = 16_777_216;
/** The state moves between the estimate and the block; what isn't used isn't paid. */
const GAS_MARGIN = 1.2;
const SPARE_GAS = 30_000;
/** Blocks whose tips are looked at. */
const FEE_BLOCKS = 5;

/** What a transaction pays: EIP-1559 below a cap, or nothing on a chain whose gas is free. */
export type FeePolicy = { readonly kind: "market"; readonly maxFeePerGas: bigint } | { readonly kind: "free" };

/** The fields of a transaction that say what it pays. */
export type Fees =
  | { readonly type: 2; readonly maxFeePerGas: bigint; readonly maxPriorityFeePerGas: bigint }
  | { readonly type: 0; readonly gasPrice: bigint };

/** A transaction before it is signed. */
export type Unsigned = Fees & {
  readonly chainId: number;
  readonly nonce: number;
  readonly to: Address;
  readonly data: Hex;
  readonly gasLimit: number;
  readonly value: number;
};

/** The account that pays. It has no other power, so its key may be anywhere: in memory, in a keystore, in a KMS. */
export interface Relayer {
  readonly address: Address;
  sign(transaction: Unsigned): Promise<Hex>;
}

export interface Mined {
  readonly block: number;
  readonly logs: readonly RawLog[];
}

const blockJson = z.object({ gasLimit: z.string() });
const receiptJson = z.object({ blockNumber: z.string(), logs: z.unknown() });
const feesJson = z.object({
  baseFeePerGas: z.array(z.string()).check(z.minLength(1)),
  reward: z.optional(z.nullable(z.array(z.array(z.string())))),
});

/** A relayer whose key this process holds. @throws WaybillError USAGE if it is no private key. */
export function keyRelayer(privateKey: string): Relayer {
  const wallet = walletOf(privateKey);
  return {
    address: toHex(wallet.address.toLowerCase()),
    sign: async (transaction) => (await wallet.signTransaction(transaction)) as Hex,
  };
}

function walletOf(privateKey: string): Wallet {
  try {
    return new Wallet(privateKey);
  } catch {
    throw new WaybillError("USAGE", "The relayer's key must be 32 bytes of hex."); // the cause would quote it
  }
}

/** The publisher's side of the chain: it simulates, signs, sends and looks again; what it all means is decided elsewhere. */
export class Relay {
  readonly #rpc: Rpc;
  readonly #domain: Domain;
  readonly #relayer: Relayer;
  readonly #fees: FeePolicy;

  constructor(rpc: Rpc, domain: Domain, relayer: Relayer, fees: FeePolicy) {
    this.#rpc = rpc;
    this.#domain = domain;
    this.#relayer = relayer;
    this.#fees = fees;
  }

  /** How many transactions of the relayer were mined up to a block: the next one's nonce. */
  async nonce(block: number): Promise<number> {
    return Number(await this.#rpc.send("eth_getTransactionCount", [this.#relayer.address, toQuantity(block)]));
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
    const [codes] = waybill.decodeFunctionResult("relay", String(answer)) as unknown as [bigint[][]];
    return codes.map((ofItem) => [...ofItem].map((code) => reasonOf(Number(code))));
  }

  /** The gas limit for a transaction with these items; null when they are too many for one. */
  async gasLimit(items: readonly Item[], cap: number): Promise<number | null> {
    const answer = await orTooMuch(this.#rpc.send("eth_estimateGas", [this.#call(items)]));
    const needed = Number(answer);
    return answer === null || needed > cap ? null : Math.min(cap, Math.ceil(needed * GAS_MARGIN) + SPARE_GAS);
  }

  /** What a transaction should pay now; null while that is above the cap. */
  async fees(): Promise<Fees | null> {
    if (this.#fees.kind === "free") return { type: 0, gasPrice: 0n };
    const answer = feesJson.safeParse(await this.#rpc.send("eth_feeHistory", [toQuantity(FEE_BLOCKS), "latest", [50]]));
    if (!answer.success) throw new WaybillError("BAD_SERVER", "The RPC node's fee history is malformed.");
    const base = BigInt(answer.data.baseFeePerGas.at(-1)!);
    const tip = medianOf((answer.data.reward ?? []).map(([reward]) => BigInt(reward ?? 0)));
    const cap = this.#fees.maxFeePerGas;
    if (base + tip > cap) return null;
    const wanted = 2n * base + tip; // six full blocks in a row double the base fee
    return { type: 2, maxFeePerGas: wanted < cap ? wanted : cap, maxPriorityFeePerGas: tip };
  }

  /** Signs; nobody else sees the transaction yet. */
  async sign(
    items: readonly Item[],
    nonce: number,
    gasLimit: number,
    fees: Fees,
  ): Promise<{ raw: Hex; transaction: Hex }> {
    const { chainId, contract: to } = this.#domain;
    const raw = await this.#relayer.sign({ ...fees, chainId, nonce, to, data: dataOf(items), gasLimit, value: 0 });
    return { raw, transaction: keccak256(raw) as Hex };
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
    return { block: Number(parsed.data.blockNumber), logs };
  }

  #call(items: readonly Item[]): { from: Address; to: Address; data: Hex } {
    return { from: this.#relayer.address, to: this.#domain.contract, data: dataOf(items) };
  }
}

function dataOf(items: readonly Item[]): Hex {
  return waybill.encodeFunctionData("relay", [items]) as Hex;
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

/** At least one: some nodes drop what tips nothing. */
function medianOf(tips: readonly bigint[]): bigint {
  const paid = tips.filter((tip) => tip > 0n).sort((a, b) => (a < b ? -1 : 1));
  return paid[Math.floor(paid.length / 2)] ?? 1n;
}
