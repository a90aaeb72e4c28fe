import * as z from "zod/mini";
import { type Address, type Hex, wordHex } from "./hex.ts";
import { MAX_MEMBERS, MAX_MESSAGE, MAX_PART_SIZE, MAX_PART_URLS, MAX_PARTS, MAX_PAYLOAD, PAGE_SIZE } from "./limits.ts";
import { contentTypeSchema } from "./manifest.ts";
import { type Outcome, outcomes, type Reason, reasonNames } from "./reasons.ts";
import type { Message, Notice } from "./statements.ts";

// The bodies of the HTTPS API, read by both sides: the functions trust no client, the client trusts no server.

const hexOf = (digits: number) => z.string().check(z.regex(new RegExp(`^0x[0-9a-f]{${digits}}$`)));

/** A lower-case 32-byte id. */
export const id32: z.ZodMiniType<Hex> = hexOf(64) as unknown as z.ZodMiniType<Hex>;
/** A lower-case account. */
export const address: z.ZodMiniType<Address> = hexOf(40) as unknown as z.ZodMiniType<Address>;
/** A 65-byte account signature. */
export const signature: z.ZodMiniType<Hex> = hexOf(130) as unknown as z.ZodMiniType<Hex>;
/** Any even number of hex digits, lower-case. */
const bytes = (max: number): z.ZodMiniType<Hex> =>
  z.string().check(z.regex(/^0x([0-9a-f]{2})*$/), z.maxLength(2 + 2 * max)) as unknown as z.ZodMiniType<Hex>;
/** A 256-bit bitmap: 64 hex digits on the wire, bigint inside. */
const bitmap = z.pipe(
  hexOf(64),
  z.transform((text) => BigInt(text)),
);
/** base64 of 32 bytes. */
export const sha256Text: z.ZodMiniType<string> = z.string().check(z.regex(/^[A-Za-z0-9+/]{43}=$/));
const seconds = z.int().check(z.gte(0), z.lt(2 ** 47)); // the contract keeps a deadline in 47 bits
const uint32 = z.int().check(z.gte(0), z.lt(2 ** 32));
const members = z.array(address).check(z.minLength(1), z.maxLength(MAX_MEMBERS));
const base64 = z.string().check(z.regex(/^[A-Za-z0-9+/]*={0,2}$/));
const page = z.int().check(z.gte(0), z.lt(2 ** 16));
const count = z.int().check(z.gte(0));
const outcome = z.enum(Object.keys(outcomes) as [Outcome, ...Outcome[]]);

/** The JSON text of a request or answer. Bitmaps, the only bigints on the wire, become 64 hex digits. */
export function wireText(value: unknown): string {
  return JSON.stringify(value, (_, entry: unknown) => (typeof entry === "bigint" ? wordHex(entry) : entry));
}

// ---- statements as JSON

export const noticeJson: z.ZodMiniType<Notice, NoticeJson> = z.strictObject({
  kind: z.literal("notice"),
  task: id32,
  sender: address,
  page,
  recipients: bitmap,
  transfer: id32,
  manifest: id32,
  deadline: seconds,
}) as unknown as z.ZodMiniType<Notice, NoticeJson>;
export type NoticeJson = Omit<Notice, "recipients"> & { recipients: Hex };

export const messageJson: z.ZodMiniType<Message, MessageJson> = z.strictObject({
  kind: z.literal("message"),
  task: id32,
  sender: address,
  page,
  recipients: bitmap,
  name: id32,
  payload: bytes(MAX_MESSAGE),
  salt: id32,
  deadline: seconds,
}) as unknown as z.ZodMiniType<Message, MessageJson>;
export type MessageJson = Omit<Message, "recipients"> & { recipients: Hex };

// ---- requests

export const openRequest = z.strictObject({ owner: address, salt: id32, members, signature });
export const rosterRequest = z.strictObject({
  kind: z.enum(["admit", "expel"]),
  members,
  roster: uint32,
  signature,
});
export const messageRequest = z.strictObject({ message: messageJson, signature });
export const receiptRequest = z.strictObject({ notice: id32, outcome, signature });
export const withdrawalRequest = z.strictObject({ notice: id32, signature });

