import type { Signer } from "ethers";
import * as z from "zod/mini";
import { type FeePolicy, type Fees, feesNow, learnPolicy } from "./chain/fees.ts";
import type { RelayCalls } from "./chain/relay.ts";
import type { Rpc } from "./chain/rpc.ts";
import type { Deployment } from "./protocol/deployment.ts";
import { WaybillError } from "./protocol/errors.ts";
import type { Address, Hex } from "./protocol/hex.ts";
import type { Head } from "./protocol/wire.ts";

/** Where an account's last transaction is: mined or none, on its way, or there for too long. */
export type Way = "free" | "busy" | "stuck";

export interface PurseOptions {
  readonly rpc: Rpc;
  readonly calls: RelayCalls;
  readonly signer: Signer;
  readonly account: Address;
  readonly deployment: Deployment;
  /** Wei per unit of gas. */
  readonly maxFeePerGas: bigint;
}

/** The account's last transaction, as long as its nonce isn't used up. */
interface Sent {
  readonly nonce: number;
  readonly data: Hex;
  readonly gasLimit: number;
  /** Null: a wallet chose them, and only it can raise them. */
  readonly fees: Fees | null;
  readonly raw: Hex;
  /** When, by `performance.now`. */
  readonly at: number;
}

/** A transaction that lies there for so long, and two blocks, gets a higher price. */
const STUCK_MS = 20_000;
/** Nodes take a replacement that pays 10 % more; some want 12.5 %. */
const BUMP = { by: 9n, of: 8n };
/** What a statement of usual size takes, for a look into the purse before anything is begun. */
const USUAL_GAS = 120_000n;

const blockJson = z.object({ number: z.string(), timestamp: z.string() });

/**
 * A member's account as one that pays: one transaction of ours at a time. It keeps no count of its own: a nonce comes from
 * the chain right before it is used, and whether a transaction did what it should, others look up.
 */
export class Purse {
  readonly #options: PurseOptions;
  /** A browser's: it signs only what it sends itself, and its owner is asked each time. */
  readonly isWallet: boolean;
  #policy: FeePolicy | null = null;
  #sent: Sent | null = null;

  constructor(options: PurseOptions) {
    this.#options = options;
    this.isWallet =
      typeof (options.signer as { sendUncheckedTransaction?: unknown }).sendUncheckedTransaction === "function";
  }

  /** Whether there is anything in it. @throws WaybillError NOT_PUBLISHED */
  async check(): Promise<void> {
    const fees = await this.#fees();
    if (fees) await this.#afford(fees, USUAL_GAS);
  }

