import { needPeers, stackPeers } from "./peers.ts";
import type { Stack, StackOptions } from "./stack.ts";

// The face of `waybill/local`. What the stack is made of are optional peers: a participant of somebody else's task needs none.

export type { Stack, StackOptions };

needPeers(stackPeers(), "waybill/local");
const stack = await import("./stack.ts");

/**
 * Starts a whole Waybill with npm packages alone: an S3-compatible store, an EVM chain with the contract, the functions
 * behind one HTTP server, and the publisher; all on loopback and on free ports, for trying things out and for tests. Store and
 * chain are one life: both end with `stop` or with this process, whatever ends it, and nothing of them remains.
 *
 * Anybody may open a task here.
 *
 * @throws WaybillError USAGE when there is no chain for this platform; UNAVAILABLE when something does not start.
 */
export function startStack(options: StackOptions = {}): Promise<Stack> {
  return stack.startStack(options);
}
