import type { Hex } from "../lib/protocol/hex.ts";
import type { Reason } from "../lib/protocol/reasons.ts";
import type { Item } from "../lib/protocol/statements.ts";
import type { Entry } from "./outbox.ts";
import { BASE_GAS, itemOf, MAX_CALL_BYTES, type Packet, packetsOf, roomOf } from "./packing.ts";

/** Asks the contract what it would answer, per item and signature; null when nothing could be learned about so many. */
export type Simulate = (items: readonly Item[]) => Promise<Reason[][] | null>;

/** A statement that the contract would skip now. */
export interface Skip {
  readonly entry: Entry;
  readonly reason: Reason;
  /** Does the chain as it stands say so? Otherwise only what goes before it. */
  readonly standing: boolean;
}

/** What goes into the next transaction, in order, and what would be skipped. */
export interface Selection {
  readonly packets: readonly Packet[];
  readonly skips: readonly Skip[];
  /** What is too large for any transaction, as blocks are now. */
  readonly tooLarge: readonly Entry[];
  /** What was not reached: for another transaction. */
  readonly rest: readonly Entry[];
}

/**
 * Fills one transaction, which may use `gas`, with the statements that would take effect, in the order of their arrival. What would be skipped
 * takes no room, so a statement that has to wait never holds up those behind it. `touched` are the tasks of which
 * something is on its way already, unseen by the simulation.
 */
export async function select(
  entries: readonly Entry[],
  gas: number,
  simulate: Simulate,
  touched: ReadonlySet<Hex> = new Set(),
): Promise<Selection> {
  const filling = new Filling(gas, touched);
  let queue = packetsOf(entries);
  let atOnce = queue.length;
  while (queue.length > 0) {
    const batch = filling.fitting(queue).slice(0, atOnce);
    if (batch.length === 0) break; // full
    const results = await simulate([...filling.packets, ...batch].map(itemOf));
    if (results) filling.add(batch, results.slice(filling.packets.length));
    else if (batch.length > 1) {
      atOnce = Math.ceil(batch.length / 2);
      continue;
    } else if (filling.packets.length > 0)
      break; // it may go first the next time
    else filling.passOver(batch[0]!);
    queue = queue.slice(batch.length);
  }
  const { packets, skips, tooLarge } = filling;
  return { packets, skips, tooLarge, rest: queue.flatMap((packet) => packet.entries) };
}

class Filling {
  readonly packets: Packet[] = [];
  readonly skips: Skip[] = [];
  readonly tooLarge: Entry[] = [];
  readonly #touched: Set<Hex>;
  #gas: number;
  #bytes = MAX_CALL_BYTES;

  constructor(gas: number, touched: ReadonlySet<Hex>) {
    this.#gas = gas - BASE_GAS;
    this.#touched = new Set(touched);
  }

  /** The first of the queue that would surely fit beside what is in. Nothing is too large to be tried alone. */
  fitting(queue: readonly Packet[]): Packet[] {
    let [gas, bytes] = [this.#gas, this.#bytes];
    const end = queue.findIndex((packet) => {
      const room = roomOf(packet);
      gas -= room.gas;
      bytes -= room.bytes;
      return gas < 0 || bytes < 0;
    });
    if (end === 0 && this.packets.length === 0) return queue.slice(0, 1);
    return end < 0 ? [...queue] : queue.slice(0, end);
  }

  add(batch: readonly Packet[], results: readonly (readonly Reason[])[]): void {
    for (const [i, packet] of batch.entries()) {
      const reasons = results[i] ?? [];
      const reasonFor = (nth: number): Reason => reasons[nth] ?? reasons[0] ?? "MALFORMED";
      const standing = !this.#touched.has(packet.task);
      for (const [nth, entry] of packet.entries.entries())
        if (reasonFor(nth) !== "OK") this.skips.push({ entry, reason: reasonFor(nth), standing });
      const entries = packet.entries.filter((_, nth) => reasonFor(nth) === "OK");
      this.#include(entries.length === packet.entries.length ? packet : { ...packet, entries });
    }
  }

  /** Leaves it out for now. What depends on it must not be judged by its absence. */
  passOver({ task, entries }: Packet): void {
    this.#touched.add(task);
    if (entries.length === 1) this.tooLarge.push(...entries);
  }

  #include(packet: Packet): void {
    if (packet.entries.length === 0) return;
    const room = roomOf(packet);
    this.#gas -= room.gas;
    this.#bytes -= room.bytes;
    this.#touched.add(packet.task);
    this.packets.push(packet);
  }
}
