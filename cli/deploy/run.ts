import { existsSync } from "node:fs";
import type { Command } from "commander";
import { formatEther } from "ethers";
import { WaybillError } from "../../lib/protocol/errors.ts";
import type { Evm } from "../../local/contract.ts";
import { payerOf } from "../../local/payer.ts";
import type { Context } from "../command.ts";
import { holderOf } from "../keys.ts";
import { answer, note } from "../output.ts";
import { DeployChain } from "./chain.ts";
import { checkChain, costOf, type Deployed, type DeployOrder, deploy, draft } from "./deploy.ts";
import { PendingFile, writeNew } from "./pending.ts";

/** As the embedded stack judges it: a chain that made no block for so long stands still. */
const STILL = { blocks: 10, leastMs: 30_000 };

interface Options {
  readonly rpc: string;
  readonly chain: number;
  readonly evm: Evm | "auto";
  readonly maxFeePerGas: bigint;
  readonly confirmations: number;
  readonly blockTime?: number;
  readonly api?: string;
  readonly store?: string;
  readonly out: string;
  readonly timeout: number;
  readonly dryRun?: true;
  readonly json?: true;
}

/** What `waybill contract deploy` does. */
export async function run(command: Command, { signal }: Context): Promise<void> {
  const options = command.opts<Options>();
  const { rpc, chain: chainId, maxFeePerGas, confirmations, out, timeout } = options;
  if (existsSync(out)) throw new WaybillError("TARGET_EXISTS", `${out} is there already, and is not overwritten.`);
  const holder = holderOf(command, "deployer");
  const chain = await DeployChain.at(rpc);
  try {
    await checkChain({ chain, chainId });
    const blockTime = options.blockTime ?? (await chain.blockTime());
    if (blockTime === null) throw new WaybillError("USAGE", "This chain is too young to measure. Say --block-time.");
    const payer = await payerOf(holder, "deployer's");
    const evm = options.evm === "auto" ? null : options.evm;
    const pendingFile = new PendingFile(out);
    const order = { chain, rpc, chainId, payer, evm, maxFeePerGas, confirmations, pendingFile, timeout, signal, note };
    if (options.dryRun) return await rehearse(order, options);
    const deployed = await deploy(order);
    await writeNew(out, `${JSON.stringify(deploymentOf(options, deployed, blockTime), null, 2)}\n`);
    await pendingFile.remove();
    tell(options, deployed, payer.address, blockTime);
  } finally {
    chain.close();
  }
}

async function rehearse(order: DeployOrder, { json }: Options): Promise<void> {
  const { evm, contract, gasLimit, fees, nonce } = await draft(order);
  const from = order.payer.address;
  const cost = costOf({ gasLimit, fees });
  const object = { from, nonce, contract, evm, gasLimit: String(gasLimit), chainId: order.chainId };
  answer(json, object, `${from} would deploy the artifact "${evm}" at ${contract}: ${cost}. Nothing was sent.`);
}

/** deployment.json, as far as the chain goes; `waybill deployment complete` adds the origins that are not known yet. */
function deploymentOf(options: Options, { contract, block }: Deployed, blockTime: number): Record<string, unknown> {
  const { chain: chainId, confirmations, api, store } = options;
  const maxBlockAge = Math.max(STILL.leastMs, STILL.blocks * blockTime);
  return {
    ...(api !== undefined && { api }),
    chainId,
    contract,
    ...(store !== undefined && { storeOrigin: store }),
    confirmations,
    blockTime,
    maxBlockAge,
    fromBlock: block,
  };
}

/** What the functions are to be told, as lines of a stage's settings. */
function settingsOf({ chain, confirmations }: Options, { contract, block }: Deployed, blockTime: number): string[] {
  return [
    `WAYBILL_CHAIN_ID=${chain}`,
    `WAYBILL_CONTRACT=${contract}`,
    `WAYBILL_FROM_BLOCK=${block}`,
    `WAYBILL_CONFIRMATIONS=${confirmations}`,
    `WAYBILL_BLOCK_TIME=${blockTime}`,
  ];
}

function tell(options: Options, deployed: Deployed, from: string, blockTime: number): void {
  const { contract, block, transaction, evm, gasUsed, paid } = deployed;
  const { chain: chainId, out, json, api, store } = options;
  const figures = { gasUsed: String(gasUsed), paid: paid === null ? null : String(paid) };
  const object = { contract, chainId, block, transaction, evm, from, ...figures, deployment: out };
  const cost = paid === null ? "" : `, which cost ${formatEther(paid)} of the chain's coin`;
  const text = [
    `contract  ${contract}`,
    `chain     ${chainId}, from block ${block}`,
    `artifact  ${evm}: its code and its domain are there`,
    `paid by   ${from}: ${gasUsed} gas${cost}`,
    `written   ${out}`,
  ];
  answer(json, object, [...text, "", ...settingsOf(options, deployed, blockTime)].join("\n"));
  if (api === undefined || store === undefined)
    note(`When the functions run: waybill deployment complete --file ${out} --api ORIGIN --store ORIGIN`);
}
