import { createRequire } from "node:module";
import { WaybillError } from "../lib/protocol/errors.ts";
import type { Stack, StackOptions } from "./stack.ts";

// The face of `waybill/local`. What the stack is made of are optional peers: a participant of somebody else's task needs none.

export type { Stack, StackOptions };

const own = createRequire(import.meta.url);

/** Loaded only where its service is used, which is never on one machine. */
const ON_DEMAND = ["@aws-sdk/client-kms"];

/** @throws WaybillError USAGE with the line that adds what is missing. */
function checkPeers(): void {
  const { peerDependencies } = own("waybill/package.json") as { peerDependencies: Record<string, string> };
  const needed = Object.entries(peerDependencies).filter(([name]) => !ON_DEMAND.includes(name));
  const missing = needed.filter(([name]) => !isInstalled(name));
  if (missing.length === 0) return;
  const list = missing.map(([name, range]) => `"${name}@${range}"`).join(" ");
  throw new WaybillError(
    "USAGE",
    `waybill/local lacks packages that only it needs; add them with: npm install ${list}`,
  );
}

function isInstalled(name: string): boolean {
  try {
    own.resolve(`${name}/package.json`);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ERR_PACKAGE_PATH_NOT_EXPORTED";
  }
}

checkPeers();
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
