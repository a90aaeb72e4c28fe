import { setTimeout as delay } from "node:timers/promises";
import type { Log } from "../../functions/log.ts";
import type { Objects } from "../../functions/objects.ts";

/**
 * What has an end and whose end a bucket's lifecycle sees to on AWS. Not every server has lifecycles, so who serves does it
 * itself. A nonce is of use for two minutes: an hour leaves room for any clock that is not plainly wrong.
 */
const SHORT_LIVED = [
  { prefix: "nonce/", ms: 3_600_000 },
  { prefix: "refused/", ms: 24 * 3_600_000 },
  { prefix: "progress/", ms: 24 * 3_600_000 },
];
const PAGE = 1_000;
const EVERY_MS = 15 * 60_000;

type Tidied = Pick<Objects, "list" | "delete" | "now">;

/** Deletes what is over. @returns How many objects. */
export async function tidy(store: Tidied, signal?: AbortSignal): Promise<number> {
  let gone = 0;
  for (const { prefix, ms } of SHORT_LIVED) {
    for (let after: string | undefined; !signal?.aborted; ) {
      const page = await store.list(prefix, { limit: PAGE, ...(after !== undefined && { startAfter: after }) });
      // By the clock that is behind: one that is ahead must give nothing up.
      const before = Math.min(store.now(), Date.now()) - ms;
      const over = page.filter(({ modified }) => modified.getTime() < before).map(({ key }) => key);
      if (over.length > 0) await store.delete(over);
      gone += over.length;
      after = page.at(-1)?.key;
      if (page.length < PAGE) break;
    }
  }
  return gone;
}

/** Tidies every quarter of an hour until `signal` aborts, on through every error. */
export async function runTidier(store: Tidied, { signal, log }: { signal: AbortSignal; log: Log }): Promise<void> {
  while (!signal.aborted) {
    try {
      const count = await tidy(store, signal);
      if (count > 0) log.info("what was short-lived is cleared away", { count });
    } catch (error) {
      log.failure("what was short-lived could not be cleared away", error);
    }
    await delay(EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}
