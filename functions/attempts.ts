import { Transaction } from "ethers";
import type { FeePolicy, Fees } from "../lib/chain/fees.ts";
import type { Claim, Line } from "./book.ts";

/** Transactions of one nonce that carry its statements. Whatever isn't mined by then is given up for a no-op. */
export const MAX_ATTEMPTS = 5;
/** A transfer of nothing to oneself. */
export const NOOP_GAS = 21_000;

/** Nodes take a replacement that pays at least 10 % more, some 12.5 %, in both of its prices. */
const RAISE = { by: 9n, of: 8n };
/** As long as a transaction may take to be mined before it is replaced: so many seconds, and so many blocks. */
const STUCK_S = 20;
export const LINE_BLOCKS = 2;
/**
 * On a chain that makes no blocks without transactions time may stand still behind our own stuck one. Only there the
 * workers' clocks count; they can't be further apart than the bucket tolerates in a request (15 minutes).
 */
const STANDSTILL_MS = 20 * 60_000;

/**
 * What the policy lets the nth attempt pay: the cap itself only from the no-op on, and each one before it so much less that
 * every later one can pay its raise. So the nonce can always be freed, whatever its statements did.
 */
export function policyFor(attempt: number, policy: FeePolicy): FeePolicy {
  const share = (cap: bigint): bigint => {
    let rest = cap;
    for (let nth = attempt; nth < MAX_ATTEMPTS; nth++) rest = (rest * RAISE.of) / RAISE.by;
    return rest;
  };
  if (policy.kind === "market") return { ...policy, maxFeePerGas: share(policy.maxFeePerGas) };
  return policy.kind === "legacy" ? { ...policy, maxGasPrice: share(policy.maxGasPrice) } : policy;
}

/** What a replacement of the claim must pay when the market asks for `fees`; null if `policy` doesn't allow a raise. */
export function raised(claim: Claim, fees: Fees, policy: FeePolicy): Fees | null {
  const { maxFee, tip } = pricesOf(claim);
  const least = raise(maxFee);
  if (least > capOf(policy) || maxFeeOf(fees) + maxFee === 0n) return null; // there is nothing to raise where gas is free
  if (fees.type === 0) return { type: 0, gasPrice: larger(fees.gasPrice, least) };
  return {
    type: 2,
    maxFeePerGas: larger(fees.maxFeePerGas, least),
    maxPriorityFeePerGas: larger(fees.maxPriorityFeePerGas, raise(tip)),
  };
}

function capOf(policy: FeePolicy): bigint {
  if (policy.kind === "market") return policy.maxFeePerGas;
  return policy.kind === "legacy" ? policy.maxGasPrice : 0n;
}

function pricesOf({ raw }: Claim): { maxFee: bigint; tip: bigint } {
  const { gasPrice, maxFeePerGas, maxPriorityFeePerGas } = Transaction.from(raw);
  return { maxFee: maxFeePerGas ?? gasPrice ?? 0n, tip: maxPriorityFeePerGas ?? gasPrice ?? 0n };
}

const raise = (price: bigint): bigint => (price * RAISE.by + RAISE.of - 1n) / RAISE.of;
const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);

/** What must be on the account for the transaction. */
export function costOf({ gasLimit, maxFee }: Pick<Claim, "gasLimit" | "maxFee">): bigint {
  return BigInt(gasLimit) * maxFee;
}

export function maxFeeOf(fees: Fees): bigint {
  return fees.type === 0 ? fees.gasPrice : fees.maxFeePerGas;
}

/** By what a transaction's age is told. */
export interface Clock {
  /** The newest block, and its timestamp in seconds. */
  readonly tip: number;
  readonly time: number;
  /** The relayer's next nonce there, and LINE_BLOCKS blocks before. */
  readonly next: number;
  readonly earlier: number;
  /** The worker's own clock, in milliseconds. */
  readonly now: number;
}

/**
 * Is the newest transaction of the nonce that the chain waits for old enough to be replaced?
 *
 * Its age is counted in blocks and their timestamps, not by the workers' clocks, which may differ; and always from the newest
 * attempt, whoever made it, so that two workers don't both raise: whoever writes the next slot has raised, and the
 * other one finds a young attempt there. While transactions before it were still being mined, it was only behind them in a
 * long line. After a reorg the age may be negative: then it just waits.
 */
export function isOverdue({ attempts }: Line, { tip, time, next, earlier, now }: Clock): boolean {
  const newest = attempts.at(-1);
  if (!newest) return false;
  if (now - newest.claimed > STANDSTILL_MS) return true;
  return earlier === next && tip - newest.block >= LINE_BLOCKS && time - newest.time >= STUCK_S;
}
