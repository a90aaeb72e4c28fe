import { WaybillError } from "../protocol/errors.ts";

export function closed(): WaybillError {
  return new WaybillError("ABORTED", "The contractor was closed.");
}

export function withheld(): WaybillError {
  return new WaybillError(
    "UNAVAILABLE",
    "The source tells of events of this task and does not show them. Try another.",
  );
}

/** Passes by itself. */
export function reorganised(cause: WaybillError): WaybillError {
  return new WaybillError("UNAVAILABLE", "The chain was reorganised, or its nodes disagree. Try again.", { cause });
}

export function gone(): WaybillError {
  return new WaybillError(
    "UNKNOWN_TASK",
    "A reorg took the task's opening off the chain. Wait until it is mined again.",
  );
}

export function stalled(age: number): WaybillError {
  const message = `The chain has had no new block for ${Math.round(age / 1000)} s. Try again when it moves on.`;
  return new WaybillError("CHAIN_STALLED", message);
}
