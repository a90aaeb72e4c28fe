import { WaybillError } from "../protocol/errors.ts";
import type { TaskEvent } from "../protocol/wire.ts";
import type { Cursor } from "./view.ts";

/** A task's events must be one unbroken line from `first` to `last`, or the node hasn't shown all. */
export function checkLine(events: readonly TaskEvent[], first: number, last: number): void {
  const whole = events.length === Math.max(0, last - first + 1);
  const inOrder = events.every(
    (event, i) => event.seq === first + i && (i === 0 || event.prevBlock === events[i - 1]?.block),
  );
  if (!whole || !inOrder) throw lagging();
}

export function lagging(): WaybillError {
  return new WaybillError("UNAVAILABLE", "The RPC node lags behind or leaves out events. Try again, or use another.");
}

export function misplaced(cursor: Cursor): WaybillError {
  const place = `event ${cursor.seq} in block ${cursor.block}`;
  return new WaybillError("CONFLICT", `The task's line of events has no ${place}. Read it again from its beginning.`);
}

/** Deadlines would still hold there, but no event could be found by the block that the contract names. */
export function misnumbered(chainId: number): WaybillError {
  return new WaybillError(
    "WRONG_CHAIN",
    `On chain ${chainId} a contract's block.number is not the number of the block that holds its logs (as on Arbitrum). Waybill needs a chain where it is.`,
  );
}
