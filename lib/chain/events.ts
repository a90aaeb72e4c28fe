import type { Result } from "ethers";
import * as z from "zod/mini";
import { WaybillError } from "../protocol/errors.ts";
import { type Hex, toHex } from "../protocol/hex.ts";
import { PAGE_SIZE } from "../protocol/limits.ts";
import { type Outcome, outcomeOf } from "../protocol/reasons.ts";
import { id32 } from "../protocol/requests.ts";
import type { ReceiptGroup, TaskEvent } from "../protocol/wire.ts";
import { decodeEvent, eventName } from "./codec.ts";

const hex = z.string().check(z.regex(/^0x[0-9a-fA-F]*$/));
const quantity = z.pipe(
  z.string().check(z.regex(/^0x[0-9a-f]{1,13}$/i)), // fits a number exactly
  z.transform((text) => Number(text)),
);
/** A log as JSON-RPC gives it; more fields may come. */
const rawLog = z.object({
  address: hex,
  topics: z.array(hex),
  data: hex,
  blockNumber: quantity,
  blockHash: id32,
  transactionHash: id32,
  logIndex: quantity,
  removed: z.optional(z.boolean()),
});
export type RawLog = z.infer<typeof rawLog>;

/** Reads a node's list of logs. @throws WaybillError BAD_SERVER if it is none. */
export function parseLogs(answer: unknown): RawLog[] {
  const parsed = z.array(rawLog).safeParse(answer);
  if (!parsed.success) throw new WaybillError("BAD_SERVER", "The RPC node's logs are malformed.");
  return parsed.data;
}

/** A log's event, with its arguments if it is of that name; null if it isn't, or is none of the contract's. */
export function eventOf(log: RawLog, wanted: (name: string) => boolean): { name: string; args: Result } | null {
  const name = eventName(log.topics[0]);
  return name !== null && wanted(name) ? { name, args: decodeEvent(log.topics, log.data) } : null;
}

/**
 * The event of a task that a log of the contract is, or null for a log that belongs to no task.
 * @throws WaybillError BAD_SERVER if it is none that the contract could have emitted.
 */
export function taskEventOf(log: RawLog): TaskEvent | null {
  try {
    return decodedFrom(log);
  } catch (error) {
    throw error instanceof WaybillError ? error : malformed("an event that can't be decoded", error);
  }
}

function decodedFrom(log: RawLog): TaskEvent | null {
  const found = eventOf(log, (name) => name in decoders);
  const decode = found && decoders[found.name];
  if (!found || !decode) return null;
  const common = {
    task: toHex(found.args.task),
    seq: Number(found.args.seq),
    prevBlock: Number(found.args.prevBlock),
    block: log.blockNumber,
    blockHash: log.blockHash,
    transaction: log.transactionHash,
    logIndex: log.logIndex,
  };
  return decode(common, found.args);
}

type Args = Result;
type Common = Pick<TaskEvent, "task" | "seq" | "prevBlock" | "block" | "blockHash" | "transaction" | "logIndex">;

const lower = (value: unknown): Hex => toHex(String(value).toLowerCase());
const each = (values: Iterable<unknown>): Hex[] => [...values].map(lower);

const decoders: Readonly<Record<string, (common: Common, args: Args) => TaskEvent>> = {
  Opened: (common, args) => ({
    type: "opened",
    ...common,
    owner: lower(args.owner),
    salt: lower(args.salt),
    members: each(args.members),
    signature: lower(args.signature),
  }),
  Admitted: (common, args) => ({ type: "admitted", ...common, ...rosterChange(args) }),
  Expelled: (common, args) => ({ type: "expelled", ...common, ...rosterChange(args) }),
  Noticed: (common, args) => ({
    type: "noticed",
    ...common,
    ...addressed(args),
    transfer: lower(args.transfer),
    manifest: lower(args.manifest),
  }),
  Receipts: (common, args) => ({ type: "receipts", ...common, receipts: receiptsIn(lower(args.receipts)) }),
  WalletReceipt: (common, args) => ({
    type: "walletReceipt",
    ...common,
    notice: lower(args.notice),
    outcome: outcome(args.outcome),
    account: lower(args.account),
    signature: lower(args.signature),
  }),
  Withdrawn: (common, args) => ({
    type: "withdrawn",
    ...common,
    notice: lower(args.notice),
    signature: lower(args.signature),
  }),
  Posted: (common, args) => ({
    type: "posted",
    ...common,
    ...addressed(args),
    name: lower(args.kind),
    payload: lower(args.payload),
    salt: lower(args.salt),
  }),
};

function rosterChange(args: Args): { roster: number; members: Hex[]; signature: Hex } {
  return { roster: Number(args.roster), members: each(args.members), signature: lower(args.signature) };
}

function addressed(args: Args): { sender: Hex; page: number; recipients: bigint; deadline: number; signature: Hex } {
  return {
    sender: lower(args.sender),
    page: Number(args.page),
    recipients: args.recipients as bigint,
    deadline: Number(args.deadline),
    signature: lower(args.signature),
  };
}

function outcome(code: unknown): Outcome {
  const found = outcomeOf(Number(code));
  if (!found) throw malformed("an outcome that does not exist");
  return found;
}

/** In hex digits: a group's notice (32 bytes), its outcome and its number of signatures (1 byte each); a signature (65). */
const GROUP = { notice: 64, outcome: 66, head: 68, signature: 130 } as const;

/** The groups packed in a Receipts event, as contracts/IWaybill.sol lays them out. @throws WaybillError BAD_SERVER if they aren't. */
export function receiptsIn(packed: Hex): ReceiptGroup[] {
  const digits = packed.slice(2);
  const groups: ReceiptGroup[] = [];
  for (let at = 0; at < digits.length; ) {
    const number = (from: number, to: number): number => Number.parseInt(digits.slice(at + from, at + to), 16);
    const count = number(GROUP.outcome, GROUP.head);
    const end = at + GROUP.head + count * GROUP.signature;
    if (!(count > 0 && count <= PAGE_SIZE && end <= digits.length)) throw malformed("receipts that end in between");
    const notice = `0x${digits.slice(at, at + GROUP.notice)}` as const;
    const signatures = Array.from({ length: count }, (_, i): Hex => {
      const from = at + GROUP.head + i * GROUP.signature;
      return `0x${digits.slice(from, from + GROUP.signature)}`;
    });
    groups.push({ notice, outcome: outcome(number(GROUP.notice, GROUP.outcome)), signatures });
    at = end;
  }
  if (groups.length === 0) throw malformed("receipts that are none");
  return groups;
}

function malformed(what: string, cause?: unknown): WaybillError {
  return new WaybillError("BAD_SERVER", `The RPC node's logs tell of ${what}.`, { cause });
}
