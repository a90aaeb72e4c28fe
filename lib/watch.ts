import type { NoticeRecord } from "./chain/ledger.ts";
import type { NoticeStatus } from "./contractor.ts";
import { WaybillError } from "./protocol/errors.ts";
import type { Address } from "./protocol/hex.ts";
import type { ProgressState } from "./protocol/requests.ts";
import type { Session } from "./session.ts";
import { pause } from "./waiting.ts";

/** How far a recipient's download is, in its own words. Receipts alone count. */
export interface RecipientProgress {
  readonly state: ProgressState;
  readonly bytes: number;
  readonly totalBytes: number;
  /** Milliseconds since it said so. */
  readonly age: number;
  /** It was downloading, and has said nothing for long. */
  readonly stalled: boolean;
}

/** A recipient whose bytes move says so every 5 s; one report may get lost, and the look itself takes its time. */
const STALLED_MS = 20_000;
/** How often is looked: not longer apart than a tenth of the time that it takes, and never rarely. */
const LOOK = { leastMs: 5_000, mostMs: 30_000, part: 1 / 10 };
/** Looks within the time after which one gives up. */
const LOOKS_BEFORE_IDLE = 3;

/** What a sender wants to know, and when it gives up. */
export interface WatchOrder {
  readonly session: Session;
  /** Milliseconds; null: never. */
  readonly idle: number | null;
  readonly size: number;
  /** The notices in which somebody is outstanding. */
  readonly open: () => readonly NoticeRecord[];
  readonly tell: (account: Address, progress: RecipientProgress) => void;
  readonly giveUp: (records: readonly NoticeRecord[]) => Promise<void>;
}

/** Looks again and again how far the recipients are, until the signal. @throws what `tell` throws. */
export async function watch(order: WatchOrder, signal: AbortSignal): Promise<void> {
  const watching = new Watching(order);
  const began = performance.now();
  while (!signal.aborted) {
    const apart = Math.max(LOOK.leastMs, Math.min(LOOK.mostMs, (performance.now() - began) * LOOK.part));
    await pause(Math.min(apart, (order.idle ?? Number.POSITIVE_INFINITY) / LOOKS_BEFORE_IDLE), signal).catch(() => {});
    if (!signal.aborted) await watching.look(signal);
  }
}

class Watching {
  readonly #order: WatchOrder;
  /** When each recipient last showed a sign of life, or was first waited for; by performance.now. */
  readonly #alive = new Map<Address, number>();
  /** Since when the functions could be asked without a break: before that nobody could have been heard. */
  #heard = 0;
  #deaf = true;

  constructor(order: WatchOrder) {
    this.#order = order;
  }

  async look(signal: AbortSignal): Promise<void> {
    const records = this.#order.open();
    const looks = await Promise.all(records.map((record) => this.#lookAt(record, signal)));
    if (signal.aborted) return;
    if (looks.includes(null)) {
      this.#deaf = true;
      return;
    }
    if (this.#deaf) this.#heard = performance.now();
    this.#deaf = false;
    for (const [account, progress] of looks.flatMap((found) => [...found!])) this.#order.tell(account, progress);
    const idle = this.#order.open().filter((record) => this.#isIdle(record));
    if (idle.length > 0) await this.#order.giveUp(idle).catch(unlessPassing); // else at the next look
  }

  /** Null when it can't be known. */
  async #lookAt(record: NoticeRecord, signal: AbortSignal): Promise<Map<Address, RecipientProgress> | null> {
    const { session, size } = this.#order;
    const found = new Map<Address, RecipientProgress>();
    try {
      const { recipients } = await session.api.notice(session.task, record.id, signal);
      for (const { account, progress } of recipients) if (progress) found.set(account, shown(progress, size));
    } catch (error) {
      if (error instanceof WaybillError || signal.aborted) return null;
      throw error;
    }
    const now = performance.now();
    for (const [account, { state, age }] of found)
      if (state !== "failed") this.#alive.set(account, Math.max(this.#alive.get(account) ?? 0, now - age));
    return found;
  }

  /** Has nobody who is outstanding in it shown a sign of life? */
  #isIdle({ recipients }: NoticeRecord): boolean {
    const { idle } = this.#order;
    if (idle === null) return false;
    const now = performance.now();
    const outstanding = [...recipients.values()].filter(({ state }) => state === "outstanding");
    for (const { account } of outstanding) if (!this.#alive.has(account)) this.#alive.set(account, now);
    return outstanding.every(({ account }) => now - Math.max(this.#heard, this.#alive.get(account)!) >= idle);
  }
}

/** What the functions tell of a notice's recipients; nothing when they can't be asked: it is no reason to fail. */
export async function progressOf(
  session: Session,
  status: NoticeStatus,
): Promise<ReadonlyMap<Address, RecipientProgress>> {
  if (!status.recipients.some(({ state }) => state === "outstanding")) return new Map();
  try {
    const { recipients, size } = await session.api.notice(session.task, status.notice);
    return new Map(recipients.flatMap(({ account, progress }) => (progress ? [[account, shown(progress, size)]] : [])));
  } catch {
    return new Map();
  }
}

function shown(
  { state, bytes, age }: { readonly state: ProgressState; readonly bytes: number; readonly age: number },
  size: number,
): RecipientProgress {
  const stalled = state === "downloading" && age > STALLED_MS;
  return { state, bytes: Math.min(bytes, size), totalBytes: size, age, stalled };
}

function unlessPassing(error: unknown): void {
  if (!(error instanceof WaybillError)) throw error;
}
