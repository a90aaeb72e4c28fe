import { type ChildProcess, fork, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { JsonRpcProvider, Wallet } from "ethers";
import type { StoreConfig } from "../../functions/objects.ts";
import { TaskContractor } from "../../lib/index.ts";
import type { Deployment } from "../../lib/protocol/deployment.ts";
import type { Address, Hex } from "../../lib/protocol/hex.ts";
import { MAX_MEMBERS } from "../../lib/protocol/limits.ts";
import { type Anvil, startAnvil } from "../../local/anvil.ts";
import { deployContract } from "../../local/contract.ts";
import type { LoadTarget } from "./load.ts";
import type { RoundsTask } from "./load-rounds.ts";
import { ROOT } from "./packed.ts";
import { secret } from "./secrets.ts";

/** Signatures name it; who asks knows where the server is. */
const ORIGIN = "https://api.waybill.test";

/** Members whose keys are known, in the order of their indices. */
export interface Crew {
  readonly task: Hex;
  readonly keys: readonly Hex[];
  readonly accounts: readonly Address[];
}

/** `waybill serve` over a store and a chain, each in a process of its own. */
export class LoadWorld {
  readonly #anvil: Anvil;
  readonly #store: ChildProcess;
  readonly #serve: ChildProcess;
  readonly #origin: string;
  readonly #owner: Wallet;
  readonly #deployment: Deployment;

  private constructor(pieces: Pieces, serve: ChildProcess, origin: string) {
    this.#anvil = pieces.anvil;
    this.#store = pieces.store;
    this.#owner = pieces.owner;
    this.#deployment = pieces.deployment;
    this.#serve = serve;
    this.#origin = origin;
  }

  static async start(): Promise<LoadWorld> {
    const anvil = await startAnvil();
    const store = fork(join(import.meta.dirname, "store-process.mjs"), { env: quiet(), execArgv: [] });
    const [bucket] = (await once(store, "message")) as [Bucket];
    secret(bucket.s3Credentials.secretAccessKey);
    const provider = new JsonRpcProvider(anvil.url, anvil.chainId, { staticNetwork: true });
    const { contract, block: fromBlock } = await deployContract(new Wallet(anvil.accounts[0]!.privateKey, provider));
    provider.destroy();
    const { chainId } = anvil;
    const deployment: Deployment = {
      ...{ api: ORIGIN, chainId, contract, fromBlock, storeOrigin: new URL(bucket.s3Endpoint).origin },
      ...{ confirmations: 0, blockTime: 1000, maxBlockAge: 600_000, rpc: anvil.url },
    };
    const pieces = { anvil, store, bucket, deployment, owner: new Wallet(newKey()) };
    const { serve, origin } = await startServe(pieces);
    return new LoadWorld(pieces, serve, origin);
  }

  async stop(): Promise<void> {
    for (const child of [this.#serve, this.#store]) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, "exit");
      if (child === this.#store)
        child.disconnect(); // its order to take its folder with it
      else child.kill("SIGKILL");
      await ended;
    }
    await this.#anvil.stop();
  }

  /** The processes whose memory and processor time are of interest. */
  get pids(): { readonly serve: number; readonly store: number } {
    return { serve: this.#serve.pid!, store: this.#store.pid! };
  }

  /** A new task with so many members. */
  async crew(count: number): Promise<Crew> {
    return openCrew(count, this.#owner, this.#deployment, (input, init) => {
      const { pathname, search } = new URL(String(input));
      return fetch(`${this.#origin}${pathname}${search}`, init);
    });
  }

  target({ keys }: Crew): LoadTarget {
    const { chainId, contract } = this.#deployment;
    return { origin: this.#origin, authority: new URL(ORIGIN).host, domain: { chainId, contract }, keys };
  }

  roundsOf({ task, accounts }: Crew): RoundsTask {
    return { task, accounts, rpc: this.#anvil.url, contract: this.#deployment.contract };
  }
}

/** A task's members come in groups: so many as a transaction takes. */
export async function openCrew(
  count: number,
  owner: Wallet,
  deployment: Deployment,
  send: typeof fetch = fetch,
): Promise<Crew> {
  const keys = Array.from({ length: count }, newKey);
  const accounts = keys.map((key) => new Wallet(key).address.toLowerCase() as Address);
  const options = { signer: owner, deployment, fetch: send };
  const contractor = await TaskContractor.open({ ...options, members: accounts.slice(0, MAX_MEMBERS) });
  for (let from = MAX_MEMBERS; from < count; from += MAX_MEMBERS)
    await contractor.admit(accounts.slice(from, from + MAX_MEMBERS));
  await contractor.close();
  return { task: contractor.task, keys, accounts };
}

export function newKey(): Hex {
  return `0x${randomBytes(32).toString("hex")}`;
}

/** The environment without what the test run adds to every process: the log's copy would be part of what is measured. */
export function quiet(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _, ...env } = process.env;
  return env;
}

type Bucket = Required<Pick<StoreConfig, "bucket" | "region" | "s3Endpoint">> & {
  readonly s3Credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
};

interface Pieces {
  readonly anvil: Anvil;
  readonly store: ChildProcess;
  readonly bucket: Bucket;
  readonly deployment: Deployment;
  readonly owner: Wallet;
}

async function startServe({
  anvil,
  bucket,
  deployment,
  owner,
}: Pieces): Promise<{ serve: ChildProcess; origin: string }> {
  const env = {
    ...quiet(),
    WAYBILL_API_ORIGIN: deployment.api,
    WAYBILL_CHAIN_ID: String(deployment.chainId),
    WAYBILL_CONTRACT: deployment.contract,
    WAYBILL_FROM_BLOCK: String(deployment.fromBlock),
    WAYBILL_RPC: anvil.url,
    WAYBILL_CONFIRMATIONS: "0",
    WAYBILL_BLOCK_TIME: "1000",
    WAYBILL_OWNERS: owner.address,
    WAYBILL_MAX_FEE_PER_GAS: "1000000000000",
    WAYBILL_RELAYER_KEY: anvil.accounts[1]!.privateKey,
    WAYBILL_BUCKET: bucket.bucket,
    WAYBILL_S3_ENDPOINT: bucket.s3Endpoint,
    AWS_REGION: bucket.region,
    AWS_ACCESS_KEY_ID: bucket.s3Credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: bucket.s3Credentials.secretAccessKey,
  };
  const args = [join(ROOT, "dist/cli/waybill.js"), "serve", "--json", "--listen", "127.0.0.1:0", "--no-metrics"];
  const serve = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "ignore"] });
  const [line] = (await Promise.race([
    once(createInterface({ input: serve.stdout! }), "line"),
    once(serve, "exit").then(([code]) => Promise.reject(new Error(`waybill serve ended with ${code}`))),
  ])) as [string];
  return { serve, origin: (JSON.parse(line) as { origin: string }).origin };
}

/** Bytes in memory and processor time of a process; null where the system doesn't tell so. */
export async function usageOf(pid: number): Promise<{ rss: number; seconds: number } | null> {
  try {
    const [status, stat] = await Promise.all(
      ["status", "stat"].map((name) => readFile(`/proc/${pid}/${name}`, "utf8")),
    );
    const rss = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status!)?.[1]) * 1024;
    const fields = stat!.slice(stat!.lastIndexOf(")") + 2).split(" ");
    return { rss, seconds: (Number(fields[11]) + Number(fields[12])) / 100 };
  } catch {
    return null;
  }
}
