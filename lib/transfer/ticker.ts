/** More often nobody looks. */
const TICK_MS = 200;

/** Bytes of a transfer as they move. */
export interface Moved {
  /** Of parts under way, too; what a request had moved that failed is taken back. */
  readonly movedBytes: number;
  /** Null as long as a stream's length is unknown. */
  readonly totalBytes: number | null;
  /** What was there before: of a download verified and in `movedBytes`; of an upload in the store, and in `movedBytes` once it is compared. */
  readonly heldBytes: number;
}

/** Tells how many bytes have moved while a transfer runs. */
export interface Ticker {
  /** Aborts with the outer signal, or with what `tell` threw: that ends the transfer. */
  readonly signal: AbortSignal | undefined;
  stop(): void;
}

/** Calls `tell` at the beginning, when `read` shows another number than before, and at the end. */
export function startTicker(
  read: () => Moved,
  tell: ((moved: Moved) => void) | undefined,
  outer: AbortSignal | undefined,
): Ticker {
  if (!tell) return { signal: outer, stop: () => {} };
  const failure = new AbortController();
  let last = -1;
  const look = (): void => {
    const moved = read();
    if (moved.movedBytes === last || failure.signal.aborted) return;
    last = moved.movedBytes;
    try {
      tell(moved);
    } catch (error) {
      failure.abort(error);
    }
  };
  look();
  const timer = setInterval(look, TICK_MS);
  return {
    signal: outer ? AbortSignal.any([outer, failure.signal]) : failure.signal,
    stop: () => {
      clearInterval(timer);
      look();
    },
  };
}
