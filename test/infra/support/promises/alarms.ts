import { expect } from "vitest";
import type { JsonObject } from "../evaluate/order.ts";
import { capitalized, type Graph } from "../graph.ts";
import { NAMES } from "./functions.ts";
import { inDev, inFull, inProduction, type Promised } from "./promise.ts";

const TOPIC = "arn:aws:sns:eu-central-1:123456789012:waybill-production-alarms";

/** An alarm in one line: what it measures, when it goes off, and what silence means. */
function alarm(graph: Graph, name: string): string {
  const { inputs } = graph.one("aws:cloudwatch/metricAlarm:MetricAlarm", `Alarm${name}`);
  const { namespace, metricName, dimensions = {}, statistic, period, metricQueries } = inputs;
  const of = Object.values(dimensions as JsonObject).map((value) => String(value).replace(/-[0-9a-f]{8}$/, ""));
  const measured = metricQueries ? queries(metricQueries as unknown as Query[]) : `${namespace}/${metricName}`;
  const sign = inputs.comparisonOperator === "GreaterThanThreshold" ? ">" : "<";
  const [enough, looked] = [inputs.datapointsToAlarm, inputs.evaluationPeriods];
  const times = enough === looked ? enough : `${enough} of ${looked}`;
  const seconds = metricQueries ? "" : ` in ${period} s`;
  const beyond = `${statistic ?? "Sum"} ${sign} ${inputs.threshold}${seconds}, ${times} times`;
  return `${[measured, ...of].join(" ")} ${beyond}; silence: ${inputs.treatMissingData}`;
}

interface Query {
  readonly expression?: string;
  readonly metric?: { namespace: string; metricName: string; dimensions: { FunctionName: string }; period: number };
}

function queries(given: Query[]): string {
  const [total, ...each] = given;
  const lambdas = each.map(({ metric }) => /-(\w+)Function-/.exec(metric!.dimensions.FunctionName)?.[1] ?? "");
  expect(lambdas.sort()).toEqual(NAMES.map(capitalized).sort());
  const metrics = new Set(
    each.map(({ metric }) => `${metric!.namespace}/${metric!.metricName} in ${metric!.period} s`),
  );
  return `${total!.expression} of ${[...metrics].join(", ")}`;
}

const ALARMS: Readonly<Record<string, string>> = {
  BellDead: "AWS/SQS/ApproximateNumberOfMessagesVisible BellDead Maximum > 0 in 60 s, 1 times; silence: notBreaching",
  PublisherLags: "Waybill/PublisherTurns publisher Sum < 1 in 900 s, 1 times; silence: breaching",
  PublisherFails: "Waybill/PublisherFailures publisher Sum > 0 in 300 s, 3 times; silence: notBreaching",
  OutboxOld: "Waybill/OutboxOldestAge publisher Maximum > 900 in 300 s, 1 times; silence: notBreaching",
  RelayerBalance: "Waybill/RelayerBalance publisher Minimum < 0.05 in 300 s, 1 times; silence: missing",
  Api5xx: "AWS/ApiGateway/5xx API Sum > 5 in 300 s, 2 times; silence: notBreaching",
  ApiThrottles: "Waybill/ApiThrottles Sum > 20 in 300 s, 3 times; silence: notBreaching",
  SweeperLags: "Waybill/Sweeps sweeper Sum < 1 in 3600 s, 6 times; silence: breaching",
  FunctionErrors: "SUM(METRICS()) of AWS/Lambda/Errors in 300 s Sum > 0, 2 of 24 times; silence: notBreaching",
  FunctionThrottles: "SUM(METRICS()) of AWS/Lambda/Throttles in 300 s Sum > 0, 2 times; silence: notBreaching",
  Conditions: "Waybill/Conditions Sum > 0 in 300 s, 1 times; silence: notBreaching",
};

interface Filter {
  readonly pattern: string;
  readonly logGroupName: string;
  readonly metricTransformation: { readonly namespace: string; readonly name: string; readonly value: string };
}

function filters(graph: Graph, metric: string): Filter[] {
  const all = graph
    .all("aws:cloudwatch/logMetricFilter:LogMetricFilter")
    .map(({ inputs }) => inputs as unknown as Filter);
  return all.filter(({ metricTransformation: { namespace, name } }) => namespace === "Waybill" && name === metric);
}

