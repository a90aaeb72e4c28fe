import { concat, dataLength, dataSlice, getBytes } from "ethers";
import { type Address, type Hex, toHex } from "../lib/protocol/hex.ts";
import { type Outcome, outcomes } from "../lib/protocol/reasons.ts";
import { itemKinds, type Signed } from "../lib/protocol/statements.ts";

/** What was posted: a statement, and by which request (32 hex digits), if that is known. */
export interface Posted {
  readonly signed: Signed;
  readonly request?: string;
}

/**
 * The name of an outbox entry: {arrival in ms, 13 digits}-{kind rank}-{statement id}[/{receipt}].json. So the order of names
 * is the order of arrival, and the rank keeps an Open before the Notice that was posted in the same millisecond.
 *
 * A receipt is so short that it stands in its entry's name: receipts come in the greatest numbers and all at once, and one page
 * of a listing tells of a thousand, a GET of one. It stands behind a slash, because S3-compatible stores that keep objects
 * as files take no more than 255 bytes between two slashes.
 */
export interface EntryName {
  readonly arrival: number;
  readonly id: Hex;
  /** What the name holds; null where only the entry tells. */
  readonly posted: Posted | null;
}

/** outcome, task, notice, author, signature, request */
const RECEIPT_BYTES = 1 + 32 + 32 + 20 + 65 + 16;
const NO_REQUEST = "0".repeat(32);
const NAME: RegExp = /^([0-9]{13})-[0-9]-(0x[0-9a-f]{64})(?:\/([\w-]{222}))?\.json$/;

/** So that the order of keys is the order of times. */
export const timeKey = (ms: number): string => String(Math.max(0, ms)).padStart(13, "0");

export function nameOf(id: Hex, posted: Posted, arrival: number): string {
  const receipt = packed(posted);
  return `${timeKey(arrival)}-${itemKinds[posted.signed.statement.kind]}-${id}${receipt && `/${receipt}`}.json`;
}

/** Null for what is no entry of ours. */
export function readName(name: string): EntryName | null {
  const found = NAME.exec(name);
  if (!found) return null;
  const [, arrival, id, receipt] = found;
  return { arrival: Number(arrival), id: id as Hex, posted: receipt === undefined ? null : unpacked(receipt) };
}

/** "" for all but receipts with a key's signature: a wallet's may have any length. */
function packed({ signed: { statement, author, signature }, request = NO_REQUEST }: Posted): string {
  if (statement.kind !== "receipt" || dataLength(signature) !== 65) return "";
  const outcome = toHex(Uint8Array.of(outcomes[statement.outcome]));
  const bytes = concat([outcome, statement.task, statement.notice, author, signature, `0x${request}`]);
  return Buffer.from(getBytes(bytes)).toString("base64url");
}

function unpacked(text: string): Posted | null {
  const bytes = Buffer.from(text, "base64url");
  const outcome = (Object.keys(outcomes) as Outcome[]).find((name) => outcomes[name] === bytes[0]);
  if (bytes.length !== RECEIPT_BYTES || !outcome) return null;
  const slice = (from: number, to: number): Hex => dataSlice(bytes, from, to) as Hex;
  const [task, notice, author] = [slice(1, 33), slice(33, 65), slice(65, 85) as Address];
  const signed: Signed = {
    statement: { kind: "receipt", task, notice, outcome },
    author,
    signature: slice(85, 150),
  };
  const request = slice(150, RECEIPT_BYTES).slice(2);
  return { signed, ...(request !== NO_REQUEST && { request }) };
}
