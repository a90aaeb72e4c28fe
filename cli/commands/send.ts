import { type Command, Option } from "commander";
import { addNeeded, type Context, newAction } from "../command.ts";
import { addRelayOptions } from "../membership.ts";
import { duration, list } from "../move/options.ts";
import { addParticipantOptions, addTaskOption } from "../participant.ts";

const HELP = `
It ends when everybody has verified the file, or rejected it, or their time is over. The same command again goes on where it was:
what the store has is not sent again, and who has verified it is not asked again. That is by the tag, which is the file's
name unless you say another; other bytes need another tag.

On stdout is a line for each recipient: its name, and "verified" or why not. The exit code is 0 when all have verified it, 6 when
only some have, 5 when nobody has in time. Ctrl-C leaves what was sent, and the notice, for the same command to go on with.

  $ waybill send model.bin --to bob,carol
  $ waybill send model.bin --to bob --tag round-7/model --timeout 2h --idle-timeout 5m
  $ tar c run7 | waybill send - --to bob --tag run7.tar`;

/** `waybill send` */
export function send(context: Context): Command {
  const command = addNeeded(
    newAction("send")
      .description("sends a file to members of the task")
      .argument("<file>", "a file, or - for stdin (which needs --tag)"),
    new Option("--to <members>", "accounts or names, with commas or one --to each").argParser(list),
  )
    .option("--tag <name>", "the transfer's name; by default the file's")
    .option("--timeout <time>", "for the answers: 10m, 2h, or milliseconds; by default 10m and 1s per MiB", duration)
    .option("--idle-timeout <time>", "give up when nobody shows a sign of life for so long, at least 15s", duration)
    .option("--content-type <type>", "the media type that recipients are told")
    .option("--ensure-all", "exit with 6 unless all have verified it, also when nobody has")
    .option("--withdraw-on-interrupt", "Ctrl-C takes the notice back")
    .addHelpText("after", HELP);
  return addParticipantOptions(addRelayOptions(addTaskOption(command))).action(async (file: string) =>
    (await import("../move/send.ts")).sendFile(file, command, context),
  );
}
