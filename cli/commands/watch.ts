import { Argument, type Command } from "commander";
import { type Context, newAction, whole } from "../command.ts";
import { addParticipantOptions, addTaskOption } from "../participant.ts";

const STATUS = `
Without NOTICE: those that are open, and that you sent or that name you. Of each recipient: waiting, downloading (how far, and
when it last said so: one that is slow goes on, one that is dead falls silent), verified, rejected and why, late, withdrawn, expelled.
How far somebody else is, only the sender and the task's owner are told.

With --watch it goes on. That of one NOTICE ends when nobody is outstanding: with 0 when all have verified, else with 6.

  $ waybill status
  $ waybill status 0x… --watch
  $ waybill status --all --json | jq -r 'select(.role == "sender") | .tag'`;

const TAIL = `
Every event of the task as it gets onto the chain: members, messages, notices, answers; with its place, its block and its transaction.
Only what comes from now on, or with --from what follows an event, 0 for all. What members wrote is shown in a form that a
terminal doesn't obey. Ctrl-C ends it, with exit code 130.

  $ waybill tail --from 0
  $ waybill tail --json | jq -r 'select(.type == "posted") | .body'`;

/** `waybill status` */
export function status(context: Context): Command {
  const command = newAction("status")
    .description("how transfers stand, for each recipient")
    .addArgument(new Argument("[notice]", "by default the open ones that concern you"))
    .option("--all", "those that are over, too")
    .option("--watch", "show every change until Ctrl-C")
    .addHelpText("after", STATUS);
  return addParticipantOptions(addTaskOption(command)).action(async (notice: string | undefined) =>
    (await import("../watch/status.ts")).showStatus(notice, command, context),
  );
}

/** `waybill tail` */
export function tail(context: Context): Command {
  const command = newAction("tail")
    .description("the task's events as they come")
    .option("--from <seq>", "after which event to begin; by default the newest", whole)
    .addHelpText("after", TAIL);
  return addParticipantOptions(addTaskOption(command)).action(async () =>
    (await import("../watch/tail.ts")).tailTask(command, context),
  );
}
