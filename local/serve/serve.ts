import { stat } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { createApi } from "../../functions/api.ts";
import { bellOf } from "../../functions/bell.ts";
import { Log, type Sink } from "../../functions/log.ts";
import { runPublisher } from "../../functions/loop.ts";
import { Registry } from "../../functions/metrics.ts";
import { Outbox } from "../../functions/outbox.ts";
import { Publisher } from "../../functions/publisher.ts";
import { Store } from "../../functions/store.ts";
import { runSweeper } from "../../functions/sweep/loop.ts";
import { Sweeper } from "../../functions/sweeper.ts";
import { DoorBell } from "../../functions/wake.ts";
import { ChainReader } from "../../lib/chain/reader.ts";
import { type Monitor, startMonitor } from "../prometheus.ts";
import { type Server, startServer, type TlsFiles } from "../server.ts";
import { Readiness } from "./readiness.ts";
import type { Settings } from "./settings.ts";
import { runTidier } from "./tidy.ts";

/** Of other processes' statements a publisher learns by looking: one LIST each time, and nobody waits longer. */
const LOOK_MS = 2_000;
/** A bit less than what service managers and orchestrators wait before they kill. */
const LEAVE_MS = 25_000;
/** Certificates are renewed every few weeks, and nobody should have to tell us. */
const CERTIFICATE_MS = 60_000;

/** A running server. */
export interface Serving {
  /** Where it listens, such as http://127.0.0.1:8080; members know it by its public origin. */
  readonly origin: string;
  /** Where metrics are told, or null. */
  readonly metrics: string | null;
  /**
   * Takes no more connections, ends what waits, finishes what runs, and ends the publisher between two steps; what takes longer
   * than 25 s is left as it is: whoever comes next goes on with it.
   * @returns Whether nothing runs any more.
   */
  leave(): Promise<boolean>;
}

/** Serves the API, and publishes and sweeps unless told otherwise. @throws WaybillError USAGE when it can't listen there. */
export async function startServing(settings: Settings, sink: Sink, version: string): Promise<Serving> {
  const { config, listen, tls, maxConnections, origins } = settings;
  const log = new Log("serve", sink);
  const counted = new Registry();
  const store = new Store(config);
  const chain = new ChainReader(config);
  const readiness = new Readiness(store, chain);
  let monitor: Monitor | null = null;
  const server = await startServer({
    ...listen,
    maxConnections,
    origins,
    ...(tls && { tls }),
    onExchange: (exchange) => monitor?.note(exchange),
  });
  try {
    const told = { samples: () => counted.samples(), version, running: () => server.running, ready: readiness.ask };
    monitor = settings.metrics && (await startMonitor(settings.metrics, told));
  } catch (error) {
    await server.stop();
    throw error;
  }
  const bell = new DoorBell();
  const outbox = new Outbox(store, config, { bell: settings.purse ? bell.ring : bellOf(config) });
  server.mount(createApi({ config, store, chain, outbox, metricsOf: (service) => counted.of(service), log: sink }));
  const ending = new AbortController();
  const work = startWork(settings, { store, chain, counted, sink, log, bell, server, signal: ending.signal });
  log.info("serving", { detail: `on ${server.origin} for ${config.apiOrigin}` });
  const leave = async (): Promise<boolean> => {
    log.info("leaving", { count: server.running });
    server.announce();
    await delay(settings.drainWait);
    ending.abort();
    const limit = delay(LEAVE_MS, false as const, { ref: false });
    const [cut, idle] = await Promise.all([server.drain(LEAVE_MS), Promise.race([work.then(() => true), limit])]);
    await monitor?.stop();
    if (cut > 0 || !idle) log.warn("left before all was done", { count: cut });
    else log.info("left");
    store.close();
    chain.close();
    return cut === 0 && idle;
  };
  return { origin: server.origin, metrics: monitor?.origin ?? null, leave };
}

interface Work {
  readonly store: Store;
  readonly chain: ChainReader;
  readonly counted: Registry;
  readonly sink: Sink;
  readonly log: Log;
  readonly bell: DoorBell;
  readonly server: Server;
  readonly signal: AbortSignal;
}

/** What goes on beside answering, until `signal` aborts. */
async function startWork({ config, purse, sweeper, tls }: Settings, deps: Work): Promise<void> {
  const { store, chain, counted, sink, log, bell, signal, server } = deps;
  const running: Promise<void>[] = [];
  if (purse) {
    const publisher = new Publisher({ ...config, ...purse, store, log: sink, metrics: counted.of("publisher") });
    const loop = runPublisher(publisher, { signal, bell, log: sink, idle: LOOK_MS });
    running.push(loop.then(() => publisher.close()));
  }
  if (sweeper) {
    const { retention } = config;
    const sweeping = new Sweeper({ store, chain, retention, log: sink, metrics: counted.of("sweeper") });
    running.push(runSweeper(sweeping, { signal }), runTidier(store, { signal, log }));
  }
  if (tls) running.push(watchCertificate(tls, { server, log, signal }));
  await Promise.all(running);
}

async function watchCertificate(
  { cert, key }: TlsFiles,
  { server, log, signal }: Pick<Work, "server" | "log" | "signal">,
): Promise<void> {
  const changed = async (): Promise<string> => {
    const times = await Promise.all([cert, key].map((file) => stat(file).then(({ mtimeMs }) => mtimeMs)));
    return times.join(" ");
  };
  let known = await changed().catch(() => "");
  for (;;) {
    await delay(CERTIFICATE_MS, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    try {
      const now = await changed();
      if (now === known) continue;
      await server.renew();
      known = now;
      log.info("the certificate was read again");
    } catch (error) {
      log.failure("the certificate can't be read again; the old one is used", error);
    }
  }
}
