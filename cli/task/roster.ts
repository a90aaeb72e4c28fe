import type { Command } from "commander";
import type { TaskContractor } from "../../lib/index.ts";
import { WaybillError } from "../../lib/protocol/errors.ts";
import type { Address } from "../../lib/protocol/hex.ts";
import type { Context } from "../command.ts";
import { inTask, type RelayOptions } from "../membership.ts";
import { answer, note } from "../output.ts";
import { accountOf, participantOf, taskOf } from "../participant.ts";

interface Options extends RelayOptions {
  readonly json?: true;
}

const DONE = { admit: "admitted", expel: "expelled" };
type Change = keyof typeof DONE;

const YOURSELF =
  "Warning: you expel yourself. The task stays yours, and your open transfers end; to send, receive or post again, admit yourself.";

/** What `waybill task admit` and `task expel` do. */
export async function changeRoster(
  change: Change,
  list: readonly string[],
  command: Command,
  context: Context,
): Promise<void> {
  const options = command.opts<Options>();
  const participant = await participantOf(command, context);
  const task = taskOf(command, participant);
  const accounts = [...new Set(list.map((text) => accountOf(text, participant)))];
  if (change === "expel" && accounts.includes(participant.account)) note(YOURSELF);
  await participant.unlock();
  const changed = await inTask(
    participant,
    task,
    context,
    async (contractor) => {
      const named = await toChange(change, accounts, contractor);
      if (named.length > 0) await contractor[change](named);
      return named;
    },
    options,
  );
  const already = change === "admit" ? "was a member already" : "was expelled already";
  const lines = accounts.map((account) => `${account} ${changed.includes(account) ? DONE[change] : already}`);
  answer(options.json, { task, [DONE[change]]: changed }, lines.join("\n"));
}

/**
 * Those of the accounts that it changes something for.
 * @throws WaybillError USAGE for one that shall go and never came: whoever mistypes must not believe that somebody is out.
 */
async function toChange(change: Change, accounts: readonly Address[], contractor: TaskContractor): Promise<Address[]> {
  const active = new Map<Address, boolean>();
  for (const member of await contractor.members()) active.set(member.account, member.active);
  const stranger = accounts.find((account) => change === "expel" && !active.has(account));
  if (stranger !== undefined)
    throw new WaybillError("USAGE", `${stranger} never was a member. Look at: waybill task show`);
  return accounts.filter((account) => (active.get(account) ?? false) === (change === "expel"));
}
