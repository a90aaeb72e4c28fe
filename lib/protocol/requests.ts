import * as z from "zod/mini";
import { type Address, type Hex, wordHex } from "./hex.ts";
import { MAX_MEMBERS, MAX_MESSAGE, MAX_PART_SIZE, MAX_PART_URLS, MAX_PARTS, MAX_PAYLOAD, PAGE_SIZE } from "./limits.ts";
import { contentTypeSchema } from "./manifest.ts";
import { type Outcome, outcomes } from "./reasons.ts";
import type { Message, Notice } from "./statements.ts";

// What is asked of the HTTPS API, and the pieces of it: all that the functions check. Nothing here may import wire.ts, which would
// bring the answers into every function: of a cold start, building schemas is a good part.

const hexOf = (digits: number) => z.string().check(z.regex(new RegExp(`^0x[0-9a-f]{${digits}}$`)));

/** A lower-case 32-byte id. */
export const id32: z.ZodMiniType<Hex> = hexOf(64) as unknown as z.ZodMiniType<Hex>;
/** A lower-case account. */
export const address: z.ZodMiniType<Address> = hexOf(40) as unknown as z.ZodMiniType<Address>;
/** A 65-byte account signature. */
export const signature: z.ZodMiniType<Hex> = hexOf(130) as unknown as z.ZodMiniType<Hex>;
/** Any even number of hex digits, lower-case. */
export const bytes = (max: number): z.ZodMiniType<Hex> =>
  z.string().check(z.regex(/^0x([0-9a-f]{2})*$/), z.maxLength(2 + 2 * max)) as unknown as z.ZodMiniType<Hex>;
/** A 256-bit bitmap: 64 hex digits on the wire, bigint inside. */
export const bitmap = z.pipe(
  hexOf(64),
  z.transform((text) => BigInt(text)),
);
/** base64 of 32 bytes. */
export const sha256Text: z.ZodMiniType<string> = z.string().check(z.regex(/^[A-Za-z0-9+/]{43}=$/));
export const seconds = z.int().check(z.gte(0), z.lt(2 ** 47)); // the contract keeps a deadline in 47 bits
export const uint32 = z.int().check(z.gte(0), z.lt(2 ** 32));
const members = z.array(address).check(z.minLength(1), z.maxLength(MAX_MEMBERS));
export const base64 = z.string().check(z.regex(/^[A-Za-z0-9+/]*={0,2}$/));
export const page = z.int().check(z.gte(0), z.lt(2 ** 16));
export const count = z.int().check(z.gte(0));
export const outcome = z.enum(Object.keys(outcomes) as [Outcome, ...Outcome[]]);

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
/** Whether the manifest is wanted, too. */
export const noticeQuery = z.strictObject({ manifest: z.optional(z.enum(["true", "false"])) });
