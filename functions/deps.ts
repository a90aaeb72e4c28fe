import { ChainReader } from "../lib/chain/reader.ts";
import { bellOf } from "./bell.ts";
import { type Config, configFromEnv } from "./config.ts";
import type { Chain } from "./glance.ts";
import type { Sink } from "./log.ts";
import type { Service } from "./metric-names.ts";
import type { Metrics } from "./metrics.ts";
import type { Nonces } from "./nonces.ts";
import type { Objects } from "./objects.ts";
import { Outbox } from "./outbox.ts";
import type { Store } from "./store.ts";

/** What an app works with. Nothing else is shared between requests. `S`: as much of the bucket as it needs. */
export interface Deps<S extends Objects = Store, C extends Chain = Chain> {
  readonly config: Config;
  readonly store: S;
  readonly chain: C;
  /** Where nonces are remembered; by default each app makes its own from the configuration. */
  readonly nonces?: Nonces;
  /** Milliseconds since the epoch; by default this machine's clock. */
  readonly clock?: () => number;
  /** Takes the log's lines; without it nothing is said. */
  readonly log?: Sink;
  /** Where a function counts; without it nothing is counted. */
  readonly metricsOf?: (service: Service) => Metrics;
}

/** What an app that accepts statements works with. */
export interface PostingDeps<S extends Objects = Store, C extends Chain = Chain> extends Deps<S, C> {
  readonly outbox: Outbox;
}

/**
 * The deps of a function in the cloud. `open`: makes the bucket, and no more of it than the function needs, because all of it
 * is in its bundle.
 * @throws WaybillError USAGE that names what is not set.
 */
export function depsFromEnv<S extends Objects>(
  env: Readonly<Record<string, string | undefined>>,
  open: (config: Config) => S,
): PostingDeps<S> {
  const config = configFromEnv(env);
  const store = open(config);
  const outbox = new Outbox(store, config, { bell: bellOf(config) });
  return { config, store, chain: new ChainReader(config), outbox };
}

export function nowOf(deps: Pick<Deps, "clock">): number {
  return (deps.clock ?? Date.now)();
}
