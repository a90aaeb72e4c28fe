import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const VERSION = "24.21.0";
/** Where the deployment's tests keep theirs. */
const TOOLS: string = join(import.meta.dirname, "../../../node_modules/.infra/tools");

/** A Node of the version that Lambda's nodejs24.x runs: this one, or npm's package of it for this machine. */
export async function node24(): Promise<string> {
  const { versions, execPath, platform, arch } = process;
  if (versions.node.startsWith("24.")) return execPath;
  const name = `node-${platform}-${arch}`;
  const folder = join(TOOLS, `${name}@${VERSION}`);
  const path = join(folder, "node_modules", name, "bin/node");
  if (existsSync(path)) return path;
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "package.json"), JSON.stringify({ private: true }));
  const options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"];
  await promisify(execFile)("npm", ["install", ...options, `${name}@${VERSION}`], { cwd: folder });
  return path;
}
