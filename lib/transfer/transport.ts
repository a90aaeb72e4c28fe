import type { Transport } from "./http.ts";
import { isNode } from "./runtime.ts";

/** Deno and Bun have Node's modules, but not all of what the sockets here are told. */
export const hasNodeSockets: boolean = isNode && !("bun" in process.versions) && !("deno" in process.versions);

/** How this runtime reaches the store best. @param options.stallTimeout In milliseconds. */
export async function transportOf(options: { stallTimeout?: number }): Promise<Transport> {
  if (hasNodeSockets) return new (await import("./node-http.ts")).NodeTransport(options);
  return new (await import("./fetch-http.ts")).FetchTransport(options);
}
