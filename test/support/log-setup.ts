import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { clearFatal, markFatal } from "./fatal.ts";
import { examine } from "./leaks.ts";

/**
 * The set-up of a whole test run: whatever any process of it logs is kept, and looked through for secrets when all is done.
 * One that is found fails the run.
 */
export default async function setup(): Promise<() => Promise<void>> {
  await clearFatal();
  const folder = await mkdtemp(join(tmpdir(), "waybill-test-logs-"));
  const { NODE_OPTIONS: before = "" } = process.env;
  process.env.WAYBILL_TEST_LOGS = folder;
  // For processes that a test starts with NODE_OPTIONS of their own.
  process.env.WAYBILL_TEST_PRELOAD = `--require ${JSON.stringify(fileURLToPath(new URL("log-capture.cjs", import.meta.url)))}`;
  process.env.NODE_OPTIONS = `${before} ${process.env.WAYBILL_TEST_PRELOAD}`.trim();
  return async () => {
    process.env.NODE_OPTIONS = before;
    const { lines, processes, secrets, leaks } = await examine(folder);
    await rm(folder, { recursive: true, force: true });
    process.stdout.write(
      `\n Log lines of this run: ${lines}, of ${processes} processes; secrets looked for: ${secrets}\n`,
    );
    if (leaks.length === 0) return;
    process.exitCode = 1;
    await markFatal("secrets in the logs");
    const list = leaks.slice(0, 20).map(({ what, where }) => `  ${where}: ${what}`);
    throw new Error(`There are secrets in the logs (${leaks.length}):\n${list.join("\n")}`);
  };
}
