import { existsSync } from "node:fs";
import { type Command, Option } from "commander";
import { formatEther } from "ethers";
import { WaybillError } from "../../lib/protocol/errors.ts";
import type { Evm } from "../../local/contract.ts";
import { payerOf } from "../../local/payer.ts";
import { type Context, newAction, origin, positive, price, whole } from "../command.ts";
import { DeployChain } from "../deploy/chain.ts";
import { checkChain, costOf, type Deployed, type DeployOrder, deploy, draft } from "../deploy/deploy.ts";
import { PendingFile, writeNew } from "../deploy/pending.ts";
import { addKeyOptions, holderOf } from "../keys.ts";
import { answer, note } from "../output.ts";

/** Twenty times what gas costs on a busy day on most chains, and still not ruinous for one contract. */
const DEFAULT_CAP = "100gwei";
const DEFAULT_TIMEOUT_MS = 10 * 60_000;
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

const HELP = `
The key is in a keystore (the password is asked for, or is a file's first line), in AWS KMS, or in WAYBILL_DEPLOYER_KEY. It pays once
and has no power over the contract afterwards.

An interrupted run leaves FILE.pending; the same command goes on with that deployment, and does not pay for another one.

  $ waybill contract deploy --chain 84532 --keystore deployer.json --confirmations 5
  $ WAYBILL_RPC=http://besu:8545 waybill contract deploy --chain 1337 --confirmations 0 --kms alias/deployer`;

/** `waybill contract deploy` */
export function contractDeploy(context: Context): Command {
  const command = newAction("deploy")
    .description("puts Waybill's contract on a chain, checks it, and writes what is known of deployment.json")
    .addOption(new Option("--rpc <url>", "JSON-RPC of any EVM chain").env("WAYBILL_RPC").makeOptionMandatory())
    .requiredOption("--chain <id>", "the chain's number; a node of any other chain is refused", positive)
    .addOption(
      new Option("--evm <artifact>", "what the chain can run").choices(["auto", "current", "paris"]).default("auto"),
    )
    .addOption(
      new Option("--max-fee-per-gas <price>", "in wei, or as 20gwei")
        .argParser(price)
        .default(price(DEFAULT_CAP), DEFAULT_CAP),
    )
    .requiredOption(
      "--confirmations <n>",
      "blocks on top before anything counts; 0 where blocks are final at once",
      whole,
    )
    .option("--block-time <ms>", "between blocks; measured if left out", positive)
    .option("--api <origin>", "where the functions will be, if that is known already", origin)
    .option("--store <origin>", "where presigned URLs will lead, if that is known already", origin)
    .option("--out <file>", "never overwritten", "deployment.json")
    .option("--timeout <ms>", "to wait until it is mined", positive, DEFAULT_TIMEOUT_MS)
    .option("--dry-run", "only says what it would do, and what that may cost")
    .addHelpText("after", HELP);
  return addKeyOptions(command, "deployer").action(() => run(command, context));
}

async function run(command: Command, { signal }: Context): Promise<void> {
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