export const alarmPromises: readonly Promised[] = [
  inProduction("these alarms there are, and no other", (graph) => {
    const names = graph.all("aws:cloudwatch/metricAlarm:MetricAlarm").map(({ name }) => name);
    expect(names.sort()).toEqual(
      Object.keys(ALARMS)
        .map((name) => `Alarm${name}`)
        .sort(),
    );
  }),
  ...Object.entries(ALARMS).map(([name, line]) =>
    inProduction(`the alarm ${name} goes off when it should`, (graph) => {
      const api = String(stageApi(graph));
      expect(
        alarm(graph, name)
          .replace(api, "API")
          .replace(/\S*(BellDead)Queue\S*/, "$1"),
      ).toBe(line);
    }),
  ),
  inProduction("every alarm tells the operator, when it goes off and when it is over", (graph) => {
    for (const { inputs } of graph.all("aws:cloudwatch/metricAlarm:MetricAlarm")) {
      expect([inputs.alarmActions, inputs.okActions]).toEqual([[TOPIC], [TOPIC]]);
      expect(inputs.alarmDescription).toMatch(/\. docs\/operate\.md says what to do\.$/);
      expect(inputs.actionsEnabled ?? true).toBe(true);
    }
  }),
  inProduction("what the API turns away and what functions want a person for is counted from their logs", (graph) => {
    const [turnedAway, ...more] = filters(graph, "ApiThrottles");
    expect(more).toEqual([]);
    expect(turnedAway).toMatchObject({
      pattern: '{ ($.status = 429) && ($.functionMilliseconds = "-") }', // a function's own 429 is one member's cap
      logGroupName: graph.one("aws:cloudwatch/logGroup:LogGroup", "ApiAccessLog").inputs.name,
      metricTransformation: { value: "1" },
    });
    const conditions = filters(graph, "Conditions");
    expect(conditions.map(({ pattern }) => pattern)).toEqual(NAMES.map(() => "{ $.alarm = * }"));
    const groups = NAMES.map((name) => graph.one("aws:cloudwatch/logGroup:LogGroup", `Logs-${name}`).inputs.name);
    expect(new Set(conditions.map(({ logGroupName }) => logGroupName))).toEqual(new Set(groups));
  }),
  inProduction(
    "only alarms and budgets of this account speak through the topic, and the operator gets it by e-mail",
    (graph) => {
      const { policy, arn } = graph.one("aws:sns/topicPolicy:TopicPolicy").inputs;
      expect(arn).toBe(TOPIC);
      const { Statement } = JSON.parse(String(policy)) as { Statement: unknown[] };
      expect(Statement).toEqual([
        {
          Effect: "Allow",
          Principal: { Service: ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"] },
          Action: "sns:Publish",
          Resource: TOPIC,
          Condition: { StringEquals: { "aws:SourceAccount": "123456789012" } },
        },
      ]);
      expect(graph.one("aws:sns/topicSubscription:TopicSubscription").inputs).toMatchObject({
        topic: TOPIC,
        protocol: "email",
        endpoint: "operator@example.org",
      });
    },
  ),
  inProduction("a budget warns at four fifths of 50 dollars a month, and before the month passes them", (graph) => {
    const { budgetType, timeUnit, limitAmount, limitUnit, notifications } =
      graph.one("aws:budgets/budget:Budget").inputs;
    expect([budgetType, timeUnit, limitAmount, limitUnit]).toEqual(["COST", "MONTHLY", "50", "USD"]);
    const notice = { thresholdType: "PERCENTAGE", comparisonOperator: "GREATER_THAN", subscriberSnsTopicArns: [TOPIC] };
    expect(notifications).toEqual([
      { ...notice, notificationType: "ACTUAL", threshold: 80 },
      { ...notice, notificationType: "FORECASTED", threshold: 100 },
    ]);
  }),
  inFull("the budget is what is configured; where gas is free no balance is watched", (graph) => {
    expect(graph.input("aws:budgets/budget:Budget", undefined, "limitAmount")).toBe("12.5");
    const names = graph.all("aws:cloudwatch/metricAlarm:MetricAlarm").map(({ name }) => name);
    expect(names).not.toContain("AlarmRelayerBalance");
    expect(names).toHaveLength(Object.keys(ALARMS).length - 1);
  }),
  inDev("without an address nobody is written to, and the alarms are there all the same", (graph) => {
    expect(graph.all("aws:sns/topicSubscription:TopicSubscription")).toEqual([]);
    expect(graph.all("aws:cloudwatch/metricAlarm:MetricAlarm")).toHaveLength(Object.keys(ALARMS).length);
    expect(alarm(graph, "OutboxOld")).toContain("Waybill-alice/OutboxOldestAge");
  }),
];

function stageApi(graph: Graph): unknown {
  return graph.one("aws:apigatewayv2/stage:Stage").inputs.apiId;
}
