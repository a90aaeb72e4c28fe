/**
 * Every metric that the functions write, named once: the functions count under these names, the alarms of
 * infra/ read under them. It imports nothing, so that either side can have it.
 */

/** The CloudWatch namespace of every metric. */
export const METRIC_NAMESPACE = "Waybill";

/** The dimension that each metric carries: which function wrote it. */
export const SERVICE_DIMENSION = "service";

/** The second dimension, which only `Refusals` carries: the problem's code, as `waybill.expired`. */
export const CODE_DIMENSION = "code";

/** The functions that write metrics; the values of the dimension `service`. */
export const SERVICES = ["uploads", "downloads", "tasks", "publisher", "sweeper"] as const;
/** One of the functions. */
export type Service = (typeof SERVICES)[number];

/** The units that are used, as CloudWatch spells them. */
export type MetricUnit = "Count" | "Bytes" | "Seconds" | "None";

/** What is known of a metric before anything is counted. */
export interface MetricDefinition {
  readonly unit: MetricUnit;
  /** `counter` is summed over its data points; `gauge` says how things stood, so its maximum or last value counts. */
  readonly kind: "counter" | "gauge";
  /** Which functions write it. */
  readonly services: readonly Service[];
  /** What one of it is. */
  readonly doc: string;
}

const counter = (unit: MetricUnit, services: readonly Service[], doc: string): MetricDefinition => ({
  unit,
  kind: "counter",
  services,
  doc,
});

const gauge = (unit: MetricUnit, services: readonly Service[], doc: string): MetricDefinition => ({
  unit,
  kind: "gauge",
  services,
  doc,
});

/** The metrics by name. */
export const METRICS = {
  Transfers: counter("Count", ["uploads"], "Uploads that were finished: stored, signed for and written to the outbox."),
  TransferBytes: counter("Bytes", ["uploads"], "Bytes of the payloads of finished uploads."),
  SignCalls: counter("Count", ["uploads"], "Calls that asked for part URLs and were answered with some."),
  PartUrls: counter("Count", ["uploads"], "Part URLs that were presigned."),
  Downloads: counter("Count", ["downloads"], "Download URLs that were handed out."),
  Refusals: counter(
    "Count",
    ["uploads", "downloads", "tasks"],
    "Requests that were answered with a problem; by the dimension `code`.",
  ),
  OutboxDepth: gauge("Count", ["publisher"], "Statements in the outbox that no settled transaction carries yet."),
  OutboxOldestAge: gauge("Seconds", ["publisher"], "Age of the oldest statement in the outbox; 0 when it is empty."),
  PublisherTurns: counter("Count", ["publisher"], "Turns of the publisher that came to their end."),
  PublisherFailures: counter("Count", ["publisher"], "Turns of the publisher that threw; the bell rings again."),
  StatementsSettled: counter("Count", ["publisher"], "Statements whose transaction is final on the chain."),
  StatementsRefused: counter("Count", ["publisher"], "Statements that were settled as refused, with their reason."),
  GasUsed: counter("Count", ["publisher"], "Gas that settled transactions of the relayer used."),
  RelayerBalance: gauge("None", ["publisher"], "The relayer's balance in whole coin (the chain's unit of 10^18 wei)."),
  Attempts: counter("Count", ["publisher"], "Transactions that were broadcast again with a raised fee."),
  SweptPayloads: counter("Count", ["sweeper"], "Payloads that the sweeper deleted."),
  SweptBytes: counter("Bytes", ["sweeper"], "Bytes of the payloads that the sweeper deleted."),
  AbortedUploads: counter("Count", ["sweeper"], "Multipart uploads that the sweeper aborted."),
} as const satisfies Readonly<Record<string, MetricDefinition>>;

/** The name of a metric. */
export type MetricName = keyof typeof METRICS;
