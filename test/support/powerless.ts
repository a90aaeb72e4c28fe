import { execFileSync } from "node:child_process";

/**
 * What stands before a command so that modes of files count for it: for root they don't, unless it gives its power away.
 * Null where that can't be done.
 */
export function powerless(): readonly string[] | null {
  if (process.getuid?.() !== 0) return process.platform === "win32" ? null : [];
  const before = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
  try {
    execFileSync(before[0]!, [...before.slice(1), "true"], { stdio: "ignore" });
    return before;
  } catch {
    return null;
  }
}
