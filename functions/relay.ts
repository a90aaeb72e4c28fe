import { keccak256, Wallet } from "ethers";
import { type FeePolicy, type Fees, feesNow } from "../lib/chain/fees.ts";
import { RelayCalls, relayData } from "../lib/chain/relay.ts";
import type { Rpc } from "../lib/chain/rpc.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import { type Address, type Hex, toHex } from "../lib/protocol/hex.ts";
import type { Domain, Item } from "../lib/protocol/statements.ts";

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

/** The publisher's side of the chain: what anybody needs who relays, and the relayer's own signature. */
export class Relay extends RelayCalls {
  readonly #rpc: Rpc;
  readonly #domain: Domain;
  readonly #relayer: Relayer;
  readonly #fees: FeePolicy;

  constructor(rpc: Rpc, domain: Domain, relayer: Relayer, fees: FeePolicy) {
    super(rpc, domain, relayer.address);
    this.#rpc = rpc;
    this.#domain = domain;
    this.#relayer = relayer;
    this.#fees = fees;
  }

  /** What a transaction should pay now; null while that is above the cap. */
  fees(): Promise<Fees | null> {
    return feesNow(this.#rpc, this.#fees);
  }

  /** Signs; nobody else sees the transaction yet. */
  async sign(
    items: readonly Item[],
    nonce: number,
    gasLimit: number,
    fees: Fees,
  ): Promise<{ raw: Hex; transaction: Hex }> {
    const { chainId, contract: to } = this.#domain;
    const raw = await this.#relayer.sign({ ...fees, chainId, nonce, to, data: relayData(items), gasLimit, value: 0 });
    return { raw, transaction: keccak256(raw) as Hex };
  }
}
