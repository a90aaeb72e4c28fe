import type { Bell } from "../../functions/bell.ts";
import type { Publisher } from "../../functions/publisher.ts";
import type { Tally } from "./meter.ts";

/** As infra/queue.ts has it: a batch is one receive, one invocation and one delete. */
const BATCH = 10;

/**
 * The publisher's queue and its function, as Lambda drives them: rings of one message group are taken in batches, one
 * invocation at a time, and each invocation goes on stepping as its handler does.
 */
export class CloudPublisher {
  readonly #publisher: Pick<Publisher, "step">;
  readonly #tally: Tally;
  #messages = 0;
  #working: Promise<void> | null = null;
  #pending = 0;
  #failure: unknown = null;

  constructor(publisher: Pick<Publisher, "step">, tally: Tally) {
    this.#publisher = publisher;
    this.#tally = tally;
  }

  readonly ring: Bell = async () => {
    this.#tally.add("sqs:send");
    this.#messages += 1;
    this.#working ??= this.#work().finally(() => {
      this.#working = null;
    });
  };

  /** One tick of the schedule. */
  async tick(): Promise<void> {
    await this.#working;
    await this.#invoke();
  }

  /** Until nothing waits: what isn't final yet is settled by ticks of the schedule. */
  async drain(): Promise<void> {
    for (;;) {
      await this.#working;
      if (this.#failure) throw this.#failure;
      if (this.#messages === 0 && this.#pending === 0) return;
      if (this.#messages === 0) await this.#invoke();
    }
  }

  async #work(): Promise<void> {
    while (this.#messages > 0) {
      this.#messages -= Math.min(BATCH, this.#messages);
      this.#tally.add("sqs:receive");
      await this.#invoke().catch((error: unknown) => {
        this.#failure = error;
      });
      this.#tally.add("sqs:delete");
    }
  }

  async #invoke(): Promise<void> {
    const began = performance.now();
    this.#tally.add("invocations:publisher");
    for (let again = true; again; ) {
      const { pending, moved } = await this.#publisher.step();
      this.#tally.add("publisher:steps");
      this.#pending = pending;
      again = moved && pending > 0;
    }
    this.#tally.add("seconds:publisher", (performance.now() - began) / 1_000);
  }
}
