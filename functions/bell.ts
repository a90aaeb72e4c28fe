import { AwsJson } from "./aws-json.ts";
import type { Config } from "./config.ts";
import { credentialsFrom } from "./credentials.ts";

/**
 * Wakes the publisher. It never fails: whatever it should publish is in the outbox by then, and a schedule looks there too.
 */
export type Bell = () => Promise<void>;

/** A statement must not wait for a slow queue. */
const RING_TIMEOUT_MS = 2_000;

/** The bell of a deployment: its SQS FIFO queue, or nothing but the schedule. */
export function bellOf(config: Config): Bell {
  const { queueUrl, region, chainId, contract } = config;
  if (queueUrl === undefined) return async () => {};
  const endpoint = new URL(new URL(queueUrl).origin);
  const options = { endpoint, region, credentials: credentialsFrom(), timeout: RING_TIMEOUT_MS };
  const queue = new AwsJson("sqs", { name: "AmazonSQS", version: "1.0" }, options);
  return async () => {
    const message = {
      QueueUrl: queueUrl,
      MessageBody: "ring",
      MessageGroupId: `${chainId}-${contract}`,
      // Random: the queue must not swallow a ring because it looks like an earlier one.
      MessageDeduplicationId: crypto.randomUUID(),
    };
    await queue.call("SendMessage", message).catch(() => undefined);
  };
}
