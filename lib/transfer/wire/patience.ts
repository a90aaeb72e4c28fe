import { stalled } from "./fault.ts";

/** For how long, and at whose pleasure, something is waited for. */
export interface Patience {
  readonly signal: AbortSignal;
  readonly ms: number;
}

/** Waits for it no longer than that. @throws WireFault STALLED, the signal's reason, what it throws. */
export function inTime<T>(work: Promise<T>, { signal, ms }: Patience): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", aborted);
    };
    const aborted = (): void => {
      end();
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      end();
      reject(stalled(ms));
    }, ms);
    signal.addEventListener("abort", aborted, { once: true });
    if (signal.aborted) aborted();
    work.finally(end).then(resolve, reject);
  });
}
