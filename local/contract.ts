import { createRequire } from "node:module";
import {
  ContractFactory,
  type InterfaceAbi,
  type Signer,
  type TransactionReceipt,
  type TransactionResponse,
} from "ethers";
import type { Address, Hex } from "../lib/protocol/hex.ts";

/** The committed compilation of contracts/Waybill.sol. */
interface Artifact {
  readonly abi: InterfaceAbi;
  readonly bytecode: { readonly current: Hex; readonly paris: Hex };
}

/** Which compilation a chain can run: `paris` for consortium chains without newer opcodes. */
export type Evm = keyof Artifact["bytecode"];

export interface DeployedContract {
  readonly contract: Address;
  /** Its block: reading of events begins here. */
  readonly block: number;
}

/** Between two looks for the transaction's block: a local chain makes several in a second. */
const LOOK_MS = 100;

/** What a transaction without a receiver carries to put the contract on a chain. */
export function creationCode(evm: Evm): Hex {
  return artifact().bytecode[evm];
}

/** Puts Waybill.sol on a chain, paid by `signer`, and waits until it is mined. */
export async function deployContract(signer: Signer, evm: Evm = "current"): Promise<DeployedContract> {
  const deployed = await new ContractFactory(artifact().abi, creationCode(evm), signer).deploy();
  const receipt = await minedReceipt(deployed.deploymentTransaction()!);
  if (receipt.status !== 1 || !receipt.contractAddress)
    throw new Error("The contract's transaction was mined without a contract.");
  return { contract: receipt.contractAddress.toLowerCase() as Address, block: receipt.blockNumber };
}

/**
 * ethers' own wait looks again only when there is a new block: where blocks come for transactions only, and this one's came while
 * the wait began, it would never end.
 */
async function minedReceipt({ hash, provider }: TransactionResponse): Promise<TransactionReceipt> {
  for (;;) {
    const receipt = await provider.getTransactionReceipt(hash);
    if (receipt) return receipt;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** By the package's own name, so that sources and the built package find the same file. */
function artifact(): Artifact {
  return createRequire(import.meta.url)("waybill/contract.json") as Artifact;
}
