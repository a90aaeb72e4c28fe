import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { quietSdk } from "./aws.ts";
import type { Config } from "./config.ts";

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
  quietSdk();
  const client = new SQSClient({ region, endpoint: new URL(queueUrl).origin });
  return async () => {
    const command = new SendMessageCommand({
      QueueUrl: queueUrl,
      MessageBody: "ring",
      MessageGroupId: `${chainId}-${contract}`,
      // Random: the queue must not swallow a ring because it looks like an earlier one.
      MessageDeduplicationId: crypto.randomUUID(),
    });
    await client.send(command, { abortSignal: AbortSignal.timeout(RING_TIMEOUT_MS) }).catch(() => undefined);
  };
}
