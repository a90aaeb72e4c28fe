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
type Counter = MetricDefinition & { readonly kind: "counter" };
type Gauge = MetricDefinition & { readonly kind: "gauge" };

const counter = (unit: MetricUnit, services: readonly Service[], doc: string): Counter => ({
  unit,
  kind: "counter",
  services,
  doc,
});

const gauge = (unit: MetricUnit, services: readonly Service[], doc: string): Gauge => ({
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
  ProgressReports: counter("Count", ["downloads"], "Reports of recipients that were taken, of how far they are."),
  Refusals: counter(
    "Count",
    ["uploads", "downloads", "tasks"],
    "Requests that were answered with a problem; by the dimension `code`.",
  ),
  OutboxDepth: gauge("Count", ["publisher"], "Statements that wait in the outbox, of the first 10,000."),
  OutboxOldestAge: gauge("Seconds", ["publisher"], "Age of the oldest statement in the outbox; 0 when it is empty."),
  PublisherTurns: counter("Count", ["publisher"], "Turns of the publisher that came to their end."),
  PublisherFailures: counter("Count", ["publisher"], "Turns of the publisher that threw; the bell rings again."),
  StatementsSettled: counter("Count", ["publisher"], "Statements whose transaction is final on the chain."),
  StatementsRefused: counter("Count", ["publisher"], "Statements that were settled as refused, with their reason."),
  GasUsed: counter("Count", ["publisher"], "Gas that settled transactions of the relayer used."),
  RelayerBalance: gauge("None", ["publisher"], "The relayer's balance in whole coin (the chain's unit of 10^18 wei)."),
  Attempts: counter("Count", ["publisher"], "Transactions that were broadcast again with a raised fee."),
  Sweeps: counter("Count", ["sweeper"], "Runs of the sweeper in which nothing failed."),
  SweptPayloads: counter("Count", ["sweeper"], "Payloads that the sweeper deleted."),
  SweptBytes: counter("Bytes", ["sweeper"], "Bytes of the payloads that the sweeper deleted."),
  AbortedUploads: counter("Count", ["sweeper"], "Multipart uploads that the sweeper aborted."),
} as const satisfies Readonly<Record<string, MetricDefinition>>;

/** The name of a metric. */
export type MetricName = keyof typeof METRICS;

/** The names of those that are summed. */
export type CounterName = { [N in MetricName]: (typeof METRICS)[N] extends Counter ? N : never }[MetricName];
/** The names of those that say how things stand. */
export type GaugeName = Exclude<MetricName, CounterName>;

/**
 * Conditions that a person must end. Each is told by a line of the log with level ERROR and the field `alarm`, once for as
 * long as it lasts; a metric filter over `{ $.alarm = * }` counts them all.
 */
export const ALARMS = {
  FEES_ABOVE_CAP: "The chain asks for higher fees than WAYBILL_MAX_FEE_PER_GAS: publishing waits until they fall.",
  NO_FUNDS: "The relayer's account can't pay for the next transaction: publishing waits until it is filled.",
  NONCE_GIVEN_UP:
    "A transaction was not mined however often it was raised: its nonce is used up by a transfer of nothing.",
  RECORD_DAMAGED:
    "A transfer's record can't be read, so nobody can judge its payload, which stays: see the line's ids.",
  MISCONFIGURED: "The function can't work with its environment: see the line's detail.",
} as const;
/** The name of such a condition. */
export type AlarmCode = keyof typeof ALARMS;
