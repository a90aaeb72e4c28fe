import { readNews, type TaskNews } from "./messages.ts";
import type { Session } from "./session.ts";

/**
 * Gets a task's news while a call runs. It may be asynchronous, may send and receive, and gets the next piece when it has
 * finished the last. What it throws ends the call, which rejects with that same error.
 */
export type ComplementaryHandler = (news: TaskNews) => unknown;

/** Lets a handler have the news while `act` runs, and end it. `act` gets a signal that aborts with the caller's or then. */
export async function withHandler<T>(
  session: Session,
  { handler, signal }: { handler: ComplementaryHandler | undefined; signal: AbortSignal | undefined },
  act: (signal: AbortSignal | undefined) => Promise<T>,
): Promise<T> {
  if (!handler) return act(signal);
  const failure = new AbortController();
  const over = new AbortController();
  let failed: { readonly error: unknown } | null = null;
  const seat = session.news.attach(
    (news) => handler(readNews(news)),
    (error) => {
      failed ??= { error };
      failure.abort(error);
    },
  );
  // The chain is read for the handler's sake too, also while the call itself is busy with the store.
  session.follower.until(() => undefined, { signal: over.signal }).catch(() => {});
  let well = false;
  try {
    const result = await act(signal ? AbortSignal.any([signal, failure.signal]) : failure.signal);
    well = true;
    return result;
  } catch (error) {
    throw errorOf(failed, error);
  } finally {
    over.abort();
    seat.leave(well);
  }
}

function errorOf(failed: { readonly error: unknown } | null, error: unknown): unknown {
  return failed ? failed.error : error;
}
