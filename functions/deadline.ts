import { WaybillError } from "../lib/protocol/errors.ts";
import { MAX_DEADLINE_AHEAD } from "../lib/protocol/limits.ts";
import type { Config } from "./config.ts";

/** A statement gets into the next block at the earliest: what expires before that costs gas and does nothing. */
const BLOCKS_AHEAD = 1;

/**
 * Is there time for a statement until its deadline?
 * @param now The newest block's timestamp.
 * @throws WaybillError BAD_DEADLINE
 */
export function checkDeadline({ blockTime }: Pick<Config, "blockTime">, deadline: number, now: number): void {
  if (deadline <= now || deadline < now + (BLOCKS_AHEAD * blockTime) / 1000)
    throw badDeadline("The deadline must be at least a block time ahead in the chain's time.");
  if (deadline > now + MAX_DEADLINE_AHEAD)
    throw badDeadline("The deadline is more than 30 days ahead in the chain's time.");
}

export function badDeadline(message: string): WaybillError {
  return new WaybillError("BAD_DEADLINE", message);
}
