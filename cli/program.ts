import { CommanderError } from "commander";
import { WaybillError } from "../lib/protocol/errors.ts";
import { type Context, newCommand } from "./command.ts";
import { completion } from "./commands/completion.ts";
import { contractDeploy } from "./commands/contract-deploy.ts";
import { deploymentComplete } from "./commands/deployment-complete.ts";
import { key } from "./commands/key.ts";
import { local } from "./commands/local.ts";
import { participant } from "./commands/participant.ts";
import { receive } from "./commands/receive.ts";
import { relayerAddress } from "./commands/relayer-address.ts";
import { request } from "./commands/request.ts";
import { send } from "./commands/send.ts";
import { serve } from "./commands/serve.ts";
import { post, task } from "./commands/task.ts";
import { status, tail } from "./commands/watch.ts";
import { exitCodeOf } from "./exit.ts";
import { describe } from "./output.ts";
import { version } from "./version.ts";

/** Runs the `waybill` command. @returns its exit code; nothing is thrown. */
export async function main(args: readonly string[], signal: AbortSignal): Promise<number> {
  try {
    await programOf({ signal }).parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0; // help or the version, which it has printed
    const known = inOurWords(error);
    process.stderr.write(`${describe(known, args.includes("--json"))}\n`);
    return known instanceof WaybillError ? exitCodeOf(known.code) : 1;
  }
}

function programOf(context: Context): ReturnType<typeof newCommand> {
  const contract = newCommand("contract").description("the contract that statements stand on");
  const deployment = newCommand("deployment").description("deployment.json, which participants are given");
  const relayer = newCommand("relayer").description("the account that pays the gas");
  const program = newCommand("waybill");
  return program
    .description("Moves large payloads between the parties of a federated-learning task.")
    .version(version())
    .addCommand(participant(context))
    .addCommand(key(context))
    .addCommand(task(context))
    .addCommand(send(context))
    .addCommand(receive(context))
    .addCommand(status(context))
    .addCommand(tail(context))
    .addCommand(post(context))
    .addCommand(request(context))
    .addCommand(local(context))
    .addCommand(serve(context))
    .addCommand(contract.addCommand(contractDeploy(context)))
    .addCommand(deployment.addCommand(deploymentComplete(context)))
    .addCommand(relayer.addCommand(relayerAddress(context)))
    .addCommand(completion(program));
}

/** What the parser of the command line complains about is a usage error like any other. */
function inOurWords(error: unknown): unknown {
  if (!(error instanceof CommanderError)) return error;
  if (error.code === "commander.help") return new WaybillError("USAGE", "A command is missing; they are listed above.");
  const words = error.message.replace(/^error: /, "").replace(/\s+/g, " ");
  const advice = error.code === "commander.excessArguments" ? "Members are written with commas: bob,carol. " : "";
  const sentence = `${words.charAt(0).toUpperCase()}${words.slice(1)}`;
  return new WaybillError(
    "USAGE",
    `${/[.?!]$/.test(sentence) ? sentence : `${sentence}.`} ${advice}--help tells what there is.`,
  );
}
