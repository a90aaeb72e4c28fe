import { setTimeout as delay } from "node:timers/promises";
import type { Claim } from "./book.ts";
import type { Notes } from "./notes.ts";
import type { Viewpoint } from "./viewpoint.ts";

/** Hands transactions to the first node, and to the others too, whether they like it or not. */
export async function broadcast(
  [node, ...others]: readonly [Viewpoint, ...Viewpoint[]],
  claims: readonly Claim[],
  notes: Notes,
): Promise<void> {
  for (const other of others) void sendAll(other, claims).catch(() => undefined);
  for (const [nth, complaint] of (await sendAll(node, claims)).entries()) {
    // "Nonce too low" and "already known" prove nothing, and are nothing to worry about.
    if (complaint === null || /already|known|nonce/i.test(complaint)) continue;
    const { transaction } = claims[nth]!;
    notes.tell("the node complains about a transaction", { transaction, detail: complaint });
  }
}

/** In the order of their nonces. Answers the node's complaints, or null where it had none. */
async function sendAll(node: Viewpoint, claims: readonly Claim[]): Promise<(string | null)[]> {
  const complaints: (string | null)[] = [];
  for (const { raw } of claims) complaints.push((await node.broadcast(raw)).complaint);
  return complaints;
}

/** Waits until a nonce is used up, for two block times at most. */
export async function isMined(
  node: Viewpoint,
  nonce: number,
  blockTime: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const pause = Math.min(500, Math.max(20, blockTime / 20));
  const end = performance.now() + 2 * blockTime;
  for (;;) {
    if ((await node.nonce("latest")) > nonce) return true;
    if (performance.now() >= end || signal?.aborted) return false;
    await delay(pause);
  }
}
