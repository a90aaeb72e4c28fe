import { type Command, Option } from "commander";
import { addNeeded, type Context, newAction, origin, positive, price, whole } from "../command.ts";
import { addKeyOptions } from "../keys.ts";

/** Twenty times what gas costs on a busy day on most chains, and still not ruinous for one contract. */
const DEFAULT_CAP = "100gwei";
const DEFAULT_TIMEOUT_MS = 10 * 60_000;

const HELP = `
The key is in a keystore (the password is asked for, or is a file's first line), in AWS KMS, or in WAYBILL_DEPLOYER_KEY. It pays once
and has no power over the contract afterwards.

An interrupted run leaves FILE.pending; the same command goes on with that deployment, and does not pay for another one.

  $ waybill contract deploy --chain 84532 --keystore deployer.json --confirmations 5
  $ WAYBILL_RPC=http://besu:8545 waybill contract deploy --chain 1337 --confirmations 0 --kms alias/deployer`;

/** `waybill contract deploy` */
export function contractDeploy(context: Context): Command {
  const command = newAction("deploy").description(
    "puts Waybill's contract on a chain, checks it, and writes what is known of deployment.json",
  );
  addNeeded(command, new Option("--rpc <urls>", "JSON-RPC of any EVM chain; several with commas").env("WAYBILL_RPC"));
  addNeeded(
    command,
    new Option("--chain <id>", "the chain's number; a node of any other chain is refused").argParser(positive),
  );
  command.addOption(
    new Option("--evm <artifact>", "what the chain can run").choices(["auto", "current", "paris"]).default("auto"),
  );
  const cap = new Option("--max-fee-per-gas <price>", "in wei, or as 20gwei").argParser(price);
  command.addOption(cap.default(price(DEFAULT_CAP), DEFAULT_CAP));
  addNeeded(
    command,
    new Option(
      "--confirmations <n>",
      "blocks on top before anything counts; 0 where blocks are final at once",
    ).argParser(whole),
  );
  command
    .option("--block-time <ms>", "between blocks; measured if left out", positive)
    .option("--api <origin>", "where the functions will be, if that is known already", origin)
    .option("--store <origin>", "where presigned URLs will lead, if that is known already", origin)
    .option("--out <file>", "never overwritten", "deployment.json")
    .option("--timeout <ms>", "to wait until it is mined", positive, DEFAULT_TIMEOUT_MS)
    .option("--dry-run", "only says what it would do, and what that may cost")
    .addHelpText("after", HELP);
  return addKeyOptions(command, "deployer").action(async () =>
    (await import("../deploy/run.ts")).run(command, context),
  );
}
