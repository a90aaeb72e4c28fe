import { GiB, MiB } from "../../lib/protocol/limits.ts";
import { choosePartSize, partCount, planOf } from "../../lib/protocol/plan.ts";
import type { Measured } from "./measured.ts";
import { Model, type Plan, type Round } from "./model.ts";
import { dollars, gasPrice, type Price, prices } from "./prices.ts";

/** GB of memory of each function, as infra/functions.ts has it. */
export const MEMORY_GB = { uploads: 0.5, downloads: 0.5, tasks: 0.5, publisher: 1, sweeper: 0.5 } as const;
/**
 * Lambda's own lines (start, report), API Gateway's line for each request, and a line of metrics wherever something is counted:
 * nobody here writes those, so they are assumed.
 */
export const PLATFORM_LOG_BYTES = { invocation: 700, request: 450, metrics: 400 } as const;
/** Hours that a payload lies there: until its notice's deadline, the retention, and until the sweeper comes. */
export const KEPT_HOURS = { retention: 24, sweeper: 1 } as const;
/** The default deadline, in seconds: 10 minutes and one per MiB. */
const deadlineS = (bytes: number): number => 600 + bytes / MiB;
const HOURS_A_MONTH = 730;
const MINUTES_A_MONTH = HOURS_A_MONTH * 60;

/** What somebody would like to know the cost of. */
export interface Scenario {
  readonly name: string;
  readonly members: number;
  readonly bytes: number;
  readonly busyMinutes: number;
  readonly quietMinutes: number;
}

/** Minutes in which models and updates travel, and minutes of training: what a model of that size makes plausible. */
const PACE = { small: { busyMinutes: 10, quietMinutes: 30 }, large: { busyMinutes: 60, quietMinutes: 60 } } as const;

export const scenarios: readonly Scenario[] = [10, 100, 1_000].flatMap((members) => [
  { name: `${members} x 100 MiB`, members, bytes: 100 * MiB, ...PACE.small },
  { name: `${members} x 5 GiB`, members, bytes: 5 * GiB, ...PACE.large },
]);

export function planFor({ members, bytes, busyMinutes, quietMinutes }: Scenario): Plan {
  const parts = partCount(planOf(bytes));
  return { members, parts, partMiB: choosePartSize(bytes) / MiB, busyMinutes, quietMinutes };
}

/** A row of the bill. */
export interface Line {
  readonly name: string;
  readonly group: "service" | "transfer" | "gas";
  readonly price: Price;
  /** Decimals that are shown, and reckoned with. */
  readonly decimals: number;
  readonly quantity: (round: Round, scenario: Scenario) => number;
}

export const lines: readonly Line[] = [
  line("API requests, to get something done", prices.httpApi, ({ work }) => requestsOf(work)),
  line("API requests, to look for news", prices.httpApi, ({ polled }) => polled.requests),
  line("Lambda invocations", prices.lambdaRequests, (round) => invocationsOf(round)),
  line("Lambda GB-seconds", prices.lambdaTime, (round) => gbSecondsOf(round), 1),
  line("S3 PUT, POST, LIST", prices.s3Put, ({ work, published }) => work.put + published.put),
  line("S3 GET, HEAD", prices.s3Get, ({ work, published }) => work.get + published.get),
  line("S3 GB-months", prices.s3Storage, (_round, scenario) => storedOf(scenario), 3),
  line("SQS requests", prices.sqs, ({ published }) => published.sqs),
  line("KMS signatures", prices.kmsSign, ({ published }) => published.transactions),
  line("logs, GB", prices.logs, (round) => logsOf(round), 4),
  transfer("models to members outside of AWS, GB", (_round, { members, bytes }) => (members * bytes) / GiB),
  transfer("updates to an aggregator outside of AWS, GB", (_round, { members, bytes }) => (members * bytes) / GiB),
  transfer("the API's answers, GB", ({ work, polled }) => (work.answerBytes + polled.answerBytes) / GiB),
  line("gas", gasPrice, ({ published }) => published.gas, 0, "gas"),
];

/** A figure as it stands on the page, and the dollars that follow from just that. */
export interface Cell {
  readonly quantity: number;
  readonly usd: number;
}

export interface Bill {
  readonly scenario: Scenario;
  readonly round: Round;
  readonly cells: readonly Cell[];
}

export function billFor(model: Model, scenario: Scenario): Bill {
  const round = model.round(planFor(scenario));
  const cells = lines.map(({ quantity, decimals, price }) => cellOf(quantity(round, scenario), decimals, price));
  return { scenario, round, cells };
}

export function billsFor(measured: Measured): Bill[] {
  const model = new Model(measured);
  return scenarios.map((scenario) => billFor(model, scenario));
}

/** Cents and their hundredths, so that what is shown adds up. */
export function totalOf({ cells }: Pick<Bill, "cells">, ...groups: Line["group"][]): number {
  const some = cells.filter((_, i) => groups.includes(lines[i]!.group));
  return rounded(
    some.reduce((sum, { usd }) => sum + usd, 0),
    4,
  );
}

