import type { Deployment, Hex } from "../../../lib/index.ts";

// What the demo and the parties' processes say to each other over the IPC channel, beside the common words.

interface Join {
  readonly do: "join";
  /** It travels here because a command line is public. */
  readonly key: Hex;
  readonly deployment: Deployment;
  readonly task: Hex;
}

/** To the aggregator: who it is and whose updates it averages; then to begin, and where the last model goes. */
export type AggregatorOrder =
  | (Join & { readonly owners: readonly string[] })
  | { readonly do: "work"; readonly path: string };

/** What the aggregator measured in one round. Times in seconds. */
export interface RoundReport {
  readonly round: number;
  readonly accuracy: number;
  /** Places among the owners. */
  readonly averaged: readonly number[];
  /** Received and verified by its recipients: the model by each owner, the updates by the aggregator. */
  readonly bytes: number;
  readonly seconds: {
    /** Until every owner's receipt for the model stood on the chain. */
    readonly distribute: number;
    /** The slowest of the owners that were averaged. */
    readonly train: number;
    /** From then on until every awaited update was here and its receipt stood on the chain, without the training. */
    readonly collect: number;
  };
}

export type AggregatorWord =
  | { is: "ready" }
  | { is: "round"; report: RoundReport }
  | { is: "finished"; accuracyBefore: number; accuracyAfter: number };

/** To an owner: who it is, which of the owners, and whose model it trains. */
export type OwnerOrder = (Join & { readonly owner: number; readonly aggregator: string }) | { readonly do: "work" };

export type OwnerWord =
  | { is: "ready" }
  /** It has the round's model, and its receipt for it stands. */
  | { is: "training"; round: number }
  /** Its update came too late for its round; `taken` tells whether anybody received it all the same. */
  | { is: "late"; round: number; taken: boolean }
  | { is: "finished"; accuracyAlone: number };
