import type { Ledger, News } from "../../lib/chain/ledger.ts";
import { readNews } from "../../lib/messages.ts";
import type { Address, Hex } from "../../lib/protocol/hex.ts";
import type { Outcome } from "../../lib/protocol/reasons.ts";
import { type Domain, EVERYONE, indicesOf, noticeId, signerOf } from "../../lib/protocol/statements.ts";
import type { TaskEvent } from "../../lib/protocol/wire.ts";
import { cut, jsonLine, type Names, printable, timeOf } from "../words.ts";

type EventOf<Type extends TaskEvent["type"]> = Extract<TaskEvent, { type: Type }>;

/** An event for people, and for programs. */
export interface Line {
  readonly text: string;
  readonly object: Readonly<Record<string, unknown>>;
}

/** Characters of a message's body on its line; --json has all of it. */
const MOST_BODY = 400;

/** What an event's line is made of. */
export interface Telling {
  readonly ledger: Ledger;
  readonly domain: Domain;
  readonly names: Names;
  /** What was said of a notice's transfer, if that is known. */
  tagOf(notice: Hex): string | null;
}

/** The line of an event. */
export function lineOf(event: TaskEvent, news: News | null, telling: Telling): Line {
  const { seq, type, block, blockHash, transaction } = event;
  const { said, facts } = told(event, news, telling);
  return {
    text: `#${seq}  block ${block}  ${said}  tx ${transaction}`,
    object: { type, seq, block, blockHash, transaction, ...facts },
  };
}

/** The notices that an event speaks of. */
export function noticesIn(event: TaskEvent): Hex[] {
  switch (event.type) {
    case "noticed":
      return [idOf(event)];
    case "receipts":
      return event.receipts.map(({ notice }) => notice);
    case "walletReceipt":
    case "withdrawn":
      return [event.notice];
    default:
      return [];
  }
}

interface Said {
  readonly said: string;
  readonly facts: Readonly<Record<string, unknown>>;
}

function told(event: TaskEvent, news: News | null, telling: Telling): Said {
  switch (event.type) {
    case "opened":
    case "admitted":
    case "expelled":
      return changed(event, telling);
    case "noticed":
      return noticed(event, telling);
    case "receipts":
      return received(receiptsIn(event, telling), telling);
    case "walletReceipt":
      return received([{ notice: event.notice, outcome: event.outcome, account: event.account }], telling);
    case "withdrawn":
      return { said: `withdrawn: ${transferOf(event.notice, telling)}`, facts: { notice: event.notice } };
    case "posted":
      return posted(event, news, telling);
  }
}

function changed({ type, members }: EventOf<"opened" | "admitted" | "expelled">, { ledger, names }: Telling): Said {
  const owner = ledger.owner!;
  const list = members.map((account) => names.short(account)).join(", ");
  const said = type === "opened" ? `${names.short(owner)} opened the task with ${list}` : `${type}: ${list}`;
  return { said, facts: { owner, members } };
}

function noticed(event: EventOf<"noticed">, telling: Telling): Said {
  const { sender, page, recipients, transfer, deadline } = event;
  const id = idOf(event);
  const accounts = accountsIn(page, recipients, telling.ledger);
  const { names, tagOf, ledger } = telling;
  const to = accounts.map((account) => names.short(account)).join(", ");
  const proved = ledger.notice(id)?.proved ?? false;
  const said = `${names.short(sender)} announced ${transferOf(id, telling)} to ${to}, until ${timeOf(deadline)}`;
  const facts = { notice: id, sender, recipients: accounts, transfer, tag: tagOf(id), deadline, proved };
  return { said: proved ? said : `${said} (unproved)`, facts };
}

function idOf({ task, sender, page, recipients, transfer, manifest, deadline }: EventOf<"noticed">): Hex {
  return noticeId({ kind: "notice", task, sender, page, recipients, transfer, manifest, deadline });
}

interface Receipt {
  readonly notice: Hex;
  readonly outcome: Outcome;
  readonly account: Address | null;
}

function receiptsIn({ task, receipts }: EventOf<"receipts">, { domain }: Telling): Receipt[] {
  return receipts.flatMap(({ notice, outcome, signatures }) =>
    signatures.map((signature) => {
      const account = signerOf(domain, { kind: "receipt", task, notice, outcome }, signature);
      return { notice, outcome, account };
    }),
  );
}

function received(receipts: readonly Receipt[], telling: Telling): Said {
  const { names } = telling;
  const each = receipts.map(({ notice, outcome, account }) => {
    const who = account === null ? "somebody" : names.short(account);
    return `${who} ${outcome === "VERIFIED" ? "verified" : `answered ${outcome} to`} ${transferOf(notice, telling)}`;
  });
  return { said: each.join("; "), facts: { receipts } };
}

function posted(event: EventOf<"posted">, news: News | null, { ledger, names }: Telling): Said {
  const { sender, page, recipients } = event;
  const targets = recipients === EVERYONE ? null : accountsIn(page, recipients, ledger);
  const to = targets === null ? "everyone" : targets.map((account) => names.short(account)).join(", ");
  const read = news && readNews(news);
  if (read?.type !== "message") return { said: `${names.short(sender)} posted something unproved`, facts: { sender } };
  const { kind, body } = read;
  const shown = body === undefined ? `${read.payload.length} bytes that are no JSON` : cut(jsonLine(body), MOST_BODY);
  const said = `${names.short(sender)} posted ${printable(kind)} to ${to}: ${shown}`;
  return { said, facts: { sender, kind, body: body ?? null, to: targets } };
}

function transferOf(notice: Hex, { tagOf }: Telling): string {
  const tag = tagOf(notice);
  return tag === null ? `notice ${notice}` : `"${printable(tag)}" (notice ${notice})`;
}

function accountsIn(page: number, recipients: bigint, ledger: Ledger): Address[] {
  const members = ledger.members();
  return indicesOf(page, recipients).flatMap((index) => members[index]?.account ?? []);
}
