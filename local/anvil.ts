import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { HDNodeWallet, Mnemonic } from "ethers";
import { WaybillError } from "../lib/protocol/errors.ts";
import { type Guarded, spawnGuarded } from "./guard.ts";

/** The development phrase that every EVM tool knows. Its accounts own nothing on any real chain, and must not. */
const DEV_MNEMONIC = "test test test test test test test test test test test junk";
const DEFAULT_CHAIN_ID = 31337;
const DEFAULT_ACCOUNTS = 10;
/** Anvil answers after 0.2 s here; a machine that needs a hundred times that is not going to. */
const START_TIMEOUT_MS = 30_000;
/** What anvil may see of our environment: where to put files, not which tool to be (TARGET_TOOL) or what to talk to. */
const PASSED_ON = ["PATH", "HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP", "SystemRoot"];

export interface AnvilOptions {
  /** Default 0: a free one. */
  readonly port?: number;
  /** Seconds between blocks that come by themselves, 1 by default; transactions are mined at once all the same. */
  readonly blockTime?: number;
  readonly chainId?: number;
  /** The phrase whose first accounts are rich; by default the one that every development chain uses. */
  readonly mnemonic?: string;
  /** How many rich accounts, 10 by default. */
  readonly accounts?: number;
  /** More arguments for anvil; paths in them must be absolute. */
  readonly args?: readonly string[];
  /** Folders to be removed once anvil has ended, even if this process was killed. */
  readonly scratch?: readonly string[];
}

export interface AnvilAccount {
  readonly address: string;
  readonly privateKey: string;
}

export interface Anvil {
  readonly url: string;
  readonly chainId: number;
  readonly pid: number;
  /** Rich accounts, in the phrase's order. */
  readonly accounts: readonly AnvilAccount[];
  /** Resolves when anvil has ended, by `stop` or by itself. */
  readonly ended: Promise<unknown>;
  stop(): Promise<void>;
}

/**
 * Starts an EVM chain on a free port of this machine, with a block every second. It ends with this process, whatever ends
 * this process, and does not keep it alive.
 *
 * @throws WaybillError USAGE if there is no anvil for this platform, UNAVAILABLE if it does not come up.
 */
export async function startAnvil(options: AnvilOptions = {}): Promise<Anvil> {
  const { chainId = DEFAULT_CHAIN_ID, mnemonic = DEV_MNEMONIC, accounts = DEFAULT_ACCOUNTS } = options;
  const binary = anvilBinary();
  const rich = deriveAccounts(mnemonic, accounts);
  // Old states go to disk, and a killed anvil leaves them: they get a folder that the guardian removes.
  const cache = await mkdtemp(join(tmpdir(), "waybill-anvil-"));
  const child = await spawnGuarded(binary, anvilArguments(options, cache), {
    env: passedOn(),
    cwd: dirname(binary), // anvil reads a .env file where it stands
    scratch: [cache, ...(options.scratch ?? [])],
  }).catch(async (error: unknown) => {
    await rm(cache, { recursive: true, force: true });
    throw error;
  });
  try {
    const url = await withinStartTime(ready(child, chainId));
    return { url, chainId, pid: child.pid, accounts: rich, ended: child.ended, stop: child.stop };
  } catch (error) {
    await child.stop();
    throw error;
  }
}

function anvilArguments(options: AnvilOptions, cache: string): string[] {
  const { chainId = DEFAULT_CHAIN_ID, mnemonic = DEV_MNEMONIC, accounts = DEFAULT_ACCOUNTS } = options;
  const { port = 0, blockTime = 1 } = options;
  return [
    ...["--host", "127.0.0.1", "--port", String(port), "--color", "never"],
    // An anvil that only mines on demand makes no block when idle, and then no deadline ever passes.
    ...["--mixed-mining", "--block-time", String(blockTime)],
    ...["--chain-id", String(chainId), "--mnemonic", mnemonic, "--accounts", String(accounts)],
    ...["--cache-path", cache],
    ...(options.args ?? []),
  ];
}

/** The platform's own binary: killing the package's Node wrapper would orphan it, and TARGET_TOOL would misdirect it. */
function anvilBinary(): string {
  const cpu = process.arch === "x64" ? "amd64" : process.arch;
  const name = `@foundry-rs/anvil-${process.platform}-${cpu}`;
  const file = `bin/anvil${process.platform === "win32" ? ".exe" : ""}`;
  // The platform's package is a dependency of @foundry-rs/anvil, not of ours: a strict installer shows it only from there.
  for (const from of resolvers()) {
    try {
      return from.resolve(`${name}/${file}`);
    } catch {
      // the next one
    }
  }
  throw new WaybillError(
    "USAGE",
    `There is no anvil here for ${process.platform} on ${process.arch} (package ${name}). Add it with: npm install --save-dev @foundry-rs/anvil. Or use a chain of your own through its RPC URL.`,
  );
}

function* resolvers(): Generator<NodeJS.Require> {
  const own = createRequire(import.meta.url);
  yield own;
  try {
    yield createRequire(own.resolve("@foundry-rs/anvil/package.json"));
  } catch {
    // not installed at all
  }
}

function passedOn(): Record<string, string> {
  const found = PASSED_ON.map((name) => [name, process.env[name]] as const);
  return Object.fromEntries(found.filter((entry): entry is readonly [string, string] => entry[1] !== undefined));
}

function deriveAccounts(mnemonic: string, count: number): AnvilAccount[] {
  const root = HDNodeWallet.fromMnemonic(Mnemonic.fromPhrase(mnemonic), "m/44'/60'/0'/0");
  return Array.from({ length: count }, (_, index) => {
    const { address, privateKey } = root.deriveChild(index);
    return { address, privateKey };
  });
}

/** Anvil picks the port itself and prints it; once it answers there with our chain id, it is ready. */
async function ready(child: Guarded, chainId: number): Promise<string> {
  const url = `http://127.0.0.1:${await announcedPort(child)}`;
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "eth_chainId", params: [] }),
  });
  const { result } = (await response.json()) as { result?: unknown };
  if (Number(result) !== chainId) throw new WaybillError("WRONG_CHAIN", `Anvil answers with chain ${String(result)}.`);
  return url;
}

function announcedPort(child: Guarded): Promise<string> {
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    complaint = (complaint + text).slice(-1_000);
  });
  return new Promise((resolve, reject) => {
    // Every line is read and dropped for as long as anvil lives, or it would block on a full pipe.
    createInterface({ input: child.stdout }).on("line", (line) => {
      const port = /^Listening on \S+:(\d+)$/.exec(line)?.[1];
      if (port) resolve(port);
    });
    void child.ended.then(() => reject(endedAtOnce(complaint)));
  });
}

function endedAtOnce(complaint: string): WaybillError {
  if (complaint.includes("Address already in use"))
    return new WaybillError("USAGE", "The chain's port is taken. Choose another one.");
  return new WaybillError("UNAVAILABLE", `Anvil ended at once. ${complaint.trim()}`);
}

async function withinStartTime<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const message = `Anvil did not answer within ${START_TIMEOUT_MS / 1000} s.`;
    timer = setTimeout(() => reject(new WaybillError("UNAVAILABLE", message)), START_TIMEOUT_MS);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
