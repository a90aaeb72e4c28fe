import { WaybillError } from "./errors.ts";
import {
  DEFAULT_PART_SIZE,
  LARGE_PART_SIZE,
  LARGE_PAYLOAD,
  MAX_PART_SIZE,
  MAX_PARTS,
  MAX_PAYLOAD,
  MiB,
} from "./limits.ts";

/** How a payload is cut: upload part = download range. */
export interface Plan {
  readonly size: number;
  readonly partSize: number;
}

/** One contiguous slice of the payload; `number` counts from 1 as in S3. */
export interface Part {
  readonly number: number;
  readonly start: number;
  readonly length: number;
}

/** The part size for a payload of `size` bytes; `null` is a stream of unknown length. */
export function choosePartSize(size: number | null): number {
  if (size === null) return LARGE_PART_SIZE;
  const usual = size > LARGE_PAYLOAD ? LARGE_PART_SIZE : DEFAULT_PART_SIZE;
  const needed = Math.ceil(Math.ceil(size / MAX_PARTS) / MiB) * MiB;
  return Math.max(usual, needed);
}

/**
 * A plan for `size` bytes, with `partSize` or the usual one.
 * @throws WaybillError PAYLOAD_TOO_LARGE when it would take more than 10,000 parts or parts over 64 MiB.
 */
export function planOf(size: number, partSize: number = choosePartSize(size)): Plan {
  if (!Number.isSafeInteger(size) || size < 0) throw new WaybillError("BAD_REQUEST", `${size} is no payload size.`);
  if (!Number.isSafeInteger(partSize) || partSize < 1)
    throw new WaybillError("BAD_REQUEST", `${partSize} is no part size.`);
  if (size > MAX_PAYLOAD || partSize > MAX_PART_SIZE || Math.ceil(size / partSize) > MAX_PARTS)
    throw new WaybillError(
      "PAYLOAD_TOO_LARGE",
      `${size} bytes in parts of ${partSize} is over 10,000 parts of at most 64 MiB.`,
    );
  return { size, partSize };
}

/** The number of parts; zero bytes are one empty part. */
export function partCount(plan: Plan): number {
  return Math.max(1, Math.ceil(plan.size / plan.partSize));
}

/** The slice that part `number` (from 1) covers. */
export function partAt(plan: Plan, number: number): Part {
  const start = (number - 1) * plan.partSize;
  return { number, start, length: Math.min(plan.partSize, plan.size - start) };
}

/** All parts in order. */
export function partsOf(plan: Plan): Part[] {
  return Array.from({ length: partCount(plan) }, (_, i) => partAt(plan, i + 1));
}
