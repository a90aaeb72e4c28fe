import * as z from "zod/mini";
import type { Address, Hex } from "../lib/protocol/hex.ts";
import { REPORT_INTERVAL_MS } from "../lib/protocol/limits.ts";
import { type ProgressRequest, progressRequest, progressState } from "../lib/protocol/requests.ts";
import { progressKey } from "./keys.ts";
import { overLimit } from "./limit.ts";
import type { Objects } from "./objects.ts";

/** So many recipients' last reports are remembered, the newest. */
const MAX_REMEMBERED = 10_000;

const stored = z.object({
  bytes: progressRequest.shape.bytes,
  state: progressState,
  /** Milliseconds since 1970, by the function's clock. */
  at: z.int(),
});

/** What is shown of a report. */
export interface Shown extends ProgressRequest {
  /** Milliseconds since then. */
  readonly age: number;
}

/**
 * Holds recipients to one report in two seconds. Each instance remembers for itself, so in the cloud a few may pass for one;
 * a record of it would cost more than what it saves.
 */
export class ReportPace {
  readonly #next = new Map<string, number>();

  /** Nothing is asked of anybody for it. @throws WaybillError RATE_LIMITED */
  check(account: Address, notice: Hex): void {
    const left = (this.#next.get(`${account} ${notice}`) ?? 0) - performance.now();
    if (left <= 0) return;
    const value = REPORT_INTERVAL_MS / 1000;
    const limit = { name: "progress", value, unit: "seconds between reports" };
    const message = `A recipient reports once in ${value} seconds. The next one may say what this one would have.`;
    throw overLimit("RATE_LIMITED", message, limit, Math.ceil(left / 1000));
  }

  /** Only of those whose report was taken: strangers leave no trace. */
  note(account: Address, notice: Hex): void {
    const key = `${account} ${notice}`;
    this.#next.delete(key);
    this.#next.set(key, performance.now() + REPORT_INTERVAL_MS);
    if (this.#next.size > MAX_REMEMBERED) this.#next.delete(this.#next.keys().next().value!);
  }
}

/** Recipients' own words on their downloads, in the bucket. Nothing depends on them. */
export class Reports {
  readonly #store: Objects;
  readonly #clock: () => number;

  constructor(store: Objects, clock: () => number) {
    this.#store = store;
    this.#clock = clock;
  }

  /** The last one counts. */
  async write(task: Hex, notice: Hex, recipient: Address, report: ProgressRequest): Promise<void> {
    await this.#store.putJson(progressKey(task, notice, recipient), { ...report, at: this.#clock() });
  }

  /** A recipient's last report. Null also when it can't be read: whoever asks has more important things to hear. */
  async read(task: Hex, notice: Hex, recipient: Address, size: number): Promise<Shown | null> {
    const found = await this.#store.getJson(progressKey(task, notice, recipient)).catch(() => null);
    const parsed = stored.safeParse(found?.value);
    if (!parsed.success) return null;
    const { bytes, state, at } = parsed.data;
    return { bytes: Math.min(bytes, size), state, age: Math.max(0, this.#clock() - at) };
  }
}
