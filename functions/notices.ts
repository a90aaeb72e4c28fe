import { WaybillError } from "../lib/protocol/errors.ts";
import type { Address, Hex } from "../lib/protocol/hex.ts";
import { MAX_STORED, PAGE_SIZE } from "../lib/protocol/limits.ts";
import { indicesOf, noticeId, placeOf, signerOf } from "../lib/protocol/statements.ts";
import { badDeadline, checkDeadline } from "./deadline.ts";
import type { PostingDeps } from "./deps.ts";
import type { Chain } from "./glance.ts";
import type { TransferRef } from "./keys.ts";
import { overLimit } from "./limit.ts";
import type { Records, SignedNotice, TransferRecord } from "./records.ts";

/** Notices over one transfer: a record that grows without end would slow every later finish. */
const MAX_NOTICES = 1000;
/** Up to so many members are looked up one by one; the whole roster comes at 1,000 a call. */
const FEW = 4;
/** What may be asked of the chain before the caller's standing is known, in notices. */
const MAX_AHEAD = 16;

/**
 * Publishes notices over a finished transfer. All are checked before anything is written. Then, in this order: the time
 * until which the payload is kept, the notices' records, the outbox; so what is published can be downloaded.
 * @throws WaybillError BAD_REQUEST, BAD_SIGNATURE, BAD_DEADLINE, NOT_RECIPIENT, NOTICE_EXISTS, NOT_STORED
 */
export async function publishNotices(
  deps: PostingDeps,
  records: Records,
  ref: TransferRef,
  notices: readonly SignedNotice[],
  requestId: string,
): Promise<void> {
  const ids = notices.map(({ notice }) => noticeId(notice));
  if (new Set(ids).size !== ids.length) throw bad("A notice is there twice.");
  for (const signed of notices) checkWords(deps, ref, signed);
  await checkRecipients(deps, ref, notices);
  await checkRepeats(deps, ref, notices);
  const { timestamp } = await deps.chain.tip();
  const keep = Math.max(...notices.map(({ notice }) => notice.deadline)) + Math.ceil(deps.config.retention / 1000);
  await records.amend(ref, (record) => {
    for (const signed of notices) checkAgainst(deps, record, signed, timestamp);
    const known = ids.every((id) => record.notices.includes(id));
    if (known && record.keepUntil >= keep) return record;
    const union = [...new Set([...record.notices, ...ids])];
    if (union.length > MAX_NOTICES) throw tooMany();
    return { ...record, keepUntil: Math.max(record.keepUntil, keep), notices: union };
  });
  await Promise.all(notices.map((signed) => records.createNotice(signed)));
  await Promise.all(
    notices.map(({ notice: statement, signature }) =>
      deps.outbox.post({ statement, author: ref.sender, signature }, requestId),
    ),
  );
}

/** Asks the chain for what notices are checked against, before anybody knows whether the caller may publish any. */
export function lookAhead(chain: Chain, task: Hex, notices: readonly SignedNotice[]): void {
  if (notices.length > MAX_AHEAD) return;
  const accounts = [...new Set(notices.flatMap(({ recipients }) => recipients))];
  if (accounts.length > 0) void activeIndices(chain, task, accounts).catch(() => undefined);
  for (const { notice } of notices) void chain.notice(task, notice.page, noticeId(notice));
}

/** What the notice says of itself, without asking anybody. */
function checkWords({ config }: PostingDeps, ref: TransferRef, { notice, signature, recipients }: SignedNotice): void {
  if (notice.task !== ref.task || notice.sender !== ref.sender || notice.transfer !== ref.transfer)
    throw bad("A notice must name this task and transfer, and you as its sender.");
  if (notice.recipients >> BigInt(PAGE_SIZE) || indicesOf(notice.page, notice.recipients).length !== recipients.length)
    throw bad("A notice's recipients must be one account for each bit of its bitmap, in bit order.");
  if (recipients.includes(ref.sender)) throw bad("You can't be the recipient of your own transfer.");
  if (new Set(recipients).size !== recipients.length) throw bad("A recipient is there twice.");
  if (signerOf(config, notice, signature) !== ref.sender)
    throw new WaybillError("BAD_SIGNATURE", "The notice's signature is not yours for this chain and contract.");
}

