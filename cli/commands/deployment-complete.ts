import type { Command } from "commander";
import { type Context, newAction, origin } from "../command.ts";

const HELP = `
After this the file is what every participant is given, by a way that they trust: it says which chain, contract and origins they believe.

  $ waybill deployment complete --outputs .sst/outputs.json
  $ waybill deployment complete --api https://waybill.example.org --store https://bucket.s3.eu-central-1.amazonaws.com`;

/** `waybill deployment complete` */
export function deploymentComplete(context: Context): Command {
  const command = newAction("complete")
    .description("adds to deployment.json where the functions and the bucket are")
    .option("--file <file>", "what contract deploy wrote", "deployment.json")
    .option("--outputs <file>", "what sst deploy wrote, instead of --api and --store")
    .option("--api <origin>", "where the functions are", origin)
    .option("--store <origin>", "where presigned URLs lead", origin)
    .option("--force", "change origins that are there already")
    .addHelpText("after", HELP);
  return command.action(async () => (await import("../deploy/complete.ts")).complete(command.opts(), context));
}