  /** How it stands with the last transaction as of block `tip`. */
  async look(tip: number): Promise<Way> {
    const sent = this.#sent;
    if (!sent) return "free";
    if ((await this.#options.calls.nonce(tip)) > sent.nonce) {
      this.#sent = null;
      return "free";
    }
    const [age, blocks] = [performance.now() - sent.at, 2 * this.#options.deployment.blockTime];
    if (!sent.fees || age < blocks) return "busy";
    return age > Math.max(STUCK_MS, blocks) || isOvertaken(sent.fees, await this.#fees()) ? "stuck" : "busy";
  }

  /**
   * Sends a transaction, when the last one is out of the way. False: not now, because gas is above the cap, or another
   * program's transaction came in between.
   *
   * @throws WaybillError NOT_PUBLISHED when the account can't pay or its wallet refuses; UNAVAILABLE, after which the node
   * may have it nevertheless.
   */
  async send(data: Hex, gasLimit: number): Promise<boolean> {
    if (this.isWallet) return this.#sendByWallet(data, gasLimit);
    const wanted = await this.#fees();
    if (!wanted) return false;
    const fees = await this.#afford(wanted, BigInt(gasLimit));
    const nonce = await this.#nonce();
    return this.#broadcast({ nonce, data, gasLimit, fees });
  }

  /** The same transaction again at a higher price, if the cap and the account allow it; else as it was, in case it was dropped. */
  async bump(): Promise<void> {
    const { nonce, data, gasLimit, fees: old, raw } = this.#sent!;
    const fees = old && raised(old, await this.#fees(), this.#options.maxFeePerGas);
    const affordable = fees && (await this.#afford(fees, BigInt(gasLimit)).catch(() => null));
    if (affordable && priceOf(affordable) === priceOf(fees)) await this.#broadcast({ nonce, data, gasLimit, fees });
    else {
      this.#sent = { ...this.#sent!, at: performance.now() };
      await this.#options.calls.broadcast(raw);
    }
  }

  async #broadcast({ nonce, data, gasLimit, fees }: Omit<Sent, "raw" | "at"> & { fees: Fees }): Promise<boolean> {
    const { signer, deployment, calls } = this.#options;
    const { chainId, contract: to } = deployment;
    const raw = (await signer.signTransaction({ ...fees, chainId, nonce, to, data, gasLimit, value: 0 })) as Hex;
    const before = this.#sent;
    // Until the node has answered it counts as lying there too long already: so if it doesn't, that nonce is tried again.
    this.#sent = { nonce, data, gasLimit, fees, raw, at: Number.NEGATIVE_INFINITY };
    const { complaint } = await calls.broadcast(raw);
    if (complaint === null || /already (known|imported|exists)|known transaction/i.test(complaint)) {
      this.#sent = { ...this.#sent, at: performance.now() };
      return true;
    }
    // A replacement that wasn't enough is followed by a higher one; otherwise the nonce is somebody else's.
    this.#sent = before && { ...before, fees, at: performance.now() };
    if (/insufficient funds|upfront cost|exceeds.*balance/i.test(complaint)) throw unpaid(this.#options.account, {});
    if (/nonce|underpriced|replacement/i.test(complaint)) return false;
    throw new WaybillError("UNAVAILABLE", `The RPC node does not take the transaction: ${complaint}.`);
  }

  /** The wallet chooses nonce and fees, and its owner may take minutes to agree. */
  async #sendByWallet(data: Hex, gasLimit: number): Promise<boolean> {
    const { signer, deployment } = this.#options;
    const { chainId, contract: to } = deployment;
    try {
      const { nonce } = await signer.sendTransaction({ chainId, to, data, gasLimit, value: 0 });
      this.#sent = { nonce, data, gasLimit, fees: null, raw: "0x", at: performance.now() };
      return true;
    } catch (cause) {
      const message = "Your wallet did not send the transaction that would have relayed the statement.";
      throw new WaybillError("NOT_PUBLISHED", message, { cause, details: { reason: "WALLET_REFUSED" } });
    }
  }

  /** With what others of this account have on its way. */
  async #nonce(): Promise<number> {
    return Number(await this.#options.rpc.send("eth_getTransactionCount", [this.#options.account, "pending"]));
  }

  /** Fees within what the account has. The market's maximum leaves room for twice the present price, which need not be there. */
  async #afford(fees: Fees, gas: bigint): Promise<Fees> {
    const price = priceOf(fees);
    if (price === 0n) return fees;
    const { rpc, account } = this.#options;
    const balance = BigInt(String(await rpc.send("eth_getBalance", [account, "latest"])));
    const affordable = balance / gas;
    if (affordable >= price) return fees;
    const least = fees.type === 2 ? (price + fees.maxPriorityFeePerGas) / 2n : price;
    if (fees.type === 0 || affordable < least)
      throw unpaid(account, { balance: String(balance), needed: String(gas * least) });
    return { ...fees, maxFeePerGas: affordable };
  }

  async #fees(): Promise<Fees | null> {
    const { rpc, maxFeePerGas } = this.#options;
    this.#policy ??= await learnPolicy(rpc, maxFeePerGas);
    return feesNow(rpc, this.#policy);
  }
}

/** Where the node that answers at present stands. */
export async function newestBlock(rpc: Rpc): Promise<Head> {
  const parsed = blockJson.safeParse(await rpc.send("eth_getBlockByNumber", ["latest", false]));
  if (!parsed.success) throw new WaybillError("UNAVAILABLE", "The RPC node lags behind. Try again, or use another.");
  const { number, timestamp } = parsed.data;
  return { block: Number(number), timestamp: Number(timestamp) };
}

function priceOf(fees: Fees): bigint {
  return fees.type === 2 ? fees.maxFeePerGas : fees.gasPrice;
}

/** Has the base fee risen above what the transaction may pay? The market's maximum is twice the base fee. */
function isOvertaken(fees: Fees, now: Fees | null): boolean {
  return now === null ? false : priceOf(now) > 2n * priceOf(fees);
}

/** Fees that a node takes instead of the old ones; null where nothing can be raised. */
function raised(old: Fees, now: Fees | null, cap: bigint): Fees | null {
  const more = (fee: bigint, other: bigint): bigint => {
    const bumped = (fee * BUMP.by) / BUMP.of + 1n;
    return bumped > other ? bumped : other;
  };
  if (old.type === 0) {
    const gasPrice = more(old.gasPrice, now?.type === 0 ? now.gasPrice : 0n);
    return old.gasPrice === 0n || gasPrice > cap ? null : { type: 0, gasPrice };
  }
  const market = now?.type === 2 ? now : { maxFeePerGas: 0n, maxPriorityFeePerGas: 0n };
  const maxFeePerGas = more(old.maxFeePerGas, market.maxFeePerGas);
  const maxPriorityFeePerGas = more(old.maxPriorityFeePerGas, market.maxPriorityFeePerGas);
  return maxFeePerGas > cap ? null : { type: 2, maxFeePerGas, maxPriorityFeePerGas };
}

function unpaid(account: Address, details: { balance?: string; needed?: string }): WaybillError {
  const figures = details.needed ? `: it has ${details.balance} wei, and ${details.needed} are needed` : "";
  const message = `The account ${account} can't pay for relaying its statement${figures}. Give it some, or use the functions' relayer.`;
  return new WaybillError("NOT_PUBLISHED", message, { details: { reason: "INSUFFICIENT_FUNDS", account, ...details } });
}
