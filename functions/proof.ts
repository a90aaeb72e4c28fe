import { eventOf, type RawLog, taskEventOf } from "../lib/chain/events.ts";
import type { Hex } from "../lib/protocol/hex.ts";
import { type Reason, reasonOf } from "../lib/protocol/reasons.ts";
import { noticeId, type Signed, statementId } from "../lib/protocol/statements.ts";
import type { TaskEvent } from "../lib/protocol/wire.ts";
import type { Entry } from "./outbox.ts";

/** The statements whose own event stands among a transaction's logs. */
export function provenBy(logs: readonly RawLog[], entries: readonly Entry[]): Entry[] {
  const marks = new Set(
    logs.flatMap((log) => {
      const event = taskEventOf(log);
      return event ? marksOf(event) : [];
    }),
  );
  return entries.filter((entry) => marks.has(markOf(entry.signed)));
}

/** Why the contract skipped statements, by their ids, as a transaction's logs tell. */
export function skippedIn(logs: readonly RawLog[]): Map<Hex, Reason> {
  const skipped = logs.flatMap((log) => eventOf(log, (name) => name === "Skipped") ?? []);
  return new Map(skipped.map(({ args }) => [args.id as Hex, reasonOf(Number(args.reason))]));
}

/** What a statement and its event have in common and no other statement has. */
function markOf({ statement, author, signature }: Signed): string {
  switch (statement.kind) {
    case "admit":
    case "expel":
      return rosterMark(statement);
    case "receipt":
      return `${statement.task} ${statement.notice} ${statement.outcome} ${signature}`;
    case "walletReceipt":
      return `${statement.task} ${statement.notice} ${statement.outcome} ${statement.account}`;
    case "withdraw":
      return `withdraw ${noticeId(statement.of)}`;
    default:
      return statementId(statement, author);
  }
}

/** A Receipts event tells of several statements. */
function marksOf(event: TaskEvent): string[] {
  switch (event.type) {
    case "opened":
      return [statementId({ ...event, kind: "open" }, event.owner)];
    case "admitted":
      return [rosterMark({ ...event, kind: "admit" })];
    case "expelled":
      return [rosterMark({ ...event, kind: "expel" })];
    case "noticed":
      return [statementId({ ...event, kind: "notice" }, event.sender)];
    case "receipts":
      return event.receipts.flatMap(({ notice, outcome, signatures }) =>
        signatures.map((signature) => `${event.task} ${notice} ${outcome} ${signature}`),
      );
    case "walletReceipt":
      return [`${event.task} ${event.notice} ${event.outcome} ${event.account}`];
    case "withdrawn":
      return [`withdraw ${event.notice}`];
    case "posted":
      return [statementId({ ...event, kind: "message" }, event.sender)];
  }
}

function rosterMark(change: { kind: string; task: string; roster: number; members: readonly string[] }): string {
  return `${change.kind} ${change.task} ${change.roster} ${change.members.join()}`;
}
