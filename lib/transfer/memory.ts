import { MiB } from "../protocol/limits.ts";
import { sharable } from "./hash.ts";

/** What is kept for the next transfer: the parts of one. */
const MOST_KEPT: number = 128 * MiB;
/** Transfers that follow each other sooner than this use the same memory; after it the system has it back. */
const KEPT_MS = 5_000;

const free = new Map<number, Uint8Array[]>();
let kept = 0;
let used = 0;
let timer: ReturnType<typeof setTimeout> | undefined;

/**
 * Memory for a part, used again and again: what threads have seen is not collected before they collect their own garbage, which
 * may be never. It comes in few sizes, so that every part finds some; what is not written to costs nothing.
 */
export function takeMemory(size: number): Uint8Array {
  const real = 2 ** Math.ceil(Math.log2(Math.max(1, size)));
  const found = free.get(real)?.pop();
  if (found) kept -= real;
  return (found ?? sharable(real)).subarray(0, size);
}

/** Nobody looks at it any more. */
export function giveMemory({ buffer }: Uint8Array): void {
  if (kept + buffer.byteLength > MOST_KEPT) return;
  kept += buffer.byteLength;
  const same = free.get(buffer.byteLength) ?? [];
  same.push(new Uint8Array(buffer));
  free.set(buffer.byteLength, same);
  used = performance.now();
  forgetLater(KEPT_MS);
}

function forgetLater(ms: number): void {
  if (timer !== undefined) return;
  timer = setTimeout(() => {
    timer = undefined;
    const left = used + KEPT_MS - performance.now();
    if (left > 0) return forgetLater(left);
    free.clear();
    kept = 0;
  }, ms);
  (timer as { unref?: () => void }).unref?.();
}
