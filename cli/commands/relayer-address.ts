import { type Command, Option } from "commander";
import { type Context, newAction } from "../command.ts";
import { addKeyOptions, holderOf } from "../keys.ts";
import { answer } from "../output.ts";

interface Options {
  readonly rpc?: string;
  readonly json?: true;
}

const HELP = `
With --rpc also the account's balance.

  $ waybill relayer address --kms alias/waybill-production-relayer --region eu-central-1
  0x…`;

/** `waybill relayer address` */
export function relayerAddress(_context: Context): Command {
  const command = newAction("address")
    .description("the account of the relayer's key: it pays for what members say, so send it some of the chain's coin")
    .addOption(
      new Option("--rpc <urls>", "JSON-RPC of the chain, to tell the balance; several with commas").env("WAYBILL_RPC"),
    )
    .addHelpText("after", HELP);
  return addKeyOptions(command, "relayer").action(() => run(command));
}

async function run(command: Command): Promise<void> {
  const { rpc, json } = command.opts<Options>();
  const [{ formatEther }, { payerOf }, { DeployChain }] = await Promise.all([
    import("ethers"),
    import("../../local/payer.ts"),
    import("../deploy/chain.ts"),
  ]);
  const { address } = await payerOf(holderOf(command, "relayer"), "relayer's");
  if (rpc === undefined) return answer(json, { address }, address);
  const chain = await DeployChain.at(rpc);
  try {
    const [chainId, balance] = await Promise.all([chain.chainId(), chain.balance(address)]);
    const text = `${address}\n${formatEther(balance)} of the coin of chain ${chainId}`;
    answer(json, { address, chainId, balance: String(balance) }, text);
  } finally {
    chain.close();
  }
}
