/** Seconds that one turn of the publisher may take; it comes back before that by its own clock. */
export const PUBLISHER_TIMEOUT_S = 120;
/** Lambda's rule: a message that is being worked on, with its retries, must not come to a second worker. */
const VISIBILITY_TIMEOUTS = 6;
/** Rings that no publisher took, because it crashed, ran out of time or could not be started. */
const RECEIVES = 5;
const DAY_S = 24 * 3600;

/** The publisher's door bell. It carries no news: the outbox has them, so a lost ring costs at most a minute. */
export interface Bell {
  readonly queue: sst.aws.Queue;
  readonly dead: sst.aws.Queue;
}

export function createBell(): Bell {
  const dead = new sst.aws.Queue("BellDead", {
    fifo: true,
    transform: { queue: { messageRetentionSeconds: 14 * DAY_S, sqsManagedSseEnabled: true } },
  });
  const queue = new sst.aws.Queue("Bell", {
    fifo: true,
    visibilityTimeout: `${VISIBILITY_TIMEOUTS * PUBLISHER_TIMEOUT_S} seconds`,
    dlq: { queue: dead.arn, retry: RECEIVES },
    // Longer than all receives of a ring take, or it would expire and nobody would hear of it.
    transform: { queue: { messageRetentionSeconds: DAY_S, sqsManagedSseEnabled: true } },
  });
  return { queue, dead };
}

/**
 * Rings wake the publisher, and so does the clock. One message group keeps rings in a row, so more than one instance comes
 * only with a schedule's tick; two are the least that can be set, and safe.
 */
export function wakePublisher({ queue }: Bell, publisher: sst.aws.Function): void {
  new aws.lambda.EventSourceMapping("BellToPublisher", {
    eventSourceArn: queue.arn,
    functionName: publisher.arn,
    batchSize: 10,
    scalingConfig: { maximumConcurrency: 2 },
  });
  new sst.aws.CronV2("PublisherClock", { function: publisher.arn, schedule: "rate(1 minute)", retries: 0 });
}

/** An hour more or less means nothing to what is kept for a day after its last use. */
export function wakeSweeper(sweeper: sst.aws.Function): void {
  new sst.aws.CronV2("SweeperClock", { function: sweeper.arn, schedule: "rate(1 hour)", retries: 0 });
}
