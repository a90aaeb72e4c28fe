import type { Delivery } from "./inbox.ts";
import { WaybillError } from "./protocol/errors.ts";
import type { Address } from "./protocol/hex.ts";
import { type ReceiveOrder, receiveOne } from "./receive.ts";
import type { Session } from "./session.ts";
import { downloadTraffic } from "./transfer/download.ts";
import type { Progress } from "./transfer/parts.ts";
import type { Received, Target } from "./transfer/target.ts";
import type { Moved } from "./transfer/ticker.ts";
import { aborted, Gate, limit } from "./waiting.ts";

export interface GatherOrder
  extends Omit<ReceiveOrder, "target" | "onProgress" | "onBytes" | "enough" | "gate" | "traffic" | "waitForReceipt"> {
  /** A target of its own for each source. */
  readonly targetFor: () => Promise<Target<Received>>;
  /** End early when so many are there; null: wait for all. */
  readonly atLeast: number | null;
  /** Milliseconds that the others get after that. */
  readonly graceAfter: number;
  readonly onProgress: ((source: Address, progress: Progress) => void) | undefined;
  readonly onBytes: ((source: Address, moved: Moved) => void) | undefined;
  readonly onFailure: ((source: Address, reason: SourceFailure, error: WaybillError) => void) | undefined;
}

/** Why there is no payload of a source. */
export type SourceFailure =
  | "TIMEOUT"
  | "EXPELLED"
  | "LATE"
  | "CORRUPT"
  | "TOO_LARGE"
  | "REFUSED"
  | "CONFLICT"
  | "GONE"
  | "TARGET_EXISTS"
  | "TARGET_BUSY"
  | "REFUSED_STATEMENT";

export interface Gathered {
  /** In the order of the sources. */
  readonly received: ReadonlyMap<Address, Received>;
  readonly failed: ReadonlyMap<Address, SourceFailure>;
}

/** Together they have the connections and the memory of one; more would only wait for each other. */
const DOWNLOADS = 4;

/** Errors that are about one source's payload; all others are about us, and end the call. */
const OF_ONE_SOURCE: ReadonlySet<string> = new Set<SourceFailure>([
  "TIMEOUT",
  "LATE",
  "CORRUPT",
  "TOO_LARGE",
  "REFUSED",
  "CONFLICT",
  "GONE",
  "TARGET_EXISTS",
  "TARGET_BUSY",
  "REFUSED_STATEMENT",
]);

/** Waits for one payload of each source. If the call fails, what has come stays for the next one. */
export function gather(session: Session, order: GatherOrder): Promise<Gathered> {
  return new Gathering(session, order).run();
}

class Gathering {
  readonly #session: Session;
  readonly #order: GatherOrder;
  readonly #gate = new Gate(DOWNLOADS);
  readonly #traffic = downloadTraffic();
  /** Ends everything. */
  readonly #stop = new AbortController();
  /** Ends what is not received yet; a receipt that is out is waited for, because its sender counts on it. */
  readonly #enough = new AbortController();
  readonly #deliveries = new Map<Address, Delivery>();
  readonly #failed = new Map<Address, SourceFailure>();
  #clearGrace = (): void => {};

  constructor(session: Session, order: GatherOrder) {
    this.#session = session;
    this.#order = order;
  }

  async run(): Promise<Gathered> {
    const { sources, signal } = this.#order;
    try {
      await this.#session.sync(signal);
      this.#session.me();
      this.#checkSources();
      await Promise.all(sources.map((source) => this.#one(source)));
      signal?.throwIfAborted();
      this.#stop.signal.throwIfAborted();
    } catch (error) {
      for (const delivery of this.#deliveries.values()) this.#session.inbox.keep(delivery);
      throw signal?.aborted && error === signal.reason ? aborted(signal) : error;
    } finally {
      this.#clearGrace();
    }
    const arrived = sources.filter((source) => this.#deliveries.has(source));
    const received = new Map(arrived.map((source) => [source, this.#deliveries.get(source)!.payload]));
    return { received, failed: this.#failed };
  }

  /** Whoever left the task fails alone; who never was in it is a mistake of the caller's. */
  #checkSources(): void {
    const stranger = this.#order.sources.find((source) => this.#session.ledger.member(source) === null);
    if (stranger) throw new WaybillError("NOT_MEMBER", `${stranger} is no member of this task. Ask its owner.`);
  }

  /** Never rejects, so that nothing of this call goes on when it has ended. */
  async #one(source: Address): Promise<void> {
    try {
      const delivery = await receiveOne(this.#session, await this.#orderFor(source));
      this.#deliveries.set(source, delivery);
      this.#arrived();
    } catch (error) {
      this.#fail(source, error);
    }
  }

  async #orderFor(source: Address): Promise<ReceiveOrder> {
    const { targetFor, onProgress, onBytes, signal } = this.#order;
    return {
      ...this.#order,
      sources: [source],
      target: await targetFor(),
      waitForReceipt: true,
      gate: this.#gate,
      traffic: this.#traffic,
      enough: this.#enough.signal,
      signal: signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal,
      onProgress: onProgress && ((progress) => onProgress(source, progress)),
      onBytes: onBytes && ((moved) => onBytes(source, moved)),
    };
  }

  #arrived(): void {
    const { atLeast, graceAfter } = this.#order;
    if (this.#deliveries.size !== atLeast) return;
    const enough = (): WaybillError =>
      new WaybillError("TIMEOUT", "Enough others had delivered. Receive again to get this one.");
    const grace = limit(graceAfter, undefined, enough);
    const end = (): void => this.#enough.abort(grace.signal.reason);
    if (grace.signal.aborted) end();
    else grace.signal.addEventListener("abort", end, { once: true });
    this.#clearGrace = grace.clear;
  }

  #fail(source: Address, error: unknown): void {
    try {
      const reason = this.#reasonOf(source, error);
      this.#failed.set(source, reason);
      this.#order.onFailure?.(source, reason, error as WaybillError);
    } catch (fatal) {
      this.#stop.abort(fatal);
    }
  }

  #reasonOf(source: Address, error: unknown): SourceFailure {
    const ended = this.#stop.signal.aborted || this.#order.signal?.aborted;
    if (!(error instanceof WaybillError) || ended) throw error;
    if (OF_ONE_SOURCE.has(error.code)) return error.code as SourceFailure;
    const left = error.code === "NOT_MEMBER" && !this.#session.ledger.member(source)?.active;
    if (left && this.#session.ledger.member(this.#session.account)?.active) return "EXPELLED";
    throw error;
  }
}
