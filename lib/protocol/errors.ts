/**
 * Every way in which Waybill fails, with the HTTP status that the API answers (0: it arises only in a client) and
 * whether the same call may succeed later. Codes are stable: programs compare them, people read the message.
 */
const codes = {
  // what the caller asked for is wrong
  USAGE: [400, false],
  BAD_REQUEST: [400, false],
  PAYLOAD_TOO_LARGE: [413, false],
  TOO_MANY: [400, false],
  // who asks
  UNAUTHENTICATED: [401, false],
  CLOCK_SKEW: [401, true],
  REPLAYED: [401, false],
  WRONG_CHAIN: [400, false],
  NOT_OWNER: [403, false],
  NOT_MEMBER: [403, false],
  NOT_RECIPIENT: [403, false],
  EXPELLED: [403, false],
  // what is asked about
  NOT_FOUND: [404, false],
  UNKNOWN_TASK: [404, true],
  UNKNOWN_TRANSFER: [404, false],
  UNKNOWN_NOTICE: [404, true],
  CONFLICT: [409, false],
  FINISHED: [409, false],
  NOTICE_EXISTS: [409, false],
  NOT_STORED: [409, false],
  GONE: [410, false],
  BAD_DEADLINE: [422, false],
  BAD_MANIFEST: [422, false],
  BAD_SIGNATURE: [422, false],
  RATE_LIMITED: [429, true],
  INTERNAL: [500, true],
  UNAVAILABLE: [503, true],
  // what only a client meets
  UNREACHABLE: [0, true],
  BAD_SERVER: [0, false],
  TIMEOUT: [0, true],
  ABORTED: [0, false],
  LATE: [0, false],
  CORRUPT: [0, false],
  TOO_LARGE: [0, false],
  REFUSED: [0, false],
  REFUSED_STATEMENT: [0, false],
  NOT_PUBLISHED: [0, true],
  NOT_ALL_RECEIVED: [0, false],
  CHAIN_STALLED: [0, true],
  NEEDS_RPC: [0, false],
  SOURCE_MISSING: [0, false],
  SOURCE_CHANGED: [0, false],
  TARGET_EXISTS: [0, false],
  TARGET_BUSY: [0, true],
  TARGET_UNWRITABLE: [0, false],
  NO_SPACE: [0, false],
} as const;

/** A stable name for one way of failing. */
export type ErrorCode = keyof typeof codes;

/** All of them, as the pages of the documentation list them. */
export const errorCodes: readonly ErrorCode[] = Object.keys(codes) as ErrorCode[];

/** What an error may carry beside its message. */
export interface ErrorOptions {
  /** The error beneath, if any. */
  cause?: unknown;
  /** Overrides the code's usual answer to "may the same call succeed later?". */
  retryable?: boolean;
  /** Facts for programs, such as `serverTime` or the open `notices`. Never a secret. */
  details?: Readonly<Record<string, unknown>>;
}

/** The one error base: `code` for programs, `message` for people, `retryable`, and the native `cause`. */
export class WaybillError extends Error {
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = "WaybillError";
    this.code = code;
    this.retryable = options.retryable ?? codes[code][1];
    this.details = options.details ?? {};
  }
}

/** Is this string one of our codes? */
export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === "string" && Object.hasOwn(codes, code);
}

/** May a server say this? What only a client can find out (CORRUPT, LATE, ...) is no server's word: receipts follow from it. */
export function isServerCode(code: unknown): code is ErrorCode {
  return isErrorCode(code) && codes[code][0] !== 0;
}

/** The HTTP status of a code; a code that only clients meet has none and answers 500. */
export function statusOf(code: ErrorCode): number {
  return codes[code][0] || 500;
}
