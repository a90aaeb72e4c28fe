import { createHash, randomUUID } from "node:crypto";
import { AwsError } from "./server.ts";

/** How long SQS remembers a deduplication id. */
const DEDUPLICATION_MS = 5 * 60_000;

/** What a queue was deployed with, in the words of its resource. */
export interface QueueSettings {
  readonly arn: string;
  readonly url: string;
  readonly name: string;
  readonly visibilityTimeoutSeconds: number;
  readonly messageRetentionSeconds: number;
  readonly contentBasedDeduplication: boolean;
  readonly deadLetters?: { readonly queue: FifoQueue; readonly maxReceiveCount: number } | undefined;
}

export interface QueueMessage {
  readonly id: string;
  readonly body: string;
  readonly group: string;
  readonly deduplication: string;
  readonly sequence: string;
  readonly sent: number;
  received: number;
  firstReceived: number;
  visibleAt: number;
  receipt: string;
}

/** One SQS FIFO queue: order within a group, one batch of a group at a time, visibility timeouts, and dead letters. */
export class FifoQueue {
  readonly settings: QueueSettings;
  readonly #messages: QueueMessage[] = [];
  readonly #seen = new Map<string, { readonly id: string; readonly at: number }>();
  readonly #listeners: (() => void)[] = [];
  #sequence = 0;
  #passed = 0;

  constructor(settings: QueueSettings) {
    this.settings = settings;
  }

  /** How many messages are in it, whether anybody can see them now or not. */
  get length(): number {
    return this.#messages.length;
  }

  /** Called whenever something may have become visible. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** The queue's time jumps ahead. */
  pass(milliseconds: number): void {
    this.#passed += milliseconds;
    this.#changed();
  }

  send(body: string, group: unknown, deduplication: unknown): { id: string; md5: string; sequence: string } {
    if (typeof group !== "string" || group === "")
      throw new AwsError("MissingParameter", "The request must contain the parameter MessageGroupId.");
    const key = typeof deduplication === "string" && deduplication !== "" ? deduplication : this.#contentKey(body);
    const md5 = createHash("md5").update(body).digest("hex");
    const known = this.#seen.get(key);
    const now = this.#now();
    const sequence = String(++this.#sequence).padStart(20, "0");
    if (known && now - known.at < DEDUPLICATION_MS) return { id: known.id, md5, sequence };
    const id = randomUUID();
    this.#seen.set(key, { id, at: now });
    const fresh = { received: 0, firstReceived: 0, visibleAt: now, receipt: "" };
    this.#messages.push({ id, body, group, deduplication: key, sequence, sent: now, ...fresh });
    this.#changed();
    return { id, md5, sequence };
  }

  /** The oldest messages of groups of which nothing is being worked at; from now on nobody else sees them for a while. */
  receive(most: number): QueueMessage[] {
    this.#expire();
    const now = this.#now();
    const busy = new Set(this.#messages.filter(({ visibleAt }) => visibleAt > now).map(({ group }) => group));
    const found = this.#messages.filter(({ group }) => !busy.has(group)).slice(0, most);
    for (const message of found) {
      message.received += 1;
      message.firstReceived ||= now;
      message.visibleAt = now + this.settings.visibilityTimeoutSeconds * 1000;
      message.receipt = randomUUID();
    }
    return found;
  }

  /** What was worked at is done, unless it was handed to somebody else meanwhile. */
  acknowledge({ id, receipt }: Pick<QueueMessage, "id" | "receipt">): void {
    const at = this.#messages.findIndex((one) => one.id === id && one.receipt === receipt);
    if (at >= 0) this.#messages.splice(at, 1);
    this.#changed();
  }

  #expire(): void {
    const now = this.#now();
    const { messageRetentionSeconds, deadLetters } = this.settings;
    for (const message of [...this.#messages]) {
      if (message.visibleAt > now) continue;
      const old = now - message.sent > messageRetentionSeconds * 1000;
      const dead = deadLetters !== undefined && message.received >= deadLetters.maxReceiveCount;
      if (old || dead) this.#messages.splice(this.#messages.indexOf(message), 1);
      if (dead && !old) deadLetters.queue.send(message.body, message.group, message.deduplication);
    }
  }

  #contentKey(body: string): string {
    if (this.settings.contentBasedDeduplication) return createHash("sha256").update(body).digest("hex");
    throw new AwsError("InvalidParameterValue", "The queue needs a MessageDeduplicationId.");
  }

  #now(): number {
    return Date.now() + this.#passed;
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}
