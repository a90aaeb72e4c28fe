import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { METRICS, type MetricDefinition, type MetricName } from "../functions/metric-names.ts";
import type { Sample } from "../functions/metrics.ts";
import { routes } from "../functions/routes.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import type { Exchange, Place } from "./server.ts";

/** What is told to a monitoring system. */
export interface Told {
  /** What the functions have counted. */
  readonly samples: () => readonly Sample[];
  /** The package's. */
  readonly version: string;
  /** Requests that are being answered, where there is a server that knows. */
  readonly running?: () => number;
  /** Whether work can be done: null, or what is in the way. Asked for by /ready. */
  readonly ready?: () => Promise<string | null>;
}

/** A listener for a monitoring system, of its own: what it tells is nobody else's. */
export interface Monitor {
  /** http://127.0.0.1:<port> */
  readonly origin: string;
  /** Counts a request of the API. */
  note(exchange: Exchange): void;
  stop(): Promise<void>;
}

/** Waiting for events takes up to 20 s, all else mostly less than one. */
const SECONDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** Paths of the table, with any ids; what isn't in it counts as one, because strangers may ask for anything. */
const PATHS: readonly (readonly [RegExp, string])[] = [
  ...[...new Set(Object.values(routes).map(({ path }) => path))].map(
    (path) => [new RegExp(`^${path.replaceAll(/\{\w+\}/g, "[^/]+")}$`), path] as const,
  ),
  ...["/health", "/openapi.json", "/docs"].map((path) => [new RegExp(`^${path}$`), path] as const),
];
const METHODS = new Set(["GET", "POST", "PUT", "DELETE"]);

/** Tells /metrics in Prometheus' text format, and /health and /ready. @throws WaybillError USAGE when it can't listen there. */
export async function startMonitor(place: Place, told: Told): Promise<Monitor> {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  registerCounted(registry, told);
  const seconds = registerExchanges(registry, told);
  const server = createServer((request, response) => {
    void answer(request.url ?? "", registry, told).then(({ status, type, text }) => {
      response.writeHead(status, { "content-type": type, "cache-control": "no-store" }).end(text);
    });
  });
  const { host = "127.0.0.1", port = 0 } = place;
  await new Promise<void>((resolve, reject) => {
    server.once("error", ({ code = "unknown" }: NodeJS.ErrnoException) =>
      reject(new WaybillError("USAGE", `Metrics can't be told on ${host}:${port} (${code}). Choose another port.`)),
    );
    server.listen(port, host, () => resolve());
  });
  const { address, family, port: chosen } = server.address() as AddressInfo;
  return {
    origin: `http://${family === "IPv6" ? `[${address}]` : address}:${chosen}`,
    note: ({ method, url, status, seconds: took }) =>
      seconds.observe({ route: `${METHODS.has(method) ? method : "other"} ${pathOf(url)}`, status }, took),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

async function answer(url: string, registry: Registry, { ready }: Told): Promise<Answer> {
  const json = (status: number, value: object): Answer => ({
    ...{ status, type: "application/json", text: JSON.stringify(value) },
  });
  switch (url.split("?", 1)[0]) {
    case "/metrics":
      return { status: 200, type: registry.contentType, text: await registry.metrics() };
    case "/health":
      return json(200, { ok: true });
    case "/ready": {
      const obstacle = (await ready?.()) ?? null;
      return obstacle === null ? json(200, { ok: true }) : json(503, { ok: false, detail: obstacle });
    }
    default:
      return json(404, { ok: false, detail: "There are /metrics, /health and /ready." });
  }
}

/** The functions' own metrics: what they have counted is read when somebody asks for it. */
function registerCounted(registry: Registry, { samples, version }: Told): void {
  for (const [name, definition] of Object.entries(METRICS) as [MetricName, MetricDefinition][]) {
    const labelNames = name === "Refusals" ? ["service", "code"] : ["service"];
    const options = { name: nameOf(name), help: definition.doc, labelNames, registers: [registry] };
    const mine = () => samples().filter((sample) => sample.name === name);
    const labelsOf = ({ service, code }: Sample) => ({ service, ...(code !== null && { code }) });
    if (definition.kind === "gauge") {
      const gauge: Gauge = new Gauge({
        ...options,
        collect: () => {
          for (const sample of mine()) gauge.set(labelsOf(sample), sample.value);
        },
      });
    } else {
      const counter: Counter = new Counter({
        ...options,
        collect: () => {
          counter.reset();
          for (const sample of mine()) counter.inc(labelsOf(sample), sample.value);
          // A counter that is there from the beginning shows its first step, too.
          const counted = new Set(mine().map(({ service }) => service));
          if (name !== "Refusals")
            for (const service of definition.services) if (!counted.has(service)) counter.inc({ service }, 0);
        },
      });
    }
  }
  const info = { name: "waybill_build_info", help: "Which Waybill runs.", labelNames: ["version"] };
  new Gauge({ ...info, registers: [registry] }).set({ version }, 1);
}

function registerExchanges(registry: Registry, { running }: Told): Histogram<"route" | "status"> {
  if (running) {
    const gauge: Gauge = new Gauge({
      name: "waybill_http_requests_running",
      help: "Requests that are being answered, and those that wait for an event.",
      registers: [registry],
      collect: () => gauge.set(running()),
    });
  }
  return new Histogram({
    name: "waybill_http_request_seconds",
    help: "Time from a request's header to the end of its answer.",
    labelNames: ["route", "status"],
    buckets: SECONDS,
    registers: [registry],
  });
}

/** As Prometheus names things: the unit and `total` behind. */
function nameOf(name: MetricName): string {
  const { kind, unit } = METRICS[name];
  const snake = name.replaceAll(/(?<=[a-z])(?=[A-Z])/g, "_").toLowerCase();
  return `waybill_${snake}${unit === "Seconds" ? "_seconds" : ""}${kind === "counter" ? "_total" : ""}`;
}

function pathOf(url: string): string {
  const path = url.split("?", 1)[0] ?? "";
  return PATHS.find(([pattern]) => pattern.test(path))?.[1] ?? "other";
}
