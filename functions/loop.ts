import { setTimeout as delay } from "node:timers/promises";
import { Log, type Sink } from "./log.ts";
import type { Publisher } from "./publisher.ts";
import type { DoorBell } from "./wake.ts";

/** While anything is pending, it may have become final. */
const PENDING_MS = 1_000;
/** As often as the schedule of a deployment, for what another process put into the outbox. */
const IDLE_MS = 60_000;
const MAX_BACKOFF_MS = 10_000;

/**
 * Steps whenever the bell rings, every second while anything is pending, and on through every error. `idle`: milliseconds
 * between two looks at an empty outbox, 60,000 by default.
 */
export async function runPublisher(
  publisher: Pick<Publisher, "step">,
  { signal, bell, log, idle = IDLE_MS }: { signal: AbortSignal; bell: DoorBell; log?: Sink; idle?: number },
): Promise<void> {
  const lines = new Log("publisher", log);
  let failures = 0;
  while (!signal.aborted) {
    try {
      const { pending, moved } = await publisher.step(signal);
      failures = 0;
      if (pending === 0 || !moved) await bell.wait(pending > 0 ? PENDING_MS : idle, signal);
    } catch (error) {
      failures += 1;
      lines.failure("a turn failed", error);
      const most = Math.min(MAX_BACKOFF_MS, 250 * 2 ** Math.min(failures, 10));
      await delay(most * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => undefined);
    }
  }
}
