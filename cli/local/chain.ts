import { join } from "node:path";
import { learnPolicy } from "../../lib/chain/fees.ts";
import { WaybillError } from "../../lib/protocol/errors.ts";
import type { Relayer } from "../../local/payer.ts";
import type { GivenChain } from "../../local/stack.ts";
import { DeployChain } from "../deploy/chain.ts";
import { type DeployOrder, deploy } from "../deploy/deploy.ts";
import { PendingFile } from "../deploy/pending.ts";

/** As `contract deploy` has it unless told otherwise: a chain of one's own is cheaper. */
const CAP = 100_000_000_000n;
const TIMEOUT_MS = 2 * 60_000;

type Told = Pick<DeployOrder, "signal" | "note"> & {
  /** Where a deployment that is under way is noted. */
  readonly dir: string;
  /** Milliseconds; null: as it is measured. */
  readonly blockTime: number | null;
};

/** A chain that is there already, with a new contract on it, paid by who relays there, too. */
export async function givenChain(
  rpc: string,
  payer: Relayer,
  { dir, signal, note, ...told }: Told,
): Promise<{ chain: GivenChain; blockTime: number }> {
  const chain = await DeployChain.at(rpc);
  const pendingFile = new PendingFile(join(dir, "contract"));
  try {
    const chainId = await chain.chainId();
    const blockTime = told.blockTime ?? (await chain.blockTime());
    if (blockTime === null) throw new WaybillError("USAGE", "This chain is too young to measure. Say --block-time.");
    const order = { chain, rpc, chainId, payer, evm: null, maxFeePerGas: CAP, confirmations: 0, pendingFile };
    const deployed = await deploy({ ...order, timeout: TIMEOUT_MS, signal, note });
    await pendingFile.remove();
    const fees = await learnPolicy(chain.rpc, CAP);
    const { contract, block: fromBlock } = deployed;
    return { chain: { rpc, chainId, contract, fromBlock, relayer: payer, fees }, blockTime };
  } finally {
    chain.close();
  }
}
