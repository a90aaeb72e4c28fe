import type { Ledger, NoticeRecord, RecipientRecord } from "../../lib/chain/ledger.ts";
import type { Address, Hex } from "../../lib/protocol/hex.ts";
import { type Names, printable, sizeOf, spanOf, timeOf } from "../words.ts";
import type { Details } from "./details.ts";

/** How a recipient stands. What it says of its download is its own word; the other states are the chain's. */
export type State =
  | "waiting"
  | "downloading"
  | "verifying"
  | "failed"
  | "verified"
  | "rejected"
  | "late"
  | "withdrawn"
  | "expelled";

export interface RecipientStanding {
  readonly account: Address;
  readonly name: string | null;
  readonly state: State;
  /** What it answered, if it did. */
  readonly outcome: string | null;
  /** What it says to have, and how many milliseconds ago it said so; null when it says nothing. */
  readonly bytes: number | null;
  readonly age: number | null;
  readonly transaction: Hex | null;
}

/** A notice and its recipients, as `waybill status --json` tells them. */
export interface Standing {
  readonly notice: Hex;
  readonly role: "sender" | "recipient" | "observer";
  readonly sender: Address;
  readonly senderName: string | null;
  readonly transfer: Hex;
  /** Null where the API tells none to which the notice commits. */
  readonly tag: string | null;
  /** Bytes. What the API says: only who has the manifest can hold it against the notice. */
  readonly size: number | null;
  /** Seconds of chain time. */
  readonly deadline: number;
  /** The chain's, when this was so. */
  readonly now: number;
  readonly withdrawn: boolean;
  readonly block: number;
  readonly transaction: Hex;
  readonly recipients: readonly RecipientStanding[];
}

/** Who looks, and when. */
export interface View {
  readonly ledger: Ledger;
  readonly account: Address;
  readonly names: Names;
  /** Seconds of chain time. */
  readonly now: number;
}

/** A report that is older than this is shown as silence. A recipient reports every few seconds while bytes come. */
const SILENT_MS = 30_000;

export function standingOf(record: NoticeRecord, details: Details | null, view: View): Standing {
  const { id, notice, place, withdrawn } = record;
  const { sender, transfer, deadline } = notice;
  const { account, names, now } = view;
  const role = sender === account ? "sender" : record.recipients.has(account) ? "recipient" : "observer";
  const { tag = null, size = null } = details?.named ?? {};
  return {
    ...{ notice: id, role, sender, senderName: names.of(sender), transfer, tag, size, deadline, now, withdrawn },
    ...{ block: place.block, transaction: place.transaction },
    recipients: [...record.recipients.values()].map((one) => recipientOf(one, record, details, view)),
  };
}

function recipientOf(
  recipient: RecipientRecord,
  record: NoticeRecord,
  details: Details | null,
  view: View,
): RecipientStanding {
  const { account, outcome, transaction } = recipient;
  const progress = details?.answer.recipients.find((one) => one.account === account)?.progress;
  const said = recipient.state === "outstanding" ? progress : undefined;
  const state = chainState(recipient, record, view) ?? SAID[said?.state ?? "waiting"];
  const name = view.names.of(account);
  return { account, name, state, outcome, bytes: said?.bytes ?? null, age: said?.age ?? null, transaction };
}

const SAID = { waiting: "waiting", downloading: "downloading", verified: "verifying", failed: "failed" } as const;

/** What the chain alone decides; null while all is open. */
function chainState(recipient: RecipientRecord, { notice }: NoticeRecord, { ledger, now }: View): State | null {
  if (recipient.state === "verified") return "verified";
  if (recipient.state === "cleared") return recipient.outcome === null ? "withdrawn" : "rejected";
  const member = ledger.member(recipient.account);
  if (!member?.active || member.index !== recipient.index) return "expelled";
  return notice.deadline < now ? "late" : null;
}

/** Is somebody's answer still to come? */
export function isOpen({ recipients }: Standing): boolean {
  return recipients.some(({ state }) => !["verified", "rejected", "late", "withdrawn", "expelled"].includes(state));
}

/** For people: a line about the notice, and one for each recipient. */
export function described(standing: Standing, names: Names): string {
  const { notice, sender, role, size, deadline, now, recipients, withdrawn } = standing;
  const what = [tagIn(standing), ...(size === null ? [] : [sizeOf(size)])].join(", ");
  const from = role === "sender" ? "from you" : `from ${names.short(sender)}`;
  const left = deadline - now;
  const time = left >= 0 ? `until ${timeOf(deadline)}, in ${spanOf(left * 1000)}` : `ended ${timeOf(deadline)}`;
  const width = Math.max(...recipients.map(({ account }) => names.short(account).length));
  const lines = recipients.map((one) => `  ${names.short(one.account).padEnd(width)}  ${saidOf(one, size)}`);
  return [`${notice}`, `  ${what} ${from}, ${withdrawn ? "withdrawn" : time}`, ...lines].join("\n");
}

function tagIn({ tag, transfer }: Standing): string {
  return tag === null ? `transfer ${transfer}` : `"${printable(tag)}"`;
}

function saidOf({ state, outcome, bytes, age }: RecipientStanding, size: number | null): string {
  const heard = age === null ? "" : age > SILENT_MS ? `, silent for ${spanOf(age)}` : `, heard of ${spanOf(age)} ago`;
  switch (state) {
    case "waiting":
      return `waiting${heard || ", nothing heard yet"}`;
    case "downloading":
      return `downloading ${sharePart(bytes ?? 0, size)}${heard}`;
    case "verifying":
      return `verified, its receipt is on its way${heard}`;
    case "failed":
      return `its download failed; it may try again${heard}`;
    case "rejected":
      return `rejected: ${outcome}`;
    default:
      return state;
  }
}

function sharePart(bytes: number, size: number | null): string {
  if (size === null) return sizeOf(bytes);
  const percent = size === 0 ? 100 : Math.min(100, Math.floor((100 * bytes) / size));
  return `${percent} % (${sizeOf(Math.min(bytes, size))} of ${sizeOf(size)})`;
}
