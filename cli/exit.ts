import type { ErrorCode } from "../lib/index.ts";

/** What shells report for a program that Ctrl-C ended. */
export const INTERRUPTED = 130;

const byCode: Partial<Record<ErrorCode, number>> = {
  USAGE: 2,
  SOURCE_MISSING: 2,
  UNAUTHENTICATED: 3,
  NOT_OWNER: 3,
  NOT_MEMBER: 3,
  NOT_RECIPIENT: 3,
  EXPELLED: 3,
  CORRUPT: 4,
  SOURCE_CHANGED: 4,
  BAD_SERVER: 4,
  TIMEOUT: 5,
  UNREACHABLE: 5,
  UNAVAILABLE: 5,
  NOT_ALL_RECEIVED: 6,
  ABORTED: INTERRUPTED,
};

/** 0 ok, 1 failure, 2 usage, 3 not allowed, 4 integrity, 5 timeout or network, 6 partial, 130 interrupted. */
export function exitCodeOf(code: ErrorCode): number {
  return byCode[code] ?? 1;
}
