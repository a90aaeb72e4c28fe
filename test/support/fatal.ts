import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import type { Reporter } from "vitest/node";

/**
 * What no second run of a test makes good: CI runs nothing again where this file is. A run that is itself a test's subject has another one, or
 * its planted faults would be the outer run's.
 */
const FATAL =
  process.env.WAYBILL_TEST_FATAL ?? fileURLToPath(new URL("../../node_modules/.vitest/fatal", import.meta.url));

export async function markFatal(why: string): Promise<void> {
  await mkdir(dirname(FATAL), { recursive: true });
  await writeFile(FATAL, `${why}\n`);
}

/** An earlier run's mark says nothing of this one. */
export async function clearFatal(): Promise<void> {
  await rm(FATAL, { force: true });
}

/** Marks a run in which something failed outside of every test. */
export const fatalReporter: Reporter = {
  async onTestRunEnd(_modules, errors) {
    if (errors.length > 0) await markFatal(`${errors.length} errors outside of tests`);
  },
};
