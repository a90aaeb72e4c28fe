import { toQuantity } from "ethers/utils";
import * as z from "zod/mini";
import { isRefusal, Rpc } from "../../lib/chain/rpc.ts";
import { outbound } from "../../lib/outbound.ts";
import { WaybillError } from "../../lib/protocol/errors.ts";
import { type Address, type Hex, toHex, wordHex } from "../../lib/protocol/hex.ts";
import type { Evm } from "../../local/contract.ts";

/**
 * A constructor that uses PUSH0, MCOPY and CLZ, the youngest opcode of the rules that the `current` artifact is compiled for, and
 * answers CLZ(0) = 256. Older rules stop at one of them.
 */
const NEWEST_OPCODES = "0x5f5f5f5e5f1e5f5260205ff3";
const CLZ_OF_ZERO: string = wordHex(256n);
/** A block time is measured over so many blocks: enough to even out a late one. */
const MEASURED_BLOCKS = 100;

const quantity = z.string().check(z.regex(/^0x[0-9a-f]{1,64}$/i));
const bytes = z.string().check(z.regex(/^0x([0-9a-f]{2})*$/i));
const block = z.object({ number: quantity, timestamp: quantity });
const receipt = z.nullable(
  z.object({ blockNumber: quantity, status: quantity, gasUsed: quantity, effectiveGasPrice: z.optional(quantity) }),
);

/** Where a transaction was mined, and what it cost. */
export interface Mined {
  readonly block: number;
  readonly succeeded: boolean;
  readonly gasUsed: bigint;
  /** Wei per unit of gas; null where the node doesn't tell. */
  readonly price: bigint | null;
}

/** The chain as a deployer needs it. Every method throws WaybillError UNAVAILABLE when the node doesn't answer. */
export class DeployChain {
  readonly rpc: Rpc;

  private constructor(rpc: Rpc) {
    this.rpc = rpc;
  }

  /**
   * `urls`: one, or several with commas, of which the first that answers is asked. Through a proxy where the environment names
   * one. @throws WaybillError USAGE if one is none.
   */
  static async at(urls: string): Promise<DeployChain> {
    const each = urls.split(",").map((url) => url.trim());
    return new DeployChain(new Rpc(each, { fetch: (await outbound()).fetch }));
  }

  async chainId(): Promise<number> {
    return Number(await this.#ask("eth_chainId", [], quantity));
  }

  /** The artifact that the chain can run: `paris` runs everywhere. */
  async evm(): Promise<Evm> {
    try {
      const answer = await this.#ask("eth_call", [{ data: NEWEST_OPCODES }, "latest"], bytes);
      return answer === CLZ_OF_ZERO ? "current" : "paris"; // "0x" where a node runs nothing without a contract
    } catch (error) {
      if (isRefusal(error)) return "paris";
      throw error;
    }
  }

  async nonce(account: Address, tag: "latest" | "pending" | number): Promise<number> {
    const where = typeof tag === "number" ? toQuantity(tag) : tag;
    return Number(await this.#ask("eth_getTransactionCount", [account, where], quantity));
  }

  /** In wei. */
  async balance(account: Address): Promise<bigint> {
    return BigInt(await this.#ask("eth_getBalance", [account, "latest"], quantity));
  }

  async creationGas(from: Address, data: Hex): Promise<bigint> {
    return BigInt(await this.#ask("eth_estimateGas", [{ from, data }], quantity));
  }

  /** The node's complaint, or null. It proves nothing: the node may have the transaction, or have mined it. */
  async broadcast(raw: Hex): Promise<string | null> {
    try {
      await this.rpc.send("eth_sendRawTransaction", [raw]);
      return null;
    } catch (error) {
      if (isRefusal(error)) return String(error.details.rpcMessage);
      throw error;
    }
  }

  /** Has the node the transaction, mined or not? */
  async knows(transaction: Hex): Promise<boolean> {
    return (await this.rpc.send("eth_getTransactionByHash", [transaction])) !== null;
  }

  async mined(transaction: Hex): Promise<Mined | null> {
    const found = await this.#ask("eth_getTransactionReceipt", [transaction], receipt);
    if (found === null) return null;
    return {
      block: Number(found.blockNumber),
      succeeded: BigInt(found.status) === 1n,
      gasUsed: BigInt(found.gasUsed),
      price: found.effectiveGasPrice === undefined ? null : BigInt(found.effectiveGasPrice),
    };
  }

  /** The newest block's number. */
  async tip(): Promise<number> {
    return Number(await this.#ask("eth_blockNumber", [], quantity));
  }

  async code(address: Address): Promise<Hex> {
    return toHex(await this.#ask("eth_getCode", [address, "latest"], bytes));
  }

  /** Milliseconds between the last blocks; null on a chain that is too young to tell. */
  async blockTime(): Promise<number | null> {
    const tip = await this.#block("latest");
    const span = Math.min(MEASURED_BLOCKS, tip.number);
    if (span === 0) return null;
    const before = await this.#block(toQuantity(tip.number - span));
    const each = Math.round((10 * (tip.timestamp - before.timestamp)) / span) * 100;
    return each > 0 ? each : null;
  }

  close(): void {
    this.rpc.close();
  }

  async #block(tag: string): Promise<{ number: number; timestamp: number }> {
    const { number, timestamp } = await this.#ask("eth_getBlockByNumber", [tag, false], block);
    return { number: Number(number), timestamp: Number(timestamp) };
  }

  async #ask<T>(method: string, params: readonly unknown[], schema: z.ZodMiniType<T>): Promise<T> {
    const parsed = schema.safeParse(await this.rpc.send(method, params));
    if (parsed.success) return parsed.data;
    throw new WaybillError("BAD_SERVER", `The RPC node's answer to ${method} is malformed.`);
  }
}
