// Numbers that all sides must agree on, each with its reason.

const KiB = 1024;
export const MiB: number = 1024 * KiB;
export const GiB: number = 1024 * MiB;

/** S3's own cap on the parts of one multipart upload. */
export const MAX_PARTS = 10_000;
/** S3 refuses smaller parts, except the last. */
export const MIN_PART_SIZE: number = 5 * MiB;
/** 8-16 MiB ranges are where one S3 connection is fastest; smaller ones pay latency. */
export const DEFAULT_PART_SIZE: number = 8 * MiB;
/** Above this a payload is long enough that fewer, larger requests win. */
export const LARGE_PAYLOAD: number = 4 * GiB;
export const LARGE_PART_SIZE: number = 16 * MiB;
/** A part is what one retry costs and what one buffer holds, so it stays small; hence at most 625 GiB a payload. */
export const MAX_PART_SIZE: number = 64 * MiB;
export const MAX_PAYLOAD: number = MAX_PARTS * MAX_PART_SIZE;

/** Recipients in one page: the bits that fit beside a deadline in one storage word (contract). */
export const PAGE_SIZE = 104;
/** Members in one Open, Admit or Expel: what fits the 16.78M gas cap of a transaction (EIP-7825). */
export const MAX_MEMBERS = 256;
/** Bytes of a message's payload on the chain (contract). */
export const MAX_MESSAGE: number = 4 * KiB;
/** How far ahead a deadline may lie (contract). */
export const MAX_DEADLINE_AHEAD: number = 30 * 24 * 3600;
/** The last deadline of a transfer after it was stored, so that the payload's backstop lifecycle never overtakes it. */
export const MAX_STORED: number = 60 * 24 * 3600;

/** Presigned part URLs in one answer: a URL is up to 1.65 kB, and Lambda answers at most 6 MB. */
export const MAX_PART_URLS = 256;
/** Events in one answer. */
export const MAX_EVENTS = 500;
export const MAX_EVENT_BYTES: number = 4 * MiB;
/** Body of a finish: the manifest of 10,000 parts is 627 kB in base64. */
export const MAX_FINISH_BODY: number = 2 * MiB;
export const MAX_BODY: number = 64 * KiB;
/** An API request's signature is good for this long (ERC-8128). */
export const SIGNATURE_WINDOW = 60;
/** Milliseconds between two reports of a recipient on a download: what a person who watches can follow. */
export const REPORT_INTERVAL_MS = 2_000;
/** Characters in a tag. */
export const MAX_TAG = 512;
/** Bytes of a content type. */
export const MAX_CONTENT_TYPE = 128;
