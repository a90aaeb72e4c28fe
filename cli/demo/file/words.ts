import type { Deployment, Hex } from "../../../lib/index.ts";

// What is said in the file's trip, beside the common words.

/** To a member: who it is, then what it shall do. The key travels here because a command line is public. */
export type Order =
  | { do: "join"; key: Hex; deployment: Deployment; task: Hex }
  | { do: "send"; path: string; targets: string[]; tag: string }
  | { do: "receive"; source: string; tag: string; path: string };

/** From a member. Times in seconds. */
export type Word =
  | { is: "ready" }
  | { is: "sent"; received: string[]; seconds: number }
  | { is: "received"; seconds: number };
