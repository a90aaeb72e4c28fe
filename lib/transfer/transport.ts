import type { Transport } from "./http.ts";
import { isNode } from "./runtime.ts";

/** How this runtime reaches the store best. @param options.stallTimeout In milliseconds. */
export async function transportOf(options: { stallTimeout?: number }): Promise<Transport> {
  if (isNode) return new (await import("./node-http.ts")).NodeTransport(options);
  return new (await import("./fetch-http.ts")).FetchTransport(options);
}
