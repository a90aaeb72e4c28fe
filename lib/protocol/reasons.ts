/** What the contract answers for an item that it skips (IWaybill.sol); 0 means done. */
export const reasonNames = [
  "OK",
  "DUPLICATE",
  "EXPIRED",
  "BAD_SIGNATURE",
  "UNKNOWN_MEMBER",
  "EXPELLED",
  "UNKNOWN_TASK",
  "UNKNOWN_NOTICE",
  "STALE_ROSTER",
  "FUTURE_ROSTER",
  "NOT_OUTSTANDING",
  "TASK_EXISTS",
  "BAD_RECIPIENTS",
  "UNKNOWN_RECIPIENT",
  "BAD_DEADLINE",
  "BAD_OUTCOME",
  "BAD_MEMBERS",
  "BAD_KIND",
  "TOO_LARGE",
  "MALFORMED",
] as const;

export type Reason = (typeof reasonNames)[number];

/** The name of a contract's reason code; a code that we don't know is never taken for success. */
export function reasonOf(code: number): Reason {
  return reasonNames[code] ?? "BAD_KIND";
}

/** Reasons that a later block may cure, because the statement they wait for can still arrive. All others are final. */
export const curable: ReadonlySet<Reason> = new Set<Reason>([
  "UNKNOWN_TASK",
  "UNKNOWN_NOTICE",
  "UNKNOWN_MEMBER",
  "UNKNOWN_RECIPIENT",
  "FUTURE_ROSTER",
  "BAD_DEADLINE",
]);

/** A receipt's word about a payload. */
export const outcomes = { VERIFIED: 1, CORRUPT: 2, TOO_LARGE: 3, REFUSED: 4 } as const;
/** What a recipient says: VERIFIED, or why it turned the payload down. */
export type Outcome = keyof typeof outcomes;

export function outcomeOf(code: number): Outcome | null {
  return (Object.keys(outcomes) as Outcome[]).find((name) => outcomes[name] === code) ?? null;
}
