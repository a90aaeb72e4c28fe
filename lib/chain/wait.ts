/** One call of `until`. */
export class Wait {
  readonly #probe: () => unknown;
  readonly #resolve: (value: unknown) => void;
  readonly #reject: (error: unknown) => void;
  readonly #cleanups: (() => void)[] = [];
  ended = false;

  constructor(probe: () => unknown, resolve: (value: unknown) => void, reject: (error: unknown) => void) {
    this.#probe = probe;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  atEnd(cleanup: () => void): void {
    this.#cleanups.push(cleanup);
  }

  check(): boolean {
    if (this.ended) return true;
    try {
      const found = this.#probe();
      if (found !== undefined) this.#end(() => this.#resolve(found));
    } catch (error) {
      this.fail(error);
    }
    return this.ended;
  }

  fail(error: unknown): void {
    this.#end(() => this.#reject(error));
  }

  #end(settle: () => void): void {
    if (this.ended) return;
    this.ended = true;
    for (const cleanup of this.#cleanups) cleanup();
    settle();
  }
}

/** Calls back when the signal aborts; the result takes the listener away. */
export function onAbort(signal: AbortSignal | undefined, act: (reason: unknown) => void): () => void {
  if (!signal) return () => {};
  const listener = (): void => act(signal.reason);
  signal.addEventListener("abort", listener, { once: true });
  return () => signal.removeEventListener("abort", listener);
}

/** Waits, but not longer than until the signal. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => end(), ms);
    const forget = onAbort(signal, () => end());
    const end = (): void => {
      clearTimeout(timer);
      forget();
      resolve();
    };
  });
}
