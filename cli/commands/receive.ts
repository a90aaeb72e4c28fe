import { type Command, Option } from "commander";
import { addNeeded, type Context, newAction, positive } from "../command.ts";
import { addRelayOptions } from "../membership.ts";
import { bytes, duration, list } from "../move/options.ts";
import { addParticipantOptions, addTaskOption } from "../participant.ts";

const HELP = `
It waits for a payload, verifies every part of it, and ends when its receipt is on the chain. The same command again goes on with
what it has verified; a file that is there already and is the payload is done at once. --out is a folder that exists or
ends with /, where files are named by their tag (and by their sender, when there are several), or a file, or - for stdout,
which gets nothing that isn't verified. Without --tag it is the oldest payload that you have not received yet.

On stdout is the path of each file. The exit code is 0 when all have come, 6 when only some have, 5 when nothing has in time.

  $ waybill receive --from alice
  $ waybill receive --from alice --tag round-7/model --out model.bin --timeout 2h
  $ waybill receive --from alice,bob,carol --tag round-7/update --out updates/ --at-least 2 --grace 30s
  $ waybill receive --from alice --tag run7.tar --out - | tar x`;

/** `waybill receive` */
export function receive(context: Context): Command {
  const command = addNeeded(
    newAction("receive").description("receives a file from members of the task, one from each"),
    new Option("--from <members>", "accounts or names, with commas or one --from each").argParser(list),
  )
    .option("--out <place>", "a folder, a file, or - for stdout", ".")
    .option("--tag <name>", "only the transfer with this name")
    .option(
      "--timeout <time>",
      "for the notice and the download: 10m, 2h, or milliseconds; by default 10m and more",
      duration,
    )
    .option("--force", "overwrite a file that is there")
    .option("--max-bytes <size>", "refuse more than this: 500MiB, 2GiB, or bytes", bytes)
    .option("--at-least <count>", "enough when so many senders have delivered", positive)
    .option("--grace <time>", "what the others get then: 30s, or milliseconds", duration)
    .addHelpText("after", HELP);
  return addParticipantOptions(addRelayOptions(addTaskOption(command))).action(async () =>
    (await import("../move/receive.ts")).receiveFiles(command, context),
  );
}
