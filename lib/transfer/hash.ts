import { toBase64 } from "../protocol/hex.ts";
import { isNode } from "./runtime.ts";

// Node's own SHA-256 is two to three times as fast as WebCrypto's; asked for like this, no bundler trips over it.
const node = globalThis.process?.getBuiltinModule?.("node:crypto");

/** A message to a thread and back takes 0.1 ms, in which half a hundred KiB are hashed. */
const WORTH_A_THREAD: number = 1024 * 1024;

/** Null where there are none, or none can be started. */
let threads: Promise<typeof import("./hash-threads.ts") | null> | null = null;

/** base64 SHA-256, as S3 and the manifest write it. What is `sharable` is hashed beside the event loop, if it is large. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  if (!node) return toBase64(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>)));
  if (bytes.length >= WORTH_A_THREAD && bytes.buffer instanceof SharedArrayBuffer) return beside(bytes);
  return inline(bytes);
}

/** Memory that threads can share, if there are any. */
export function sharable(size: number): Uint8Array {
  return new Uint8Array(node && size >= WORTH_A_THREAD ? new SharedArrayBuffer(size) : new ArrayBuffer(size));
}

async function beside(bytes: Uint8Array): Promise<string> {
  threads ??= isNode ? import("./hash-threads.ts").then((found) => (found.hasThreads ? found : null)) : null;
  const found = await threads?.catch(() => null);
  // Threads may be forbidden, or out of memory: then it takes longer, and that is all.
  return (await found?.sha256InThread(bytes).catch(() => null)) ?? inline(bytes);
}

function inline(bytes: Uint8Array): string {
  return node!.createHash("sha256").update(bytes).digest("base64");
}
