import { Interface, type JsonRpcProvider, keccak256, Transaction } from "ethers";
import { waybillAbi } from "../../lib/protocol/abi.ts";
import type { Hex } from "../../lib/protocol/hex.ts";
import { itemKinds } from "../../lib/protocol/statements.ts";

/** A transaction that the relayer signed. */
export interface Sent {
  readonly raw: Hex;
}

/** What a mined transaction used, and what was in it. */
export interface Used {
  readonly gas: number;
  readonly notices: number;
  readonly messages: number;
  /** Receipts, and the items that they travelled in: one for each notice that they answer. */
  readonly receipts: number;
  readonly answered: number;
}

const contract = new Interface(waybillAbi);
/** 65 bytes in hex. */
const SIGNATURE_DIGITS = 130;

/** Of those that were mined. A raised one replaces the one before, which never is. */
export async function gasOf(provider: JsonRpcProvider, sent: readonly Sent[]): Promise<Used[]> {
  const found = await Promise.all(
    sent.map(async ({ raw }) => {
      const receipt = await provider.getTransactionReceipt(keccak256(raw));
      return receipt ? [{ gas: Number(receipt.gasUsed), ...contentOf(Transaction.from(raw).data) }] : [];
    }),
  );
  return found.flat();
}

function contentOf(data: string): Omit<Used, "gas"> {
  const [items] = contract.decodeFunctionData("relay", data) as unknown as [{ kind: bigint; signatures: string }[]];
  const of = (kind: number): { signatures: string }[] => items.filter((item) => Number(item.kind) === kind);
  const answers = of(itemKinds.receipt);
  const receipts = answers.reduce((sum, { signatures }) => sum + (signatures.length - 2) / SIGNATURE_DIGITS, 0);
  return {
    notices: of(itemKinds.notice).length,
    messages: of(itemKinds.message).length,
    receipts,
    answered: answers.length,
  };
}
