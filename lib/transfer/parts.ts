/** How far a transfer is. `totalBytes` and `partsTotal` are null as long as a stream's length is unknown. */
export interface Progress {
  /** Bytes of the parts that are done: with the store, or verified here. */
  readonly transferredBytes: number;
  readonly totalBytes: number | null;
  readonly partsDone: number;
  readonly partsTotal: number | null;
}

/**
 * Works on items as `feed` gives them; how many at a time, the feed decides. The first error, or `outer`, stops the rest:
 * `signal` aborts for all, and the error is thrown when all work has ended, so that nothing goes on in the background.
 */
export async function inParallel<T>(
  feed: (signal: AbortSignal) => AsyncIterable<T>,
  outer: AbortSignal | undefined,
  work: (item: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const failure = new AbortController();
  const signal = outer ? AbortSignal.any([outer, failure.signal]) : failure.signal;
  // Every part listens to it, and more than ten listeners are no leak here; Node would warn.
  globalThis.process?.getBuiltinModule?.("node:events")?.setMaxListeners(0, signal);
  const running = new Set<Promise<void>>();
  const items = feed(signal)[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { done, value } = await orAbort(items.next(), signal);
      if (done) break;
      const one: Promise<void> = work(value, signal)
        .catch((error: unknown) => failure.abort(error))
        .finally(() => running.delete(one));
      running.add(one);
    }
  } catch (error) {
    failure.abort(error);
    void items.return?.().catch(() => {}); // it may hang where it was; nobody waits for it any more
  }
  await Promise.all(running);
  signal.throwIfAborted();
}

/** A source may keep us waiting for ever; the signal ends that. */
export async function orAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  work.catch(() => {}); // its late failure is nobody's
  signal.throwIfAborted();
  let forget = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    const listener = (): void => reject(signal.reason as Error);
    signal.addEventListener("abort", listener, { once: true });
    forget = () => signal.removeEventListener("abort", listener);
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    forget();
  }
}
