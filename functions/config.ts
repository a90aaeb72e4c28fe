import * as z from "zod/mini";
import { WaybillError } from "../lib/protocol/errors.ts";
import type { Address } from "../lib/protocol/hex.ts";
import { MAX_PAYLOAD, MIN_PART_SIZE } from "../lib/protocol/limits.ts";
import type { StoreConfig } from "./objects.ts";

/** What one member may use. */
export interface Caps {
  /** Bytes of one payload. */
  readonly payload: number;
  /** Uploads of a member that are begun and not finished, in one task. At most 999. */
  readonly openUploads: number;
  /** Requests of an account in a minute that write or issue URLs. At most 999: they are counted by one LIST. */
  readonly requests: number;
  /** Statements of an account in a minute: each costs gas, and a message of 4 KiB as much as nine. At most 999. */
  readonly statements: number;
  /** GETs of an account in a minute, and the bytes of their answers, at one instance. */
  readonly reads: number;
  readonly readBytes: number;
}

/** Everything that the functions are told. Nothing else configures them. */
export interface Config extends StoreConfig {
  /** The API's public origin. Signatures are checked against it, never against a Host header. */
  readonly apiOrigin: string;
  readonly chainId: number;
  readonly contract: Address;
  /** JSON-RPC URL, or several: when one fails, the next one is asked. They may carry keys: never in a message or log. */
  readonly rpc: string | readonly string[];
  /** How requests get to the nodes where they don't go straight on. */
  readonly fetch?: typeof fetch;
  /** Blocks on top before anything counts as being on the chain. */
  readonly confirmations: number;
  /** Milliseconds between blocks. */
  readonly blockTime: number;
  /**
   * Milliseconds after which the newest block is too old to tell who may do what: then nobody may. Leave it out where blocks
   * come only with transactions, for there an idle chain's newest block is old, and right.
   */
  readonly staleAfter?: number;
  /**
   * Milliseconds for which requests share what one of them saw of the chain's newest block, and of a task's events: never of
   * anybody's standing. Without it, each looks for itself.
   */
  readonly shared?: number;
  /** The contract's first block. */
  readonly fromBlock: number;
  /** Whose tasks are served; "*": everybody's, for a stack on one machine. */
  readonly owners: readonly Address[] | "*";
  /** The publisher's door bell (SQS FIFO); without it the schedule alone wakes it. */
  readonly queueUrl?: string;
  /** Whether a request for events may wait for one: where waiting is free. */
  readonly longPoll: boolean;
  /** Milliseconds for which a payload is kept after the last deadline. */
  readonly retention: number;
  /** Smallest part that the store takes, but for the last one. */
  readonly minPartSize: number;
  readonly caps: Caps;
  /** Where the nonces of signed requests are remembered; "memory" only where one process serves all requests. */
  readonly nonces: "store" | "memory";
}

/** Less than a block of most chains, and many members who look at the same moment cost one look. */
const SHARED_MS = 2_000;
export const DEFAULT_RETENTION: number = 24 * 3600 * 1000;
/**
 * Far above what a round of training needs. Requests: an upload asks for URLs once per 16 MiB, because it hashes no further
 * ahead, so this many let it go at 240 MB/s. Statements: notices take the most, 300 of them about 20M gas, which is what a
 * hostile member can burn in a minute; an operator to whom that is too much sets less.
 */
export const DEFAULT_CAPS: Caps = {
  ...{ payload: MAX_PAYLOAD, openUploads: 100, requests: 900, statements: 300 },
  // Who waits asks three times a second at most, and a round of a thousand members is 2 MB of events: nobody who works with
  // what it reads meets these. They are no settings.
  ...{ reads: 1_200, readBytes: 64 * 1024 * 1024 },
};

