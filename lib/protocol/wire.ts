import * as z from "zod/mini";
import { MAX_MESSAGE, PAGE_SIZE } from "./limits.ts";
import { tagText } from "./manifest.ts";
import { type Reason, reasonNames } from "./reasons.ts";
import {
  address,
  base64,
  bitmap,
  bytes,
  count,
  id32,
  noticeJson,
  outcome,
  page,
  progressState,
  seconds,
  sha256Text,
  signature,
  signedNotice,
  uint32,
} from "./requests.ts";

// What the HTTPS API answers, as the client reads it. The functions only have its types.

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
  /** The manifest's: the tag can be checked against the notice's transfer. */
  tag: tagText,
  size: count,
  /** To who asked for it (manifest=true): of 10,000 parts it is a megabyte. */
  manifest: z.optional(base64),
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
/** Members' equal words about a notice, which has a page of recipients at most. */
const receiptGroup = z.object({
  notice: id32,
  outcome,
  signatures: z.array(signature).check(z.minLength(1), z.maxLength(PAGE_SIZE)),
});
export type ReceiptGroup = z.infer<typeof receiptGroup>;
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
  z.object({ type: z.literal("receipts"), ...common, receipts: z.array(receiptGroup).check(z.minLength(1)) }),
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
