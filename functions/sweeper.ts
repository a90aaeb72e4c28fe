import { ChainReader } from "../lib/chain/reader.ts";
import type { ChainView } from "../lib/chain/view.ts";
import { configFromEnv } from "./config.ts";
import { Log, type Sink, toStdout } from "./log.ts";
import { type Metrics, uncounted } from "./metrics.ts";
import type { EmfMetrics } from "./metrics-emf.ts";
import { Records } from "./records.ts";
import { Store } from "./store.ts";
import { Closing } from "./sweep/closing.ts";
import { type Place, type Reason, type SweepReport, Tally } from "./sweep/report.ts";
import { Run } from "./sweep/run.ts";
import { tellSweep } from "./sweep/telling.ts";

export type { Place, Reason, SweepReport };

export interface SweeperDeps {
  readonly store: Store;
  readonly chain: Pick<ChainView, "head" | "notice">;
  /** Milliseconds that a payload outlives its last deadline. */
  readonly retention: number;
  /** Milliseconds since 1970; by default the store's own clock, which dates what it lists, or ours if that one is ahead. */
  readonly clock?: () => number;
  /** Takes the log's lines; without it nothing is said. */
  readonly log?: Sink;
  /** Where it counts; without it nothing is counted. */
  readonly metrics?: Metrics;
}

export interface SweepOptions {
  /** How many milliseconds are left: a run stops in good time, and the next one goes on there. By default it has for ever. */
  readonly remaining?: () => number;
  readonly signal?: AbortSignal;
}

/** What is needed to end a run with a store at its slowest: a judgement's few calls, a page's deletes, the bookmark. */
const RESERVE_MS = 45_000;
/** After so many unanswered calls the store has enough to do without us. */
const MAX_FAILED = 100;

/**
 * Frees the bucket of what nobody needs any more: uploads that had no news for a day or that no record names, payloads
 * whose last deadline and retention are over by the store's clock and by the chain's, and those that nobody was told of
 * for a day.
 *
 * It walks over what is there (uploads and payloads; not the records, which stay for ever). Nothing goes before its record
 * says so, by if-match; and no transfer whose record says so ever uses that key again. So whatever is killed, held up or
 * done twice, by any number of sweepers at once, deletes only what was given up.
 */
export class Sweeper {
  readonly #deps: SweeperDeps;
  readonly #records: Records;
  readonly #log: Log;

  constructor(deps: SweeperDeps) {
    this.#deps = deps;
    this.#records = new Records(deps.store);
    this.#log = new Log("sweeper", deps.log);
  }

  /** One run, over all there is or as far as time goes. What doesn't answer is told in the report, and done by a later run. */
  async sweep({ remaining = () => Number.POSITIVE_INFINITY, signal }: SweepOptions = {}): Promise<SweepReport> {
    const {
      store,
      chain,
      retention,
      clock = () => Math.min(store.now(), Date.now()),
      metrics = uncounted,
    } = this.#deps;
    const tally = new Tally();
    const reserve = Math.min(RESERVE_MS, remaining() / 2); // a function with little time gets on, too
    const isOver = (): boolean =>
      signal?.aborted === true || remaining() < reserve || tally.count("failed") >= MAX_FAILED;
    const closing = new Closing(chain, this.#records, (error) => tally.blame(error));
    const scene = { store, records: this.#records, closing, retention };
    const report = tally.report(await new Run({ scene, clock, tally, isOver }).go());
    tellSweep(this.#log, metrics, report);
    return report;
  }
}

/** @throws WaybillError USAGE that names what is not set. */
function sweeperFromEnv(env: Readonly<Record<string, string | undefined>>, metrics: Metrics): Sweeper {
  const config = configFromEnv(env);
  const [store, chain] = [new Store(config), new ChainReader(config)];
  return new Sweeper({ store, chain, retention: config.retention, log: toStdout, metrics });
}

let deployed: Sweeper | null = null;
let counted: EmfMetrics | null = null;

/** The schedule. Whoever invokes it gets the report. */
export async function handler(_event: unknown, context: { getRemainingTimeInMillis(): number }): Promise<SweepReport> {
  const { EmfMetrics } = await import("./metrics-emf.ts"); // of no use elsewhere
  counted ??= new EmfMetrics("sweeper");
  try {
    deployed ??= sweeperFromEnv(process.env, counted);
    return await deployed.sweep({ remaining: () => context.getRemainingTimeInMillis() });
  } catch (error) {
    new Log("sweeper", toStdout).failure("the sweeper does not work", error);
    throw error;
  } finally {
    counted.flush();
  }
}
