import { toQuantity } from "ethers/utils";
import * as z from "zod/mini";
import { WaybillError } from "../protocol/errors.ts";
import type { Rpc } from "./rpc.ts";

/** Blocks whose tips are looked at. */
const FEE_BLOCKS = 5;

/**
 * What a transaction may pay, in wei per unit of gas: the market's price below a cap, by EIP-1559 ("market") or on a
 * chain without it ("legacy"), or nothing where gas is free.
 */
export type FeePolicy =
  | { readonly kind: "market"; readonly maxFeePerGas: bigint }
  | { readonly kind: "legacy"; readonly maxGasPrice: bigint }
  | { readonly kind: "free" };

/** The fields of a transaction that say what it pays. */
export type Fees =
  | { readonly type: 2; readonly maxFeePerGas: bigint; readonly maxPriorityFeePerGas: bigint }
  | { readonly type: 0; readonly gasPrice: bigint };

const historyJson = z.object({
  baseFeePerGas: z.array(z.string()).check(z.minLength(1)),
  reward: z.optional(z.nullable(z.array(z.array(z.string())))),
});

const quantity = z.string().check(z.regex(/^0x[0-9a-f]{1,64}$/i));
const blockJson = z.object({ baseFeePerGas: z.optional(z.nullable(z.string())) });

/**
 * What kind of chain it is, as a policy that pays at most `cap` wei per unit of gas. That doesn't change.
 *
 * @throws WaybillError UNAVAILABLE or BAD_SERVER when the node doesn't tell.
 */
export async function learnPolicy(rpc: Rpc, cap: bigint): Promise<FeePolicy> {
  const [price, newest] = await Promise.all([
    rpc.send("eth_gasPrice", []),
    rpc.send("eth_getBlockByNumber", ["latest", false]),
  ]);
  const block = blockJson.safeParse(newest);
  if (!quantity.safeParse(price).success)
    throw new WaybillError("BAD_SERVER", "The RPC node's gas price is malformed.");
  if (!block.success) throw new WaybillError("UNAVAILABLE", "The RPC node lags behind. Try again, or use another.");
  if (BigInt(String(price)) === 0n) return { kind: "free" };
  return block.data.baseFeePerGas ? { kind: "market", maxFeePerGas: cap } : { kind: "legacy", maxGasPrice: cap };
}

/**
 * What a transaction should pay now; null while that is above the cap.
 *
 * @throws WaybillError UNAVAILABLE or BAD_SERVER when the node doesn't tell.
 */
export async function feesNow(rpc: Rpc, policy: FeePolicy): Promise<Fees | null> {
  switch (policy.kind) {
    case "free":
      return { type: 0, gasPrice: 0n };
    case "legacy":
      return legacyFees(rpc, policy.maxGasPrice);
    case "market":
      return marketFees(rpc, policy.maxFeePerGas);
  }
}

async function legacyFees(rpc: Rpc, cap: bigint): Promise<Fees | null> {
  const answer = await rpc.send("eth_gasPrice", []);
  if (!quantity.safeParse(answer).success)
    throw new WaybillError("BAD_SERVER", "The RPC node's gas price is malformed.");
  const gasPrice = BigInt(String(answer));
  return gasPrice > cap ? null : { type: 0, gasPrice };
}

/** From the history, because a node's own suggestion of a tip can be hundreds of times what is usual. */
async function marketFees(rpc: Rpc, cap: bigint): Promise<Fees | null> {
  const answer = historyJson.safeParse(await rpc.send("eth_feeHistory", [toQuantity(FEE_BLOCKS), "latest", [50]]));
  if (!answer.success) throw new WaybillError("BAD_SERVER", "The RPC node's fee history is malformed.");
  const base = BigInt(answer.data.baseFeePerGas.at(-1)!);
  const tip = medianOf((answer.data.reward ?? []).map(([reward]) => BigInt(reward ?? 0)));
  if (base + tip > cap) return null;
  const wanted = 2n * base + tip; // six full blocks in a row double the base fee
  return { type: 2, maxFeePerGas: wanted < cap ? wanted : cap, maxPriorityFeePerGas: tip };
}

/** At least one: some nodes drop what tips nothing. */
function medianOf(tips: readonly bigint[]): bigint {
  const paid = tips.filter((tip) => tip > 0n).sort((a, b) => (a < b ? -1 : 1));
  return paid[Math.floor(paid.length / 2)] ?? 1n;
}
