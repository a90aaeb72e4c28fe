import { mkdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Reporter } from "vitest/node";

/** What no second run of a test makes good: CI runs nothing again where this file is. */
const FATAL = new URL("../../node_modules/.vitest/fatal", import.meta.url);

export async function markFatal(why: string): Promise<void> {
  await mkdir(fileURLToPath(new URL(".", FATAL)), { recursive: true });
  await writeFile(fileURLToPath(FATAL), `${why}\n`);
}

/** Marks a run in which something failed outside of every test. */
export const fatalReporter: Reporter = {
  async onTestRunEnd(_modules, errors) {
    if (errors.length > 0) await markFatal(`${errors.length} errors outside of tests`);
  },
};
