import type { Stage } from "./stages.ts";

/** Where alarms and the budget go, and from there by e-mail to the operator. */
export function createTopic(stage: Stage): aws.sns.Topic {
  const topic = new aws.sns.Topic("Alarms", { name: `${$app.name}-${stage.name}-alarms` });
  const account = aws.getCallerIdentityOutput().accountId;
  new aws.sns.TopicPolicy("AlarmsPolicy", {
    arn: topic.arn,
    policy: $jsonStringify({
      Version: "2012-10-17",
      Statement: [
        {
          Effect: "Allow",
          Principal: { Service: ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"] },
          Action: "sns:Publish",
          Resource: topic.arn,
          // Other accounts' alarms are none of ours.
          Condition: { StringEquals: { "aws:SourceAccount": account } },
        },
      ],
    }),
  });
  if (stage.alarmEmail !== undefined)
    new aws.sns.TopicSubscription("AlarmsEmail", { topic: topic.arn, protocol: "email", endpoint: stage.alarmEmail });
  return topic;
}

/**
 * Warns of the account's costs in a month: of four fifths of the limit, and when the month looks like passing it. It is the
 * whole account's, because a filter by tags counts nothing until somebody has activated the tags for billing.
 */
export function createBudget(stage: Stage, topic: aws.sns.Topic): void {
  const notice = (notificationType: "ACTUAL" | "FORECASTED", threshold: number) => ({
    notificationType,
    threshold,
    thresholdType: "PERCENTAGE",
    comparisonOperator: "GREATER_THAN",
    subscriberSnsTopicArns: [topic.arn],
  });
  new aws.budgets.Budget("Budget", {
    name: `${$app.name}-${stage.name}`,
    budgetType: "COST",
    timeUnit: "MONTHLY",
    limitAmount: String(stage.monthlyBudget),
    limitUnit: "USD",
    notifications: [notice("ACTUAL", 80), notice("FORECASTED", 100)],
  });
}
