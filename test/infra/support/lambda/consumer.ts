import type { FifoQueue, QueueMessage } from "../aws/queue.ts";
import { queueEvent } from "./events.ts";
import type { DeployedFunction } from "./function.ts";

export interface ConsumerOptions {
  readonly queue: FifoQueue;
  readonly target: DeployedFunction;
  readonly batchSize: number;
  /** Whether the function names the messages of a batch that it could not do. */
  readonly reportsFailures: boolean;
  /** Batches at the same time. */
  readonly concurrency: number;
}

/** Lambda's poller of a queue: hands batches to the function, and acknowledges what it did. */
export class QueueConsumer {
  /** How many messages each batch had. */
  readonly batches: number[] = [];
  readonly #options: ConsumerOptions;
  readonly #running = new Set<Promise<void>>();
  #enabled = true;

  constructor(options: ConsumerOptions) {
    this.#options = options;
    options.queue.onChange(() => this.#poll());
  }

  /** While it is disabled, messages stay in the queue. */
  enable(enabled: boolean): void {
    this.#enabled = enabled;
    this.#poll();
  }

  /** Until nothing is being worked at. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  #poll(): void {
    const { queue, batchSize, concurrency } = this.#options;
    while (this.#enabled && this.#running.size < concurrency) {
      const messages = queue.receive(batchSize);
      if (messages.length === 0) return;
      const work = this.#deliver(messages).finally(() => {
        this.#running.delete(work);
        this.#poll();
      });
      this.#running.add(work);
    }
  }

  /** What was not done becomes visible again when its time is over. */
  async #deliver(messages: readonly QueueMessage[]): Promise<void> {
    const { queue, target, reportsFailures } = this.#options;
    this.batches.push(messages.length);
    const receipts = messages.map(({ id, receipt }) => ({ id, receipt }));
    try {
      const answer = await target.invoke(queueEvent(messages, queue.settings));
      const left = reportsFailures ? failuresIn(answer) : new Set<string>();
      for (const receipt of receipts) if (!left.has(receipt.id)) queue.acknowledge(receipt);
    } catch {
      // the function failed: the whole batch comes again
    }
  }
}

function failuresIn(answer: unknown): Set<string> {
  const { batchItemFailures = [] } = (answer ?? {}) as { batchItemFailures?: { itemIdentifier: string }[] };
  return new Set(batchItemFailures.map(({ itemIdentifier }) => itemIdentifier));
}
