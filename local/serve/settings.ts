import { type Config, configFromEnv } from "../../functions/config.ts";
import { originsFromEnv } from "../../functions/cors.ts";
import { bucketUrl, endpointOf } from "../../functions/endpoint.ts";
import { feesFromEnv } from "../../functions/publisher.ts";
import type { Relayer } from "../../functions/relay.ts";
import { relayerFromEnv } from "../../functions/signers.ts";
import type { FeePolicy } from "../../lib/chain/fees.ts";
import { WaybillError } from "../../lib/protocol/errors.ts";
import type { Place, TlsFiles } from "../server.ts";
import { exchangeBy } from "./exchange.ts";

/** What the operator says beside the functions' own variables. */
export interface ServeChoices {
  readonly listen: Place;
  readonly tls: TlsFiles | null;
  /** Null: metrics are told to nobody. */
  readonly metrics: Place | null;
  readonly publisher: boolean;
  readonly sweeper: boolean;
  /** "memory": only where this is the only process that serves the API. */
  readonly nonces: Config["nonces"];
  readonly maxConnections: number;
  /** Milliseconds for which /health says that we are leaving before connections are refused. */
  readonly drainWait: number;
}

/** How the server's own requests get out of here: to its nodes, its store, its key. */
export interface WayOut {
  readonly fetch: typeof fetch;
  /** Whether it is another way than straight on. @throws WaybillError USAGE for a proxy that can't be used. */
  isProxied(url: URL): boolean;
}

/** Who publishes, and what it may pay. */
export interface Purse {
  readonly relayer: Relayer;
  readonly fees: FeePolicy;
}

export interface Settings extends ServeChoices {
  readonly config: Config;
  /** Null: another process publishes. */
  readonly purse: Purse | null;
  /** Exact origins of the web pages that may use the API. */
  readonly origins: readonly string[];
}

/**
 * Everything that a server is told: the functions' variables, and the choices.
 * @throws WaybillError USAGE that names what is missing or malformed, and never a value.
 */
export async function readSettings(
  env: Readonly<Record<string, string | undefined>>,
  choices: ServeChoices,
  way: WayOut,
): Promise<Settings> {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== "")); // an empty one says nothing
  const told = configFromEnv(given);
  const origins = originsFromEnv(given);
  const around = (url: URL): Pick<Config, "exchange"> =>
    way.isProxied(url) ? { exchange: exchangeBy(way.fetch) } : {};
  const ways = { ...around(bucketUrl(told)), fetch: way.fetch };
  const config: Config = { ...told, ...ways, longPoll: true, nonces: choices.nonces };
  if (!choices.publisher) return { ...choices, config, origins, purse: null };
  const fees = feesFromEnv(given);
  const { region } = config;
  const relayer = await relayerFromEnv(given, region, around(endpointOf("kms", region)).exchange);
  return { ...choices, config, origins, purse: { fees, relayer } };
}

/** @throws WaybillError USAGE unless both files are named, or none. */
export function tlsOf(cert: string | undefined, key: string | undefined): TlsFiles | null {
  if (cert !== undefined && key !== undefined) return { cert, key };
  if (cert === undefined && key === undefined) return null;
  throw new WaybillError("USAGE", "--tls-cert and --tls-key go together.");
}
