import type { Stage } from "./stages.ts";

type AlarmArgs = aws.cloudwatch.MetricAlarmArgs;
/** One metric, or several and what is made of them. */
export type Measured =
  | Pick<AlarmArgs, "namespace" | "metricName" | "dimensions" | "statistic">
  | Required<Pick<AlarmArgs, "metricQueries">>;

/** When an alarm goes off. */
export interface Rule {
  /** What has happened then; it stands in the e-mail. */
  readonly says: string;
  /** One of them. */
  readonly above?: number;
  readonly below?: number;
  /** The period over which is measured, and how many of them must be beyond: in a row, or of the last `within`. */
  readonly minutes: number;
  readonly times?: number;
  readonly within?: number;
  /** What it means when nothing was measured. By default nothing: who is not asked does not fail. */
  readonly silence?: "breaching" | "missing";
}

/** Alarms of a stage, all into one topic. */
export class Alarms {
  readonly #stage: Stage;
  readonly #topic: aws.sns.Topic;

  constructor(stage: Stage, topic: aws.sns.Topic) {
    this.#stage = stage;
    this.#topic = topic;
  }

  raise(name: string, rule: Rule, measured: Measured): void {
    const { says, above, below, minutes, times = 1, within = times, silence = "notBreaching" } = rule;
    new aws.cloudwatch.MetricAlarm(`Alarm${name}`, {
      name: `${$app.name}-${this.#stage.name}-${name}`,
      alarmDescription: `${says} docs/operate.md says what to do.`,
      threshold: (above ?? below)!,
      comparisonOperator: above === undefined ? "LessThanThreshold" : "GreaterThanThreshold",
      evaluationPeriods: within,
      datapointsToAlarm: times,
      treatMissingData: silence,
      alarmActions: [this.#topic.arn],
      okActions: [this.#topic.arn],
      ...measured,
      ...("metricQueries" in measured ? {} : { period: minutes * 60 }),
    });
  }
}

/** The sum of one of Lambda's metrics over functions: one alarm for all of them. */
export function summed(metricName: string, minutes: number, functions: readonly sst.aws.Function[]): Measured {
  const each = functions.map((fn, i) => ({
    id: `f${i}`,
    metric: {
      namespace: "AWS/Lambda",
      metricName,
      dimensions: { FunctionName: fn.name },
      period: minutes * 60,
      stat: "Sum",
    },
  }));
  return {
    metricQueries: [{ id: "total", expression: "SUM(METRICS())", label: metricName, returnData: true }, ...each],
  };
}

/** Counts the lines of a log that match; answers what an alarm reads. Several logs may count into one metric. */
export function counted(
  stage: Stage,
  metricName: string,
  logs: Readonly<Record<string, aws.cloudwatch.LogGroup>>,
  pattern: string,
): Measured {
  for (const [name, { name: logGroupName }] of Object.entries(logs))
    new aws.cloudwatch.LogMetricFilter(`Count${metricName}-${name}`, {
      logGroupName,
      pattern,
      metricTransformation: { namespace: stage.metrics, name: metricName, value: "1", unit: "Count" },
    });
  return { namespace: stage.metrics, metricName, statistic: "Sum" };
}
