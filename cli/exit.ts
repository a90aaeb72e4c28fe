import type { ErrorCode } from "../lib/index.ts";

/** What shells report for a program that Ctrl-C ended. */
export const INTERRUPTED = 130;

/** What shells report for a program whose reader has gone. */
export const READER_GONE = 141;

/** Every code has one, so that a new one needs a decision. */
const byCode: Readonly<Record<ErrorCode, number>> = {
  // the command line, a file, or what it names, is wrong: the same again fails again
  USAGE: 2,
  BAD_REQUEST: 2,
  TOO_MANY: 2,
  BAD_DEADLINE: 2,
  WRONG_CHAIN: 2,
  NEEDS_RPC: 2,
  SOURCE_MISSING: 2,
  // not allowed, or not believed to be who one is
  UNAUTHENTICATED: 3,
  CLOCK_SKEW: 3,
  REPLAYED: 3,
  NOT_OWNER: 3,
  NOT_MEMBER: 3,
  NOT_RECIPIENT: 3,
  EXPELLED: 3,
  // something is not what it claims to be
  BAD_MANIFEST: 4,
  BAD_SIGNATURE: 4,
  BAD_SERVER: 4,
  CORRUPT: 4,
  SOURCE_CHANGED: 4,
  // time was over, or somebody out of reach: the same again may succeed
  TIMEOUT: 5,
  LATE: 5,
  UNREACHABLE: 5,
  UNAVAILABLE: 5,
  RATE_LIMITED: 5,
  CHAIN_STALLED: 5,
  NOT_PUBLISHED: 5,
  // some have it, and some have not
  NOT_ALL_RECEIVED: 6,
  ABORTED: INTERRUPTED,
  // anything else that failed
  PAYLOAD_TOO_LARGE: 1,
  NOT_FOUND: 1,
  UNKNOWN_TASK: 1,
  UNKNOWN_TRANSFER: 1,
  UNKNOWN_NOTICE: 1,
  CONFLICT: 1,
  FINISHED: 1,
  NOTICE_EXISTS: 1,
  NOT_STORED: 1,
  GONE: 1,
  INTERNAL: 1,
  TOO_LARGE: 1,
  REFUSED: 1,
  REFUSED_STATEMENT: 1,
  TARGET_EXISTS: 1,
  TARGET_BUSY: 1,
  TARGET_UNWRITABLE: 1,
  NO_SPACE: 1,
};

/** 0 ok, 1 failure, 2 usage, 3 not allowed, 4 integrity, 5 timeout or network, 6 partial, 130 interrupted. */
export function exitCodeOf(code: ErrorCode): number {
  return byCode[code];
}