/** One part that wants an upload URL: S3 will accept these bytes and no others under it. */
export const partRequest = z.strictObject({
  number: z.int().check(z.gte(1), z.lte(MAX_PARTS)),
  length: z.int().check(z.gte(0), z.lte(MAX_PART_SIZE)),
  sha256: sha256Text,
});
export type PartRequest = z.infer<typeof partRequest>;
const parts = z.array(partRequest).check(z.maxLength(MAX_PART_URLS));
/** `size` null: a stream of unknown length. */
export const beginRequest = z.strictObject({
  transfer: id32,
  size: z.nullable(z.int().check(z.gte(0), z.lte(MAX_PAYLOAD))),
  partSize: z.optional(z.int().check(z.gte(1), z.lte(MAX_PART_SIZE))),
  contentType: z.optional(contentTypeSchema),
  parts: z.optional(parts),
});
export const partsRequest = z.strictObject({
  parts: z.array(partRequest).check(z.minLength(1), z.maxLength(MAX_PART_URLS)),
});
/** How far a recipient's download is, in its own words. Nothing depends on it; receipts alone count. */
export const progressState = z.enum(["waiting", "downloading", "verified", "failed"]);
export type ProgressState = z.infer<typeof progressState>;
export const progressRequest = z.strictObject({
  bytes: z.int().check(z.gte(0), z.lte(MAX_PAYLOAD)),
  state: progressState,
});
export type ProgressRequest = z.infer<typeof progressRequest>;
/** A notice with its signature and its recipients' accounts, in bit order. */
export const signedNotice = z.strictObject({
  notice: noticeJson,
  signature,
  recipients: z.array(address).check(z.minLength(1), z.maxLength(PAGE_SIZE)),
});
/** `manifest`: base64 of its exact bytes. */
export const finishRequest = z.strictObject({
  manifest: z.optional(base64),
  notices: z.array(signedNotice).check(z.maxLength(64)),
});

// ---- answers

/**
 * Where the chain stands for everybody: the newest block with `confirmations` on top; to begin and finish simply the newest
 * one. Time in seconds.
 */
export const head = z.object({ block: count, timestamp: count });
export type Head = z.infer<typeof head>;

export const statementAnswer = z.object({ statement: id32 });
export const openAnswer = z.object({ task: id32, statement: id32 });
export const memberJson = z.object({ account: address, index: uint32, active: z.boolean() });
export const taskAnswer = z.object({
  task: id32,
  owner: address,
  roster: uint32,
  count: uint32,
  members: z.array(memberJson),
  latest: z.object({ seq: count, block: count }),
  head,
});

const partUrl = z.object({ number: z.int(), url: z.string(), headers: z.record(z.string(), z.string()) });
export type PartUrl = z.infer<typeof partUrl>;
/** `expiresIn`: milliseconds from the answer, so that no clock has to agree. */
export const partsAnswer = z.object({ urls: z.array(partUrl), expiresIn: count });
export const beginAnswer = z.object({
  state: z.enum(["open", "stored", "finished"]),
  size: z.nullable(count),
  partSize: count,
  contentType: z.string(),
  urls: z.array(partUrl),
  expiresIn: count,
  head,
  /** Base64 of the manifest's bytes, once the transfer is bound to it: finished, or swept and now open again. */
  manifest: z.optional(base64),
  /** Only when finished: the notices over this transfer so far, the newest 256. */
  notices: z.optional(z.array(signedNotice)),
});
export const storedPart = z.object({ number: z.int(), length: count, sha256: sha256Text });
export const storedPartsAnswer = z.object({ parts: z.array(storedPart) });
export const finishAnswer = z.object({
  state: z.enum(["completing", "finished"]),
  notices: z.array(id32),
  head,
});

export const abortAnswer = z.object({ state: z.literal("aborted") });

export const statementStateAnswer = z.discriminatedUnion("state", [
  z.object({ state: z.literal("pending") }),
  z.object({ state: z.literal("settled"), transaction: z.nullable(id32), block: count }),
  z.object({ state: z.literal("refused"), reason: z.enum(reasonNames as unknown as [Reason, ...Reason[]]) }),
]);
export const recipientState = z.enum(["outstanding", "verified", "cleared"]);
/** `wait`: milliseconds after which the next report is taken. */
export const progressAnswer = z.object({ wait: count });
/** A recipient's newest report. `age`: milliseconds since then, so that no clock has to agree. */
export const progressJson = z.object({ bytes: count, state: progressState, age: count });
export const noticeAnswer = z.object({
  notice: noticeJson,
  signature,
  /** `progress`: of who is outstanding and has reported, to the sender and the owner; to a recipient its own. */
  recipients: z.array(z.object({ account: address, state: recipientState, progress: z.optional(progressJson) })),
  published: z.boolean(),
  withdrawn: z.boolean(),
  transaction: z.nullable(id32),
  manifest: base64,
  head,
});
/** `headers` must be sent with every GET of `url`: they are signed. A Range header need not be. */
export const downloadAnswer = z.object({
  notice: noticeJson,
  manifest: base64,
  url: z.string(),
  headers: z.record(z.string(), z.string()),
  expiresIn: count,
});

