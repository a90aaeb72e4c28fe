import type { Coefficients } from "./fit.ts";
import type { RoundPlan } from "./round.ts";

// What a run of the benchmark found. It is kept in measured.json, so that the page can be written again when a price changes.

/** What members' requests to get something done took in one round, all members together. */
export interface Work {
  /** API requests by function. */
  readonly uploads: number;
  readonly downloads: number;
  readonly tasks: number;
  /** S3 requests by class: the functions', and the parts themselves. */
  readonly put: number;
  readonly get: number;
  readonly rpc: number;
  readonly answerBytes: number;
  readonly logBytes: number;
}

/** What the publisher took in one round. */
export interface Published {
  readonly statements: number;
  readonly steps: number;
  readonly invocations: number;
  readonly transactions: number;
  readonly seconds: number;
  readonly sqs: number;
  readonly put: number;
  readonly get: number;
  readonly rpc: number;
  readonly gas: number;
  readonly logBytes: number;
}

/** Requests that only look whether there is news. */
export interface Polled {
  readonly requests: number;
  readonly rpc: number;
  readonly answerBytes: number;
  readonly logBytes: number;
}

export interface Point extends RoundPlan {
  readonly work: Work;
  readonly published: Published;
  readonly polled: Polled;
}

export interface Measured {
  /** YYYY-MM-DD */
  readonly date: string;
  readonly node: string;
  readonly blockTimeS: number;
  readonly confirmations: number;
  readonly lateMs: { readonly s3: number; readonly rpc: number };
  /** Rounds from which the model is made, and the one on which it is tried. */
  readonly points: readonly Point[];
  readonly check: Point;
  /** Gas of a transaction by what is in it, fitted over all that were mined. */
  readonly gas: { readonly transactions: number; readonly worstPercent: number; readonly coefficients: Coefficients };
  /** Milliseconds of a request in each function, medians of rounds in which little else was going on; looks apart. */
  readonly handlerMs: {
    readonly uploads: number;
    readonly downloads: number;
    readonly tasks: number;
    readonly looks: number;
  };
  /** Looks of one member for news that doesn't come: per minute soon after the last news, and long after. */
  readonly looks: { readonly busyPerMinute: number; readonly quietPerMinute: number; readonly answerBytes: number };
  /** A tick of the publisher's clock when nothing is to be done. */
  readonly idleTick: Pick<Published, "seconds" | "put" | "get" | "rpc" | "logBytes">;
}
