import type { ChainReader } from "../lib/chain/reader.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import type { Address, Hex } from "../lib/protocol/hex.ts";
import type { Config } from "./config.ts";

/** Who may call a route. `reader`: active members and the task's owner. `operator`: a configured owner, of a task to be. */
export type Who = "operator" | "owner" | "member" | "reader";

/** A caller's standing in a task, from the newest block. `index` is null for an owner that is no active member. */
export interface Standing {
  readonly owner: Address;
  readonly isOwner: boolean;
  readonly index: number | null;
}

/**
 * Asks the chain who the caller is in the task. Never from a cache, nor from a node that is known to be behind: they could
 * still allow what a revocation forbids.
 * @throws WaybillError UNKNOWN_TASK, NOT_OWNER, NOT_MEMBER, EXPELLED, and UNAVAILABLE when the chain can't be asked.
 */
export async function standingIn(
  chain: ChainReader,
  config: Config,
  task: Hex,
  account: Address,
  who: Exclude<Who, "operator">,
): Promise<Standing> {
  const [roster, member] = await chain.atOne((view) =>
    // A node answers for its newest block only after it has shown that one.
    Promise.all([view.roster(task), view.member(task, account), view.tip()]),
  );
  if (roster === null || !isServed(config, roster.owner))
    throw new WaybillError(
      "UNKNOWN_TASK",
      "There is no such task on this chain, opened by an owner whom this API serves. Check its id and the deployment: a local stack forgets its tasks when it ends.",
    );
  const isOwner = roster.owner === account;
  const index = member?.active ? member.index : null;
  const may = who === "owner" ? isOwner : index !== null || (who === "reader" && isOwner);
  if (may) return { owner: roster.owner, isOwner, index };
  if (who === "owner") throw notOwner();
  if (member) throw new WaybillError("EXPELLED", "You were expelled from this task. Ask its owner to admit you again.");
  throw new WaybillError("NOT_MEMBER", "You are no member of this task. Ask its owner to admit you.");
}

/** @throws WaybillError NOT_OWNER unless tasks of this account are served. */
export function checkOperator(config: Config, account: Address): void {
  if (!isServed(config, account)) throw notOwner();
}

/** Only tasks of configured owners: a stranger's task would live at the operator's cost. */
function isServed(config: Config, owner: Address): boolean {
  return config.owners === "*" || config.owners.includes(owner);
}

function notOwner(): WaybillError {
  return new WaybillError(
    "NOT_OWNER",
    "Only the task's owner, and only one whom this API is configured for, may do this.",
  );
}
