import type { Command } from "commander";
import { type Context, newAction, newCommand } from "../command.ts";
import { addRelayOptions } from "../membership.ts";
import { list } from "../move/options.ts";
import { addParticipantOptions, addTaskOption } from "../participant.ts";

const OPEN = `
You are the task's owner, and a member only if you name yourself. It prints the task's id, which the members need.

  $ waybill task open alice bob 0x52908400098527886E0F7030069857D2E4169EE7
  $ export WAYBILL_TASK=$(waybill task open alice bob)`;

const ADMIT = `
Only the owner of the task can do it. Who is a member already is passed over.

  $ waybill task admit --task 0x… carol`;

const EXPEL = `
Only the owner of the task can do it. Who is expelled can read nothing of the task any more, and its open transfers end. An owner that
expels itself stays the owner, and can admit itself again.

  $ waybill task expel --task 0x… carol`;

const SHOW = `
For members and the owner. A member that was expelled and admitted again has two places.

  $ waybill task show --task 0x…
  $ waybill task show --json | jq -r '.members[] | select(.active) | .account'`;

const POST = `
A message is for everyone in the task, or for whom --to names; all can read it. KIND is any name of 1 to 31 bytes,
BODY is JSON (at most 4 KiB), or - for stdin.

  $ waybill post start_round '{"round": 7}'
  $ jq -c .metrics run.json | waybill post evaluated - --to alice`;

/** `waybill task open|admit|expel|show` */
export function task(context: Context): Command {
  return newCommand("task")
    .description("a federated-learning task and its members")
    .addCommand(open(context))
    .addCommand(changing("admit", context).description("enrols members").addHelpText("after", ADMIT))
    .addCommand(changing("expel", context).description("ends memberships").addHelpText("after", EXPEL))
    .addCommand(show(context));
}

function open(context: Context): Command {
  const command = newAction("open")
    .description("opens a task and prints its id")
    .argument("<members...>", "accounts, or names of the config file")
    .option("--salt <hex>", "32 bytes; the same owner and salt are the same task")
    .addHelpText("after", OPEN);
  return addParticipantOptions(addRelayOptions(command)).action(async (members: string[]) =>
    (await import("../task/open.ts")).openTask(members, command, context),
  );
}

function changing(change: "admit" | "expel", context: Context): Command {
  const command = newAction(change).argument("<members...>", "accounts, or names of the config file");
  return addParticipantOptions(addRelayOptions(addTaskOption(command))).action(async (members: string[]) =>
    (await import("../task/roster.ts")).changeRoster(change, members, command, context),
  );
}

function show(context: Context): Command {
  const command = newAction("show").description("who is in it").addHelpText("after", SHOW);
  return addParticipantOptions(addTaskOption(command)).action(async () =>
    (await import("../task/show.ts")).showTask(command, context),
  );
}

/** `waybill post` */
export function post(context: Context): Command {
  const command = newAction("post")
    .description("posts a signed message to the task")
    .argument("<kind>", "a name of 1 to 31 bytes, such as start_round")
    .argument("[body]", "JSON, or - for stdin")
    .option("--to <members>", "accounts or names, with commas; everyone if left out", list)
    .addHelpText("after", POST);
  return addParticipantOptions(addRelayOptions(addTaskOption(command))).action(
    async (kind: string, body: string | undefined) =>
      (await import("../task/post.ts")).postMessage(kind, body, command, context),
  );
}
