import type { Deployment } from "../../lib/protocol/deployment.ts";
import type { Hex } from "../../lib/protocol/hex.ts";

// What the demo and its members' processes say to each other over the IPC channel.

/** To a member: who it is, then what it shall do. The key travels here because a command line is public. */
export type Order =
  | { do: "join"; key: Hex; deployment: Deployment; task: Hex }
  | { do: "send"; path: string; targets: string[]; tag: string }
  | { do: "receive"; source: string; tag: string; path: string };

/** From a member. Times in seconds. */
export type Word =
  | { is: "ready" }
  | { is: "progress"; bytes: number; total: number }
  | { is: "sent"; received: string[]; seconds: number }
  | { is: "received"; seconds: number }
  | { is: "failed"; code: string; message: string };
