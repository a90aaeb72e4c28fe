import { join } from "node:path";
import { installed } from "./tools.ts";

const VERSION = "24.21.0";

/** A Node of the version that Lambda's nodejs24.x runs: this one, or npm's package of it for this machine. */
export async function node24(): Promise<string> {
  const { versions, execPath, platform, arch } = process;
  if (versions.node.startsWith("24.")) return execPath;
  return join(await installed(`node-${platform}-${arch}`, VERSION), "bin/node");
}
