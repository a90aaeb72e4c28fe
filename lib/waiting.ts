import { WaybillError } from "./protocol/errors.ts";

/** A signal that aborts with the outer one, or by itself after a time. `clear` when it is over. */
export interface Limit {
  readonly signal: AbortSignal;
  clear(): void;
}

/** Timers hold 32 bits of milliseconds. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export function limit(ms: number, outer: AbortSignal | undefined, reason: () => unknown): Limit {
  const own = new AbortController();
  const end = performance.now() + ms;
  let timer: NodeJS.Timeout | undefined;
  const arm = (): void => {
    const left = end - performance.now();
    if (left <= 0) own.abort(reason());
    else timer = setTimeout(arm, Math.min(left, MAX_TIMER_MS));
  };
  if (Number.isFinite(ms)) arm();
  return {
    signal: outer ? AbortSignal.any([outer, own.signal]) : own.signal,
    clear: () => clearTimeout(timer),
  };
}

/** Waits; rejects with the signal's reason when that comes first. */
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** What a call rejects with when the caller's signal ended it. */
export function aborted(signal: AbortSignal, details: Record<string, unknown> = {}): WaybillError {
  return new WaybillError("ABORTED", "The call was ended by its signal.", { cause: signal.reason, details });
}

/** Lets so many pieces of work run at a time; the others wait in line. */
export class Gate {
  readonly #line: (() => void)[] = [];
  #free: number;

  constructor(slots: number) {
    this.#free = slots;
  }

  /** @throws the signal's reason when it aborts before the work has begun. */
  async run<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    await this.#enter(signal);
    try {
      return await work();
    } finally {
      this.#leave();
    }
  }

  async #enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const enter = (): void => {
        signal.removeEventListener("abort", stop);
        resolve();
      };
      const stop = (): void => {
        this.#line.splice(this.#line.indexOf(enter), 1);
        reject(signal.reason as Error);
      };
      this.#line.push(enter);
      signal.addEventListener("abort", stop, { once: true });
    });
  }

  #leave(): void {
    const next = this.#line.shift();
    if (next) next();
    else this.#free += 1;
  }
}
