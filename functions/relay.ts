import { Wallet } from "ethers";
import type { Fees } from "../lib/chain/fees.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import { type Address, type Hex, toHex } from "../lib/protocol/hex.ts";

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
