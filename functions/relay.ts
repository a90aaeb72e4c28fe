import { computeAddress, SigningKey, Transaction } from "ethers";
import type { Fees } from "../lib/chain/fees.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import { type Address, type Hex, toHex } from "../lib/protocol/hex.ts";

/** A transaction before it is signed. */
export type Unsigned = Fees & {
  readonly chainId: number;
  readonly nonce: number;
  /** Null: it creates a contract. */
  readonly to: Address | null;
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
export function keyRelayer(privateKey: string, whose: string = "relayer's"): Relayer {
  const { key, address } = keyOf(privateKey, whose);
  return {
    address,
    sign: async (unsigned) => {
      const transaction = Transaction.from(unsigned);
      transaction.signature = key.sign(transaction.unsignedHash);
      return transaction.serialized as Hex;
    },
  };
}

function keyOf(privateKey: string, whose: string): { key: SigningKey; address: Address } {
  try {
    const key = new SigningKey(privateKey.startsWith("0x") ? privateKey : `0x${privateKey}`);
    return { key, address: toHex(computeAddress(key.publicKey).toLowerCase()) };
  } catch {
    throw new WaybillError("USAGE", `The ${whose} key must be 32 bytes of hex.`); // the cause would quote it
  }
}
