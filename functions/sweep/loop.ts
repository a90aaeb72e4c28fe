import { setTimeout as delay } from "node:timers/promises";
import type { Sweeper } from "../sweeper.ts";

/** As often as the schedule of a deployment. What is due waits for hours and days, so it isn't urgent. */
const SWEEP_EVERY_MS = 3_600_000;

/** Sweeps at every interval until `signal` aborts, on through everything: a run tells its own faults. */
export async function runSweeper(
  sweeper: Pick<Sweeper, "sweep">,
  { signal, every = SWEEP_EVERY_MS }: { signal: AbortSignal; every?: number },
): Promise<void> {
  for (;;) {
    await delay(every, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    await sweeper.sweep({ signal });
  }
}
