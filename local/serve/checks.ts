import { formatEther } from "ethers";
import { type Credentials, credentialsFrom } from "../../functions/credentials.ts";
import { Store } from "../../functions/store.ts";
import { ChainReader } from "../../lib/chain/reader.ts";
import { Rpc } from "../../lib/chain/rpc.ts";
import { type ErrorCode, WaybillError } from "../../lib/protocol/errors.ts";
import type { Head } from "../../lib/protocol/wire.ts";
import { checkBucket } from "./bucket.ts";
import type { Settings } from "./settings.ts";

/** What one look at the surroundings found. */
export interface Finding {
  readonly check: "chain" | "credentials" | "bucket" | "clock" | "relayer" | "origin";
  readonly state: "ok" | "warning" | "failed";
  /** One sentence, which for what failed also says what to do. */
  readonly text: string;
  /** Of what failed. */
  readonly code?: ErrorCode;
}

/** Signatures of requests are good for a minute, so a clock that is off by more is no use. */
const MAX_SKEW_MS = 30_000;

/** Looks whether a server would work with these settings; nothing of what it tries stays. */
export async function check(settings: Settings): Promise<Finding[]> {
  const [chain, bucket, relayer] = await Promise.all([
    checkChain(settings),
    checkStore(settings),
    checkRelayer(settings),
  ]);
  return [...chain, ...bucket, ...relayer, ...checkOrigin(settings)];
}

/** The first thing that is in the way, as an error. */
export function errorIn(findings: readonly Finding[]): WaybillError | null {
  const failed = findings.find(({ state }) => state === "failed");
  return failed ? new WaybillError(failed.code ?? "UNAVAILABLE", failed.text) : null;
}

const failed = (check: Finding["check"], code: ErrorCode, text: string): Finding => ({
  check,
  state: "failed",
  text,
  code,
});
const warning = (check: Finding["check"], text: string): Finding => ({ check, state: "warning", text });
const fine = (check: Finding["check"], text: string): Finding => ({ check, state: "ok", text });

/** Each node is asked: one that serves another chain, or doesn't answer, would be found out on a bad day. */
async function checkChain({ config }: Settings): Promise<Finding[]> {
  const { chainId, contract, staleAfter, fromBlock } = config;
  const urls = [config.rpc].flat();
  const looks = await Promise.all(urls.map((url) => lookAt(url, config)));
  const heads = looks.filter((look): look is Head => !(look instanceof WaybillError));
  const wrong = looks.find((look): look is WaybillError => look instanceof WaybillError && look.code !== "UNAVAILABLE");
  if (wrong)
    return [failed("chain", wrong.code, `${wrong.message} Check WAYBILL_RPC, WAYBILL_CHAIN_ID and WAYBILL_CONTRACT.`)];
  const proxy = looks.find(
    (look) => look instanceof WaybillError && /^(The proxy|A certificate behind) /.test(look.message),
  );
  const newest = Math.max(...heads.map(({ block }) => block));
  const timestamp = Math.max(...heads.map((head) => head.timestamp));
  if (heads.length === 0)
    return [
      failed(
        "chain",
        "UNREACHABLE",
        proxy instanceof WaybillError
          ? `No node of WAYBILL_RPC can be reached. ${proxy.message}`
          : "No node of WAYBILL_RPC answers. Check the URL, and that this machine may reach it.",
      ),
    ];
  const silent = urls.length - heads.length;
  const age = Date.now() - timestamp * 1000;
  return [
    fine("chain", `Chain ${chainId} is at block ${newest}, and the contract is at ${contract}.`),
    ...(silent > 0 ? [warning("chain", `${silent} of ${urls.length} nodes of WAYBILL_RPC do not answer.`)] : []),
    ...(fromBlock > newest ? [warning("chain", `WAYBILL_FROM_BLOCK is ${fromBlock}, beyond the newest block.`)] : []),
    ...(age < -MAX_SKEW_MS
      ? [warning("clock", "This machine's clock is behind the chain's newest block. Set it right.")]
      : []),
    ...(staleAfter !== undefined && age > staleAfter
      ? [
          warning(
            "chain",
            `The newest block is ${Math.round(age / 1000)} s old: until there is a newer one, nobody is let in.`,
          ),
        ]
      : []),
  ];
}

async function lookAt(url: string, config: Settings["config"]): Promise<Head | WaybillError> {
  const chain = new ChainReader({ ...config, rpc: url });
  try {
    return await chain.tip(true);
  } catch (error) {
    if (error instanceof WaybillError) return error;
    throw error;
  } finally {
    chain.close();
  }
}

async function checkStore({ config }: Settings): Promise<Finding[]> {
  const found = await credentialsFrom(config.s3Credentials)().catch((): Credentials | null => null);
  if (found === null)
    return [
      failed("credentials", "USAGE", "There are no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."),
    ];
  const store = new Store(config);
  try {
    const fault = await checkBucket(store, config);
    if (fault) return [failed("bucket", fault.code, fault.message)];
    const skew = store.now() - Date.now();
    return [
      fine("bucket", `The bucket ${config.bucket} writes once where it is told to, and checks every part's SHA-256.`),
      Math.abs(skew) > MAX_SKEW_MS
        ? warning(
            "clock",
            `This machine's clock differs from the store's by ${Math.round(Math.abs(skew) / 1000)} s. Set it right.`,
          )
        : fine("clock", "The store's clock and this machine's agree."),
    ];
  } finally {
    store.close();
  }
}

async function checkRelayer({ purse, config }: Settings): Promise<Finding[]> {
  if (purse === null) return [];
  const { relayer, fees } = purse;
  if (fees.kind === "free") return [fine("relayer", `The relayer is ${relayer.address}, and gas is free.`)];
  const rpc = new Rpc(config.rpc, { fetch: config.fetch });
  try {
    const balance = BigInt(String(await rpc.send("eth_getBalance", [relayer.address, "latest"])));
    if (balance > 0n)
      return [fine("relayer", `The relayer ${relayer.address} has ${formatEther(balance)} of the chain's coin.`)];
    return [
      warning(
        "relayer",
        `The relayer ${relayer.address} has no coin: nothing is published until somebody sends it some.`,
      ),
    ];
  } catch {
    return []; // what is wrong with the nodes is said already
  } finally {
    rpc.close();
  }
}

function checkOrigin({ config, listen, tls }: Settings): Finding[] {
  const { protocol, hostname } = new URL(config.apiOrigin);
  const here = /^(127\.|localhost$|\[::1\]$)/;
  if (tls !== null && protocol !== "https:")
    return [
      failed("origin", "USAGE", "WAYBILL_API_ORIGIN begins with http:, but this server speaks TLS. Write https:."),
    ];
  if (protocol === "http:" && !here.test(hostname))
    return [
      warning(
        "origin",
        "WAYBILL_API_ORIGIN is without TLS: whoever listens on the way can take presigned URLs. Use https:.",
      ),
    ];
  if (tls === null && !here.test(listen.host ?? "127.0.0.1"))
    return [warning("origin", "Connections are taken from other machines without TLS: let only your proxy in.")];
  return [fine("origin", `Members sign for ${config.apiOrigin}.`)];
}