// ---- events

/** A contract account may sign as long as a transaction is, and its event must not keep others from reading on. */
const anySignature = bytes(128 * 1024);
const common = {
  task: id32,
  seq: count,
  prevBlock: count,
  block: count,
  blockHash: id32,
  transaction: id32,
  logIndex: count,
};
/** An event of a task with its statement's signature, so that authorship can be checked without trusting the server. */
export const taskEvent = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("opened"),
    ...common,
    owner: address,
    salt: id32,
    members: z.array(address),
    signature: anySignature,
  }),
  z.object({
    type: z.literal("admitted"),
    ...common,
    roster: uint32,
    members: z.array(address),
    signature: anySignature,
  }),
  z.object({
    type: z.literal("expelled"),
    ...common,
    roster: uint32,
    members: z.array(address),
    signature: anySignature,
  }),
  z.object({
    type: z.literal("noticed"),
    ...common,
    sender: address,
    page,
    recipients: bitmap,
    transfer: id32,
    manifest: id32,
    deadline: seconds,
    signature: anySignature,
  }),
  z.object({ type: z.literal("receipts"), ...common, notice: id32, outcome, signatures: z.array(signature) }),
  z.object({
    type: z.literal("walletReceipt"),
    ...common,
    notice: id32,
    outcome,
    account: address,
    signature: anySignature,
  }),
  z.object({ type: z.literal("withdrawn"), ...common, notice: id32, signature: anySignature }),
  z.object({
    type: z.literal("posted"),
    ...common,
    sender: address,
    page,
    recipients: bitmap,
    name: id32,
    payload: bytes(MAX_MESSAGE),
    salt: id32,
    deadline: seconds,
    signature: anySignature,
  }),
]);
export type TaskEvent = z.infer<typeof taskEvent>;
const cursorText = z.pipe(
  z.string().check(z.regex(/^(0|[1-9][0-9]{0,15})$/)),
  z.pipe(
    z.transform((text: string) => Number(text)),
    count,
  ),
);
/**
 * Where to read on: after an event or before one, each with its block; nothing for the newest event. `hash`: the block's, so
 * that an event that a reorg replaced in the same place is told from the one that the caller knows.
 */
export const eventsQuery = z.union([
  z.strictObject({ after: cursorText, block: cursorText, hash: z.optional(id32) }),
  z.strictObject({ before: cursorText, block: cursorText }),
  z.strictObject({}),
]);
/**
 * `next`: the cursor for the following call in the same direction (after=seq&block=block, or before=…); `poll`: milliseconds to
 * wait before it, 0 where the call itself waits.
 */
export const eventsAnswer = z.object({
  events: z.array(taskEvent),
  next: z.object({ seq: count, block: count }),
  head,
  poll: count,
});

/** RFC 9457, with our stable code. */
export const problem = z.object({
  type: z.optional(z.string()),
  title: z.optional(z.string()),
  status: z.optional(z.int()),
  detail: z.string(),
  code: z.string(),
  /** By which the operator finds the request. */
  requestId: z.optional(z.string().check(z.regex(/^[0-9a-f]{32}$/))),
  /** Every 401: the server's clock in seconds, as `created` is, so that a client can correct its own. */
  serverTime: z.optional(count),
  /** The cap that the request met. Where a wait helps, Retry-After tells how long. */
  limit: z.optional(z.object({ name: z.string(), value: count, unit: z.string() })),
  /** FINISHED: the notices whose deadline is ahead. NOTICE_EXISTS: the notices that were there before. */
  notices: z.optional(z.array(id32)),
  /** NOT_STORED: parts that the store lacks or holds with other bytes, the first 256; none if the upload is gone. */
  parts: z.optional(z.array(z.int())),
});
