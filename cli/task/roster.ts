import type { Command } from "commander";
import type { Context } from "../command.ts";
import { inTask, type RelayOptions } from "../membership.ts";
import { answer } from "../output.ts";
import { accountOf, participantOf, taskOf } from "../participant.ts";

interface Options extends RelayOptions {
  readonly json?: true;
}

const DONE = { admit: "admitted", expel: "expelled" };

/** What `waybill task admit` and `task expel` do. */
export async function changeRoster(
  change: "admit" | "expel",
  list: readonly string[],
  command: Command,
  context: Context,
): Promise<void> {
  const options = command.opts<Options>();
  const participant = await participantOf(command, context);
  const task = taskOf(command, participant);
  const accounts = list.map((text) => accountOf(text, participant));
  await participant.unlock();
  await inTask(participant, task, context, (contractor) => contractor[change](accounts), options);
  const text = accounts.map((account) => `${account} ${DONE[change]}`).join("\n");
  answer(options.json, { task, [DONE[change]]: accounts }, text);
}
