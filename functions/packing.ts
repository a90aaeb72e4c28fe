import type { Hex } from "../lib/protocol/hex.ts";
import { encodeItem, type Item, type Statement, taskOf } from "../lib/protocol/statements.ts";
import type { Entry } from "./outbox.ts";

/** Statements that go as one item: receipts with the same words, or any other statement alone. */
export interface Packet {
  readonly statement: Statement;
  readonly task: Hex;
  readonly entries: readonly Entry[];
}

/** What may go into one transaction. */
export interface Room {
  readonly gas: number;
  readonly bytes: number;
}

/** Nodes refuse transactions over 128 KiB; the rest is for the envelope and its signature. */
export const MAX_CALL_BYTES: number = 126 * 1024;
/** Offset, kind, two inner offsets, two lengths, and the padding of two byte strings. */
const ITEM_BYTES = 32 * 8;
/** The transaction itself, and relay's own work. */
export const BASE_GAS = 40_000;
/** Calldata and log of one byte. */
const GAS_PER_BYTE = 30;
/** What calldata costs at least (EIP-7623). */
const FLOOR_PER_BYTE = 40;

/**
 * Groups statements into items, in their order. A receipt joins the first item with its words, unless that would carry
 * it across a change of its task's roster, a Withdraw of its task, or another receipt of its author for that notice.
 */
export function packetsOf(entries: readonly Entry[]): Packet[] {
  const packets: (Packet & { entries: Entry[] })[] = [];
  const open = new Map<Hex, Map<string, Entry[]>>(); // per task: receipt items that still take more
  for (const entry of entries) {
    const { statement, author } = entry.signed;
    const task = taskOf(statement);
    const items = open.get(task) ?? new Map<string, Entry[]>();
    open.set(task, items);
    if (statement.kind === "receipt") {
      const words = `${statement.notice}:${statement.outcome}`;
      const rivals = [...items].filter(([key]) => key !== words && key.startsWith(statement.notice));
      if (rivals.some(([, others]) => others.some((other) => other.signed.author === author))) items.delete(words);
      const joined = items.get(words);
      if (joined) {
        joined.push(entry);
        continue;
      }
    } else if (statement.kind !== "notice" && statement.kind !== "message" && statement.kind !== "walletReceipt") {
      items.clear();
    }
    const packet = { statement, task, entries: [entry] };
    if (statement.kind === "receipt") items.set(`${statement.notice}:${statement.outcome}`, packet.entries);
    packets.push(packet);
  }
  return packets;
}

/** A packet is asked for its item again and again while a transaction is filled. */
const items = new WeakMap<Packet, Item>();

/** The packet, which is complete, as one element of `relay(Item[])`. */
export function itemOf(packet: Packet): Item {
  const known = items.get(packet);
  if (known) return known;
  const signatures = packet.entries.map((entry) => entry.signed.signature);
  const item = encodeItem(packet.statement, signatures);
  items.set(packet, item);
  return item;
}

/** More than the packet can need, so that what fits by this fits. */
export function roomOf(packet: Packet): Room {
  const { data, signatures } = itemOf(packet);
  const bytes = ITEM_BYTES + (data.length + signatures.length) / 2;
  return { bytes, gas: GAS_PER_BYTE * bytes + gasOf(packet) };
}

/**
 * A gas limit for one transaction with these packets. By what the contract needs at most, not by the node's estimate: that
 * runs the call many times over, and a wallet that signs cheaply while it is only asked could ruin the others' transaction.
 */
export function gasFor(packets: readonly Packet[]): number {
  const rooms = packets.map(roomOf);
  const floor = 21_000 + FLOOR_PER_BYTE * rooms.reduce((sum, { bytes }) => sum + bytes, 0);
  return Math.max(floor, BASE_GAS + rooms.reduce((sum, { gas }) => sum + gas, 0));
}

/**
 * Storage and signatures, from the contract's rules: 22.1k for a fresh word, 5k for a changed one, 6k to recover. Receipts as
 * if each item had an event of its own: whether its neighbours share theirs, somebody else's statement may decide.
 */
function gasOf({ statement, entries }: Packet): number {
  switch (statement.kind) {
    case "open":
      return 110_000 + 48_000 * statement.members.length;
    case "admit":
      return 70_000 + 48_000 * statement.members.length;
    case "expel":
      return 70_000 + 8_000 * statement.members.length;
    case "receipt":
      return 17_000 + (statement.outcome === "VERIFIED" ? 6_500 : 29_000) * entries.length;
    case "walletReceipt":
      return 70_000 + 420_000;
    default:
      return 60_000;
  }
}
