import type { Command } from "commander";
import { type Context, newAction, newCommand } from "../command.ts";
import { addConfigOption, addKeyOptions, addRpcOption, addTaskOption } from "../participant.ts";

const HELP = `
What is missing is made: the config file, a key in a keystore, and the operator's deployment.json beside them. DEPLOYMENT is a file,
- for stdin, or an https URL. It says whom you trust, so compare its fingerprint with the one that the operator tells you on another way
(sha256sum deployment.json). Then it is checked that all is within reach; what isn't is told with what to do, and in the exit code.

  $ waybill participant init deployment.json
  $ waybill participant init https://waybill.example.org/deployment.json --rpc https://node.example.org
  $ waybill participant init --task 0x…
  $ waybill participant init --check`;

/** `waybill participant init` */
export function participant(context: Context): Command {
  const init = newAction("init")
    .description("makes what a participant needs, and checks that it works")
    .argument("[deployment]", "the operator's deployment.json: a file, -, or an https URL")
    .option("--check", "only checks")
    .option("--force", "take another deployment.json than before")
    .addHelpText("after", HELP);
  addConfigOption(addTaskOption(init));
  addRpcOption(addKeyOptions(init)).action(async (deployment: string | undefined) =>
    (await import("../kit/init.ts")).initParticipant(deployment, init, context),
  );
  return newCommand("participant").description("to take part in somebody's tasks").addCommand(init);
}
