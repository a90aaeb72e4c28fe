import type { Facts, Log } from "./log.ts";
import type { AlarmCode } from "./metric-names.ts";

/** What the operator should know: each thing once for as long as it lasts, and again when it comes back. */
export class Notes {
  readonly #log: Log;
  #before: ReadonlySet<string> = new Set();
  #now = new Set<string>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Something is so in this turn. */
  tell(message: string, facts: Facts = {}): void {
    this.#once([message, facts], () => this.#log.warn(message, facts));
  }

  /** As `tell`, of what a person must end. */
  alarm(code: AlarmCode, message: string, facts: Facts = {}): void {
    this.#once([code, facts], () => this.#log.alarm(code, message, facts));
  }

  /** The turn is over: what wasn't told in it has passed. */
  turn(): void {
    this.#before = this.#now;
    this.#now = new Set();
  }

  #once(what: unknown, say: () => void): void {
    const key = JSON.stringify(what);
    if (!this.#before.has(key) && !this.#now.has(key)) say();
    this.#now.add(key);
  }
}
