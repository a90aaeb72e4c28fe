import type { Address, Hex } from "../../../lib/index.ts";
import { transferId } from "../../../lib/protocol/manifest.ts";
import type { MessageOnChain, NoticeOnChain, OnChain } from "../ledger.ts";
import { modelTag, updateTag } from "./messages.ts";
import { averagedIn, ROUNDS, STRAGGLER } from "./plan.ts";

/** What the chain says of the rounds, whatever the parties say. */
export interface Audit {
  /** Exactly the planned receipts stand: none is missing, none is for what was not to be taken. */
  readonly complete: boolean;
  /** The straggler's notice stands, too: its update was there to be taken. */
  readonly late: boolean;
  /** Distinct VERIFIED receipts, by recipient and transfer. */
  readonly receipts: number;
  /** By round, from 1; 0 is what belongs to no round: the opening and the check-ins. */
  readonly rounds: readonly { readonly receipts: number; readonly gas: number }[];
}

export interface Cast {
  readonly aggregator: Address;
  /** In member order. */
  readonly owners: readonly Address[];
}

export function audit(chain: OnChain, cast: Cast): Audit {
  const rounds = Array.from({ length: ROUNDS + 1 }, () => ({ receipts: new Set<string>(), gas: 0 }));
  for (const receipt of chain.receipts) {
    const notice = chain.notices.get(receipt.notice);
    if (notice) rounds[roundOf(notice)]!.receipts.add(keyOf(notice.sender, notice.transfer, receipt.author));
  }
  const owners = ownersOfTransactions(chain);
  for (const { hash, gas } of chain.transactions) rounds[owners.get(hash) ?? 0]!.gas += gas;
  const found = new Set(rounds.flatMap(({ receipts }) => [...receipts]));
  const planned = plannedReceipts(cast);
  return {
    complete: found.size === planned.length && planned.every((key) => found.has(key)),
    late: isLate(chain, cast),
    receipts: found.size,
    rounds: rounds.map(({ receipts, gas }) => ({ receipts: receipts.size, gas })),
  };
}

/** Every owner's for each model, and the aggregator's for each update that is averaged. */
function plannedReceipts({ aggregator, owners }: Cast): string[] {
  return Array.from({ length: ROUNDS }, (_, i) => i + 1).flatMap((round) => [
    ...owners.map((owner) => keyOf(aggregator, transferId(modelTag(round)), owner)),
    ...averagedIn(round).map((owner) => keyOf(owners[owner]!, transferId(updateTag(round)), aggregator)),
  ]);
}

function isLate({ notices }: OnChain, { owners }: Cast): boolean {
  const [sender, transfer] = [owners[STRAGGLER.owner], transferId(updateTag(STRAGGLER.round))];
  return [...notices.values()].some((notice) => notice.sender === sender && notice.transfer === transfer);
}

function keyOf(sender: Address, transfer: Hex, recipient: Address): string {
  return `${sender}/${transfer}/${recipient}`;
}

/** A transaction may carry statements of two rounds; it belongs to the earlier one. */
function ownersOfTransactions({ notices, receipts, messages }: OnChain): Map<Hex, number> {
  const owners = new Map<Hex, number>();
  const enter = (transaction: Hex, round: number): void => {
    if (round > 0) owners.set(transaction, Math.min(owners.get(transaction) ?? round, round));
  };
  for (const notice of notices.values()) enter(notice.transaction, roundOf(notice));
  for (const { notice, transaction } of receipts) {
    const record = notices.get(notice);
    if (record) enter(transaction, roundOf(record));
  }
  for (const message of messages) enter(message.transaction, roundOfMessage(message));
  return owners;
}

const roundsByTransfer = new Map<Hex, number>();
for (let round = 1; round <= ROUNDS; round++)
  for (const tag of [modelTag(round), updateTag(round)]) roundsByTransfer.set(transferId(tag), round);

function roundOf({ transfer }: NoticeOnChain): number {
  return roundsByTransfer.get(transfer) ?? 0;
}

function roundOfMessage({ body }: MessageOnChain): number {
  const round = (body as { round?: unknown } | null)?.round;
  return Number.isInteger(round) && Number(round) <= ROUNDS ? Number(round) : 0;
}
