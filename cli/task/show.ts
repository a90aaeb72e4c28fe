import type { Command } from "commander";
import type { Member } from "../../lib/index.ts";
import type { Address, Hex } from "../../lib/protocol/hex.ts";
import type { Head } from "../../lib/protocol/wire.ts";
import type { Context } from "../command.ts";
import { inTask } from "../membership.ts";
import { answer } from "../output.ts";
import { participantOf, taskOf } from "../participant.ts";
import { Names, timeOf } from "../words.ts";

interface Shown {
  readonly task: Hex;
  readonly owner: Address;
  /** How often the roster was changed, the opening included. */
  readonly roster: number;
  readonly members: readonly Member[];
  readonly head: Head;
}

/** What `waybill task show` does. */
export async function showTask(command: Command, context: Context): Promise<void> {
  const { json } = command.opts<{ json?: true }>();
  const participant = await participantOf(command, context);
  const task = taskOf(command, participant);
  const names = new Names(participant.names, participant.account);
  const shown = await inTask(participant, task, context, async (_contractor, session): Promise<Shown> => {
    const head = await session.sync(context.signal);
    const { ledger } = session;
    return { task, owner: ledger.owner!, roster: ledger.roster, members: ledger.members(), head };
  });
  const members = shown.members.map((member) => ({ ...member, name: names.of(member.account) }));
  answer(json, { ...shown, members, chainTime: timeOf(shown.head.timestamp) }, described(shown, names));
}

function described({ task, owner, roster, members, head }: Shown, names: Names): string {
  const active = members.filter((member) => member.active).length;
  const back = new Map(members.filter((member) => member.active).map(({ account, index }) => [account, index]));
  const lines = members.map(({ index, account, active }) => {
    const since = active ? undefined : back.get(account);
    const state = active ? "active  " : since === undefined ? "expelled" : `expelled, and again a member as ${since}`;
    return `${String(index).padStart(4)}  ${account}  ${state}  ${names.of(account) ?? ""}`;
  });
  return [
    `task    ${task}`,
    `owner   ${names.full(owner)}`,
    `roster  version ${roster}: ${active} active of ${members.length}`,
    `chain   block ${head.block}, ${timeOf(head.timestamp)}`,
    ...lines.map((line) => line.trimEnd()),
  ].join("\n");
}
