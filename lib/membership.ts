import { WaybillError } from "./protocol/errors.ts";
import type { Address } from "./protocol/hex.ts";
import type { Session } from "./session.ts";

export function isActive({ ledger }: Session, account: Address): boolean {
  return ledger.member(account)?.active === true;
}

/** @throws WaybillError NOT_MEMBER */
export function checkSender(session: Session): void {
  if (!isActive(session, session.account)) throw notMember(`You (${session.account})`);
}

/** @throws WaybillError NOT_MEMBER */
export function checkRecipients(session: Session, recipients: readonly Address[]): void {
  const stranger = recipients.find((recipient) => !isActive(session, recipient));
  if (stranger) throw notMember(stranger);
}

/** To a sender, having been expelled is not being a member. */
export function expelledSender(error: unknown): unknown {
  if (!(error instanceof WaybillError) || error.code !== "EXPELLED") return error;
  return new WaybillError("NOT_MEMBER", error.message, { cause: error });
}

function notMember(who: string): WaybillError {
  return new WaybillError("NOT_MEMBER", `${who} is no active member of this task. Ask its owner.`);
}