/** Every recipient is an active member, and its index in the page is its bit: else others could read what it is promised. */
async function checkRecipients(
  { chain }: PostingDeps,
  ref: TransferRef,
  notices: readonly SignedNotice[],
): Promise<void> {
  const accounts = [...new Set(notices.flatMap(({ recipients }) => recipients))];
  const indexOf = await activeIndices(chain, ref.task, accounts);
  for (const { notice, recipients } of notices)
    for (const [i, index] of indicesOf(notice.page, notice.recipients).entries())
      if (indexOf.get(recipients[i]!) !== index)
        throw new WaybillError(
          "NOT_RECIPIENT",
          `${recipients[i]} is no active member with index ${index} in this task.`,
        );
}

/** The present indices of those accounts that are active members. */
async function activeIndices(
  chain: Chain,
  task: Hex,
  accounts: readonly Address[],
): Promise<ReadonlyMap<Address, number>> {
  if (accounts.length > FEW) {
    const members = await chain.members(task);
    return new Map(members.filter(({ active }) => active).map(({ account, index }) => [account, index]));
  }
  const found = await Promise.all(accounts.map((account) => chain.member(task, account)));
  const active = accounts.flatMap((account, i) => (found[i]?.active ? [[account, found[i].index] as const] : []));
  return new Map(active);
}

/**
 * A notice that is there already is a repeated finish, or a sender that joins, as long as it still can do what it is to
 * do. Once somebody turned it down, or was withdrawn from, it can't be given again: its id is used up.
 */
async function checkRepeats({ chain }: PostingDeps, ref: TransferRef, notices: readonly SignedNotice[]): Promise<void> {
  const spent = await Promise.all(
    notices.map(async ({ notice }) => {
      const id = noticeId(notice);
      const state = await chain.notice(ref.task, notice.page, id);
      return state === null || (state.outstanding | state.verified) === notice.recipients ? null : id;
    }),
  );
  const ids = spent.filter((id): id is Hex => id !== null);
  if (ids.length > 0)
    throw new WaybillError(
      "NOTICE_EXISTS",
      "There was the very same notice before, and it was withdrawn or turned down. Sign one with another deadline.",
      { details: { notices: ids } },
    );
}

function checkAgainst({ config }: PostingDeps, record: TransferRecord, { notice }: SignedNotice, now: number): void {
  if (record.state !== "finished" || record.storedAt === null)
    throw new WaybillError("NOT_STORED", "This transfer's payload is not there any more. Send it again.");
  if (notice.manifest !== record.digest)
    throw new WaybillError("CONFLICT", "The notice commits to another manifest than the transfer's.");
  // One that was accepted before is a repeated finish, whose first answer may have been lost.
  checkDeadline(record.notices.includes(noticeId(notice)) ? { blockTime: 0 } : config, notice.deadline, now);
  if (notice.deadline > record.storedAt + MAX_STORED)
    throw badDeadline("The deadline is more than 60 days after the payload was stored. Send it under a new tag.");
}

/** The bit of an account with this index in a notice, or null if the notice isn't for it. */
export function bitIn(notice: SignedNotice["notice"], index: number): bigint | null {
  const { page, bit } = placeOf(index);
  return page === notice.page && (notice.recipients >> BigInt(bit)) & 1n ? 1n << BigInt(bit) : null;
}

function bad(message: string): WaybillError {
  return new WaybillError("BAD_REQUEST", message);
}

function tooMany(): WaybillError {
  const limit = { name: "notices", value: MAX_NOTICES, unit: "notices of a transfer" };
  return overLimit("TOO_MANY", `A transfer has at most ${MAX_NOTICES} notices. Send it under a new tag.`, limit);
}
