import type { ProgressRequest } from "./protocol/requests.ts";

/** A download that is over before this says nothing: most are, and each word costs the operator a request and an object. */
const INTERVAL_MS = 5_000;
/** Who can't be told is told more rarely. */
const MOST_MS = 60_000;
/** Nobody waits for a report, and a line that is full of the payload itself is slow. */
const PATIENCE_MS = 20_000;

type Send = (report: ProgressRequest, signal: AbortSignal) => Promise<unknown>;

/**
 * Tells the functions how far a download is, for its sender to see. It delays nothing and fails nothing: what doesn't get
 * there only makes it more patient. A download in which nothing moves says nothing, so that it looks as stalled as it is.
 */
export class Reporter {
  readonly #send: Send;
  #timer: NodeJS.Timeout;
  #report: ProgressRequest = { bytes: 0, state: "waiting" };
  /** What was said last. */
  #said: ProgressRequest | null = null;
  #failures = 0;
  #ended = false;

  constructor(send: Send) {
    this.#send = send;
    this.#timer = setTimeout(this.#tick, INTERVAL_MS);
  }

  moved(bytes: number): void {
    this.#report = { bytes: Math.max(0, bytes), state: "downloading" };
  }

  /** The last word, if there was one before. */
  end(state: "verified" | "failed"): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    if (this.#said) void this.#say({ ...this.#report, state });
  }

  readonly #tick = (): void => {
    // Who waits in line lives, and says so; who downloads has to move.
    const news = this.#report.state === "waiting" || this.#report.bytes !== this.#said?.bytes;
    const saying = news ? this.#say(this.#report) : Promise.resolve();
    void saying.then(() => {
      if (this.#ended) return;
      const wait = Math.min(MOST_MS, INTERVAL_MS * 2 ** this.#failures);
      this.#timer = setTimeout(this.#tick, wait);
    });
  };

  async #say(report: ProgressRequest): Promise<void> {
    try {
      await this.#send(report, AbortSignal.timeout(PATIENCE_MS));
      this.#said = report;
      this.#failures = 0;
    } catch {
      this.#failures += 1;
    }
  }
}
