import { ChainReader } from "../lib/chain/reader.ts";
import { bellOf } from "./bell.ts";
import { type Config, configFromEnv } from "./config.ts";
import type { Nonces } from "./nonces.ts";
import { Outbox } from "./outbox.ts";
import { Store } from "./store.ts";

/** What an app works with. Nothing else is shared between requests. */
export interface Deps {
  readonly config: Config;
  readonly store: Store;
  readonly chain: ChainReader;
  /** Where nonces are remembered; by default each app makes its own from the configuration. */
  readonly nonces?: Nonces;
  /** Milliseconds since the epoch; by default this machine's clock. */
  readonly clock?: () => number;
}

/** What an app that accepts statements works with. */
export interface PostingDeps extends Deps {
  readonly outbox: Outbox;
}

/** The deps of a function in the cloud. @throws WaybillError USAGE that names what is not set. */
export function depsFromEnv(env: Readonly<Record<string, string | undefined>>): PostingDeps {
  const config = configFromEnv(env);
  const store = new Store(config);
  return { config, store, chain: new ChainReader(config), outbox: new Outbox(store, config, { bell: bellOf(config) }) };
}

export function nowOf(deps: Deps): number {
  return (deps.clock ?? Date.now)();
}