function line(
  name: string,
  price: Price,
  quantity: Line["quantity"],
  decimals = 0,
  group: Line["group"] = "service",
): Line {
  return { name, group, price, decimals, quantity };
}

function transfer(name: string, quantity: Line["quantity"]): Line {
  return { name, group: "transfer", price: prices.transfer, decimals: 3, quantity };
}

function cellOf(quantity: number, decimals: number, price: Price): Cell {
  const shown = rounded(quantity, decimals);
  return { quantity: shown, usd: rounded(dollars(shown, price), 4) };
}

function rounded(value: number, decimals: number): number {
  return Number(value.toFixed(decimals));
}

function requestsOf({ uploads, downloads, tasks }: Round["work"]): number {
  return uploads + downloads + tasks;
}

function invocationsOf({ work, polled, published }: Round): number {
  return requestsOf(work) + polled.requests + published.invocations;
}

function gbSecondsOf({ seconds, published }: Round): number {
  return (
    seconds.uploads * MEMORY_GB.uploads +
    seconds.downloads * MEMORY_GB.downloads +
    seconds.tasks * MEMORY_GB.tasks +
    published.seconds * MEMORY_GB.publisher
  );
}

/** All payloads of the round: the model, and an update of the same size of each member. */
function storedOf({ members, bytes }: Scenario): number {
  const hours = deadlineS(bytes) / 3_600 + KEPT_HOURS.retention + KEPT_HOURS.sweeper;
  return (((members + 1) * bytes) / GiB) * (hours / HOURS_A_MONTH);
}

function logsOf(round: Round): number {
  const { work, polled, published } = round;
  const requests = requestsOf(work) + polled.requests;
  const platform = invocationsOf(round) * PLATFORM_LOG_BYTES.invocation + requests * PLATFORM_LOG_BYTES.request;
  const metrics = (requestsOf(work) + published.invocations) * PLATFORM_LOG_BYTES.metrics;
  return (work.logBytes + polled.logBytes + published.logBytes + platform + metrics) / GiB;
}

/** Looks of Lambda at a queue in which nothing is: five connections that ask three times a minute. */
export const QUEUE_LOOKS_A_MINUTE = 15;
/** Alarms are billed by the metrics that they look at; infra/alarms.ts has eleven alarms, of which two look at all five functions. */
export const ALARM_METRICS = 19;
/** Metrics that are written while nothing goes on: the publisher's gauges and turns, and sweeps. The others come with what they count. */
export const IDLE_METRICS = 5;

/** A row of a month in which nothing goes on. */
export interface IdleLine {
  readonly name: string;
  readonly price: Price;
  readonly decimals: number;
  readonly quantity: (tick: Measured["idleTick"]) => number;
}

export const idleLines: readonly IdleLine[] = [
  idle("relayer's key in KMS", prices.kmsKey, () => 1),
  idle("alarms, by metric", prices.alarm, () => ALARM_METRICS),
  idle("metrics of our own", prices.metric, () => IDLE_METRICS),
  idle("ticks of the publisher's clock", prices.schedule, () => MINUTES_A_MONTH),
  idle("ticks of the sweeper's clock", prices.schedule, () => HOURS_A_MONTH),
  idle("Lambda invocations", prices.lambdaRequests, () => MINUTES_A_MONTH + HOURS_A_MONTH),
  idle("publisher's GB-seconds", prices.lambdaTime, ({ seconds }) => MINUTES_A_MONTH * seconds * MEMORY_GB.publisher),
  idle("S3 LIST by the publisher", prices.s3Put, ({ put }) => MINUTES_A_MONTH * put),
  idle("S3 GET by the publisher", prices.s3Get, ({ get }) => MINUTES_A_MONTH * get),
  idle("looks at the empty queue", prices.sqs, () => MINUTES_A_MONTH * QUEUE_LOOKS_A_MINUTE),
  idle("logs, GB", prices.logs, ({ logBytes }) => idleLogs(logBytes), 3),
];

export function idleCells({ idleTick }: Pick<Measured, "idleTick">): Cell[] {
  return idleLines.map(({ quantity, decimals, price }) => cellOf(quantity(idleTick), decimals, price));
}

export function idleTotal(cells: readonly Cell[]): number {
  return rounded(
    cells.reduce((sum, { usd }) => sum + usd, 0),
    4,
  );
}

/** Calls of the chain's node in a month: its price is its owner's affair. */
export function idleCalls({ idleTick }: Pick<Measured, "idleTick">): number {
  return Math.round(MINUTES_A_MONTH * idleTick.rpc);
}

function idleLogs(bytes: number): number {
  return (MINUTES_A_MONTH * (bytes + PLATFORM_LOG_BYTES.invocation + PLATFORM_LOG_BYTES.metrics)) / GiB;
}

function idle(name: string, price: Price, quantity: IdleLine["quantity"], decimals = 0): IdleLine {
  return { name, price, decimals, quantity };
}
