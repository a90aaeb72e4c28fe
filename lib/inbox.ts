import type { Address, Hex } from "./protocol/hex.ts";
import type { Received } from "./transfer/target.ts";

/** A payload that is verified and here. */
export interface Delivery {
  readonly sender: Address;
  readonly transfer: Hex;
  readonly payload: Received;
  /** Where it is; calls that want it elsewhere fetch it anew. */
  readonly place: string;
  /** The notices that it answers. */
  readonly notices: readonly Hex[];
}

/** Which payloads are being received, which are here and wait for a call that takes them, and which notices are answered. */
export class Inbox {
  readonly #claimed = new Set<string>();
  readonly #kept: Delivery[] = [];
  readonly #answered = new Set<Hex>();
  readonly #delivered = new Set<Hex>();
  #closed = false;

  /** True if nobody else receives this payload now; it is ours until `release`. */
  claim(sender: Address, transfer: Hex): boolean {
    const key = `${sender}/${transfer}`;
    if (this.#claimed.has(key)) return false;
    this.#claimed.add(key);
    return true;
  }

  release(sender: Address, transfer: Hex): void {
    this.#claimed.delete(`${sender}/${transfer}`);
  }

  /** Keeps a payload whose call ended before its receipt stood; its notices go to no other call. */
  keep(delivery: Delivery): void {
    if (this.#closed) letGo(delivery);
    else this.#kept.push(delivery);
    for (const notice of delivery.notices) this.answered(notice);
  }

  /** Whether a payload of this sender is kept. */
  holds(sender: Address): boolean {
    return this.#kept.some((delivery) => delivery.sender === sender);
  }

  /** The oldest kept payload that fits, which is then no longer kept. */
  take(fits: (delivery: Delivery) => boolean): Delivery | undefined {
    const at = this.#kept.findIndex(fits);
    return at === -1 ? undefined : this.#kept.splice(at, 1)[0];
  }

  /** Nobody takes what is kept any more: streams give back the files that they would have read. */
  close(): void {
    this.#closed = true;
    for (const delivery of this.#kept.splice(0)) letGo(delivery);
  }

  /** A receipt for this notice is out, or about to be. */
  answered(notice: Hex): void {
    this.#answered.add(notice);
  }

  /** The receipt did not get out. */
  unanswered(notice: Hex): void {
    this.#answered.delete(notice);
  }

  /** A call has returned the payload of this notice. */
  delivered(notice: Hex): void {
    this.#delivered.add(notice);
  }

  isDelivered(notice: Hex): boolean {
    return this.#delivered.has(notice);
  }

  isAnswered(notice: Hex): boolean {
    return this.#answered.has(notice);
  }
}

function letGo({ payload }: Delivery): void {
  if (payload instanceof ReadableStream) void payload.cancel().catch(() => {});
}