/** Else `new URL` would throw an error that quotes it, and it may carry a key. */
const parses = z.refine<string>((text) => URL.canParse(text));
const origin = z.string().check(z.regex(/^https?:\/\/[^/?#@\s]+$/), parses);
const url = z.string().check(z.regex(/^https?:\/\/\S+$/), parses);
const urls = z.pipe(
  z.pipe(
    z.string(),
    z.transform((text) => text.split(",").map((part) => part.trim())),
  ),
  z.array(url).check(z.minLength(1)),
);
const account = z.pipe(
  z.string().check(z.trim(), z.toLowerCase(), z.regex(/^0x[0-9a-f]{40}$/)),
  z.transform((text) => text as Address),
);
const whole = z.pipe(
  z.string().check(z.regex(/^[0-9]{1,15}$/)),
  z.transform((text) => Number(text)),
);
const owners = z.pipe(
  z.pipe(
    z.string(),
    z.transform((text) => text.split(",")),
  ),
  z.array(account).check(z.minLength(1)),
);
/** What one LIST of at most 1,000 entries counts. */
const countable = z.pipe(whole, z.int().check(z.gte(1), z.lte(999)));

const environment = z.object({
  WAYBILL_API_ORIGIN: origin,
  WAYBILL_CHAIN_ID: whole,
  WAYBILL_CONTRACT: account,
  WAYBILL_RPC: urls,
  WAYBILL_CONFIRMATIONS: whole,
  WAYBILL_BLOCK_TIME: whole,
  WAYBILL_MAX_BLOCK_AGE: z.optional(whole),
  WAYBILL_FROM_BLOCK: z.optional(whole),
  // No "*" here: on a server it would let any stranger open a task and upload at the operator's cost.
  WAYBILL_OWNERS: owners,
  WAYBILL_BUCKET: z.string().check(z.minLength(3), z.maxLength(63)),
  AWS_REGION: z.string().check(z.minLength(1)),
  WAYBILL_S3_ENDPOINT: z.optional(origin),
  WAYBILL_QUEUE_URL: z.optional(url),
  WAYBILL_RETENTION: z.optional(whole),
  WAYBILL_MAX_PAYLOAD: z.optional(whole),
  WAYBILL_MAX_OPEN_UPLOADS: z.optional(countable),
  WAYBILL_MAX_REQUESTS: z.optional(countable),
  WAYBILL_MAX_STATEMENTS: z.optional(countable),
});

/**
 * The configuration of a function in the cloud, from WAYBILL_* variables and AWS_REGION. Credentials come from the SDK's chain.
 * @throws WaybillError USAGE that names the variable, and never its value.
 */
export function configFromEnv(env: Readonly<Record<string, string | undefined>>): Config {
  const parsed = environment.safeParse(env);
  if (!parsed.success) {
    const names = [...new Set(parsed.error.issues.map((issue) => String(issue.path[0])))];
    throw new WaybillError("USAGE", `These environment variables are missing or malformed: ${names.join(", ")}.`);
  }
  const set = parsed.data;
  return {
    apiOrigin: new URL(set.WAYBILL_API_ORIGIN).origin,
    chainId: set.WAYBILL_CHAIN_ID,
    contract: set.WAYBILL_CONTRACT,
    rpc: set.WAYBILL_RPC,
    confirmations: set.WAYBILL_CONFIRMATIONS,
    blockTime: set.WAYBILL_BLOCK_TIME,
    ...(set.WAYBILL_MAX_BLOCK_AGE !== undefined && { staleAfter: set.WAYBILL_MAX_BLOCK_AGE }),
    shared: SHARED_MS,
    fromBlock: set.WAYBILL_FROM_BLOCK ?? 0,
    owners: set.WAYBILL_OWNERS,
    bucket: set.WAYBILL_BUCKET,
    region: set.AWS_REGION,
    ...(set.WAYBILL_S3_ENDPOINT !== undefined && { s3Endpoint: set.WAYBILL_S3_ENDPOINT }),
    ...(set.WAYBILL_QUEUE_URL !== undefined && { queueUrl: set.WAYBILL_QUEUE_URL }),
    longPoll: false,
    retention: set.WAYBILL_RETENTION ?? DEFAULT_RETENTION,
    minPartSize: MIN_PART_SIZE,
    caps: {
      ...DEFAULT_CAPS,
      payload: Math.min(set.WAYBILL_MAX_PAYLOAD ?? DEFAULT_CAPS.payload, MAX_PAYLOAD),
      openUploads: set.WAYBILL_MAX_OPEN_UPLOADS ?? DEFAULT_CAPS.openUploads,
      requests: set.WAYBILL_MAX_REQUESTS ?? DEFAULT_CAPS.requests,
      statements: set.WAYBILL_MAX_STATEMENTS ?? DEFAULT_CAPS.statements,
    },
    nonces: "store",
  };
}
