import { METRICS, type MetricName, SERVICE_DIMENSION } from "../functions/metric-names.ts";
import { Alarms, counted, type Measured, summed } from "./alarm.ts";
import type { DeployedFunction } from "./functions.ts";
import type { Bell } from "./queue.ts";
import type { FunctionName } from "./rights.ts";
import type { Stage } from "./stages.ts";

/** What is watched. */
export interface Watched {
  readonly stage: Stage;
  readonly bell: Bell;
  readonly api: sst.aws.ApiGatewayV2;
  readonly functions: Readonly<Record<FunctionName, DeployedFunction>>;
}

/** What ends by itself (a node comes back, fees fall, confirmations come) does so in a quarter of an hour, or wants a person. */
const PATIENCE_MINUTES = 15;

/** Tells `topic` of everything that a person must see to. */
export function watch(watched: Watched, topic: aws.sns.Topic): void {
  const alarms = new Alarms(watched.stage, topic);
  watchPublisher(watched, alarms);
  watchApi(watched, alarms);
  watchFunctions(watched, alarms);
}

/** It works every minute, whatever rings. */
function watchPublisher({ stage, bell }: Watched, alarms: Alarms): void {
  alarms.raise(
    "BellDead",
    { says: "The publisher failed to take rings: it crashes, is too slow or is not started.", above: 0, minutes: 1 },
    {
      namespace: "AWS/SQS",
      metricName: "ApproximateNumberOfMessagesVisible",
      dimensions: { QueueName: bell.dead.nodes.queue.name },
      statistic: "Maximum",
    },
  );
  alarms.raise(
    "PublisherLags",
    { says: "No turn of the publisher came to its end.", below: 1, minutes: PATIENCE_MINUTES, silence: "breaching" },
    own(stage, "PublisherTurns", "Sum"),
  );
  alarms.raise(
    "PublisherFails",
    { says: "The publisher's turns fail, one after the other.", above: 0, minutes: 5, times: PATIENCE_MINUTES / 5 },
    own(stage, "PublisherFailures", "Sum"),
  );
  alarms.raise(
    "OutboxOld",
    { says: "A statement waits in the outbox for too long.", above: PATIENCE_MINUTES * 60, minutes: 5 },
    own(stage, "OutboxOldestAge", "Maximum"),
  );
  if (stage.minBalance === undefined) return;
  alarms.raise(
    "RelayerBalance",
    { says: "The relayer's account runs out of money.", below: stage.minBalance, minutes: 5, silence: "missing" },
    own(stage, "RelayerBalance", "Minimum"),
  );
}

function watchApi({ stage, api }: Watched, alarms: Alarms): void {
  const dimensions = { ApiId: api.nodes.api.id };
  alarms.raise(
    "Api5xx",
    { says: "The API answers with 5xx.", above: 5, minutes: 5, times: 2 },
    { namespace: "AWS/ApiGateway", metricName: "5xx", dimensions, statistic: "Sum" },
  );
  // There is no metric of what the API turns away by its rate, but its log has a line for each, where no function was asked:
  // a function's own 429 is one member's cap.
  alarms.raise(
    "ApiThrottles",
    { says: "The API turns requests away by its rate (WAYBILL_API_RATE).", above: 20, minutes: 5, times: 3 },
    counted(
      stage,
      "ApiThrottles",
      { api: api.nodes.logGroup },
      '{ ($.status = 429) && ($.functionMilliseconds = "-") }',
    ),
  );
}

function watchFunctions({ stage, functions }: Watched, alarms: Alarms): void {
  const lambdas = Object.values(functions).map(({ lambda }) => lambda);
  alarms.raise(
    "SweeperLags",
    { says: "For six hours no run of the sweeper ended well.", below: 1, minutes: 60, times: 6, silence: "breaching" },
    own(stage, "Sweeps", "Sum"),
  );
  // Twice in two hours: the sweeper has one chance an hour, and what it doesn't sweep is paid for.
  alarms.raise(
    "FunctionErrors",
    { says: "Functions crash or run out of time.", above: 0, minutes: 5, times: 2, within: 24 },
    summed("Errors", 5, lambdas),
  );
  alarms.raise(
    "FunctionThrottles",
    { says: "Functions are not started: the concurrency is used up.", above: 0, minutes: 5, times: 2 },
    summed("Throttles", 5, lambdas),
  );
  // What a function itself says that a person must end (ALARMS in functions/metric-names.ts).
  const logs = Object.fromEntries(Object.entries(functions).map(([name, fn]) => [name, fn.logs]));
  alarms.raise(
    "Conditions",
    { says: "A function needs a person: search its log for the field `alarm`.", above: 0, minutes: 5 },
    counted(stage, "Conditions", logs, "{ $.alarm = * }"),
  );
}

/** A metric that a function of ours writes. */
function own(stage: Stage, metricName: MetricName, statistic: "Sum" | "Maximum" | "Minimum"): Measured {
  const [service] = METRICS[metricName].services;
  return { namespace: stage.metrics, metricName, dimensions: { [SERVICE_DIMENSION]: service }, statistic };
}
