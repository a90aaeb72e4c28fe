import type { ChainView, Membership } from "../lib/chain/view.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import type { Address, Hex } from "../lib/protocol/hex.ts";
import type { Config } from "./config.ts";
import type { Chain } from "./glance.ts";

/** Who may call a route. `reader`: active members and the task's owner. `operator`: a configured owner, of a task to be. */
export type Who = "operator" | "owner" | "member" | "reader";

/** A caller's standing in a task, from the newest block. `index` is null for an owner that is no active member. */
export interface Standing {
  readonly owner: Address;
  readonly isOwner: boolean;
  readonly index: number | null;
}

/** So many tasks' owners are remembered: some hundred bytes each. */
const MAX_OWNERS = 10_000;
/** A task's id commits to its owner, so nothing can ever make it another one, and for a member it is asked for once. */
const owners = new WeakMap<Chain, Map<Hex, Address>>();
/** So many callers are remembered, those who came last. */
const MAX_CALLERS = 10_000;
/** Who had a standing at the last request here. It is worth asking ahead for them, and that is all: it allows nothing. */
const callers = new WeakMap<Chain, Set<string>>();

/**
 * Asks the chain who the caller is in the task. A membership is never taken from a cache, nor from a node that is known to be
 * behind: they could still allow what a revocation forbids. What a node showed of its newest block a moment ago
 * (`Config.shared`) tells as well that it isn't behind: that moment is all by which it can be.
 * @throws WaybillError UNKNOWN_TASK, NOT_OWNER, NOT_MEMBER, EXPELLED, and UNAVAILABLE when the chain can't be asked.
 */
export async function standingIn(
  chain: Chain,
  config: Config,
  task: Hex,
  account: Address,
  who: Exclude<Who, "operator">,
): Promise<Standing> {
  noteCaller(chain, task, account, false);
  const { owner, member } = await look(chain, task, account);
  if (owner === null || !isServed(config, owner))
    throw new WaybillError(
      "UNKNOWN_TASK",
      "There is no such task on this chain, opened by an owner whom this API serves. Check its id and the deployment: a local stack forgets its tasks when it ends.",
    );
  const isOwner = owner === account;
  const index = member?.active ? member.index : null;
  const may = who === "owner" ? isOwner : index !== null || (who === "reader" && isOwner);
  if (may) {
    noteCaller(chain, task, account, true);
    return { owner, isOwner, index };
  }
  if (who === "owner") throw notOwner();
  if (member) throw new WaybillError("EXPELLED", "You were expelled from this task. Ask its owner to admit you again.");
  throw new WaybillError("NOT_MEMBER", "You are no member of this task. Ask its owner to admit you.");
}

/** Whether the account had a standing in the task when it last asked. For others nothing is asked ahead: whoever can sign would make us. */
export function wasKnown(chain: Chain, task: Hex, account: Address): boolean {
  return callers.get(chain)?.has(`${task} ${account}`) === true;
}

function noteCaller(chain: Chain, task: Hex, account: Address, standing: boolean): void {
  const known = callers.get(chain) ?? new Set<string>();
  callers.set(chain, known);
  known.delete(`${task} ${account}`);
  if (!standing) return;
  known.add(`${task} ${account}`);
  if (known.size > MAX_CALLERS) known.delete(known.values().next().value!);
}

interface Seen {
  readonly owner: Address | null;
  readonly member: Membership | null;
}

async function look(chain: Chain, task: Hex, account: Address): Promise<Seen> {
  const known = owners.get(chain)?.get(task);
  const remembered = known !== undefined && known !== account;
  const seen = await chain.atOne(async (view) => {
    const asked = remembered ? known : ownerOf(view, task);
    // A node answers for its newest block only after it has shown that one.
    const [owner, member] = await Promise.all([asked, view.member(task, account), view.tip()]);
    // A reorg may have taken the task's opening away, and with it all of its members; whom we know is no proof of it.
    return { owner: remembered && member === null ? await ownerOf(view, task) : owner, member };
  });
  if (seen.owner !== null) remember(chain, task, seen.owner);
  return seen;
}

async function ownerOf(view: ChainView, task: Hex): Promise<Address | null> {
  return (await view.roster(task))?.owner ?? null;
}

function remember(chain: Chain, task: Hex, owner: Address): void {
  const known = owners.get(chain) ?? new Map<Hex, Address>();
  owners.set(chain, known);
  if (known.size >= MAX_OWNERS) known.clear();
  known.set(task, owner);
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
