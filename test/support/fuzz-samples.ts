import type * as z from "zod/mini";
import type { Address, Hex } from "../../lib/protocol/hex.ts";
import * as wire from "../../lib/protocol/wire.ts";

// One good input of each kind, from which the bad ones are made.

export const id: Hex = `0x${"ab".repeat(32)}`;
export const account: Address = `0x${"11".repeat(20)}`;
const other: Address = `0x${"22".repeat(20)}`;
const signature: Hex = `0x${"cd".repeat(64)}1b`;
const bitmap: Hex = `0x${"00".repeat(31)}06`;
const digest = `${"A".repeat(43)}=`;
const notice = {
  ...{ kind: "notice", task: id, sender: account, page: 0, recipients: bitmap, transfer: id, manifest: id },
  deadline: 1_900_000_000,
};
const message = {
  ...{ kind: "message", task: id, sender: account, page: 0, recipients: bitmap, name: id, payload: "0x31", salt: id },
  deadline: 1_900_000_000,
};
const signedNotice = { notice, signature, recipients: [account, other] };
const part = { number: 1, length: 16, sha256: digest };
const head = { block: 7, timestamp: 1_800_000_000 };
const partUrl = {
  number: 1,
  url: "https://store.example.org/x?X-Amz-Signature=a",
  headers: { "content-length": "16" },
};

export const bodies = {
  openTask: { owner: account, salt: id, members: [account, other], signature },
  changeRoster: { kind: "admit", members: [account], roster: 3, signature },
  postMessage: { message, signature },
  postReceipt: { notice: id, outcome: "VERIFIED", signature },
  postWithdrawal: { notice: id, signature },
  begin: { transfer: id, size: 50, partSize: 16, contentType: "application/x; a=b", parts: [part] },
  signParts: { parts: [part, { ...part, number: 2 }] },
  finish: { manifest: "eyJhIjoxfQ==", notices: [signedNotice] },
  reportProgress: { bytes: 16, state: "downloading" },
} as const;

export const queries: readonly Readonly<Record<string, string>>[] = [
  { after: "1", block: "7" },
  { after: "1", block: "7", hash: id },
  { before: "3", block: "9" },
  {},
];

export const record = {
  ...{ state: "open", uploadId: "u", size: 50, partSize: 16, contentType: "a/b", digest: null, storedAt: null },
  ...{ keepUntil: 0, notices: [id], generation: 1 },
};
export const progress = { bytes: 16, state: "downloading", at: 3 };

/** With a receipt in it, and without. */
export const entryNames: readonly string[] = [
  `1800000000000-3-${id}.json`,
  `1800000000000-4-${id}/${Buffer.alloc(166, 1).toString("base64url")}.json`,
];

export const xml: readonly string[] = [
  `<?xml version="1.0" encoding="UTF-8"?><CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Part><ETag>"a"</ETag><ChecksumSHA256>${digest}</ChecksumSHA256><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>`,
  "<Delete><Object><Key>a&amp;b&#x20;</Key></Object><Object><Key><![CDATA[c]]></Key></Object><Quiet>true</Quiet></Delete>",
  "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key><Size>3</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents></ListBucketResult>",
  "<Error><Code>SlowDown</Code><Message>x</Message></Error>",
];

/** With the schemas that they meet. */
export const answers: readonly (readonly [z.ZodMiniType, object])[] = [
  [wire.statementAnswer, { statement: id }],
  [wire.openAnswer, { task: id, statement: id }],
  [wire.partsAnswer, { urls: [partUrl], expiresIn: 900 }],
  [
    wire.beginAnswer,
    {
      ...{ state: "open", partSize: 16, contentType: "a/b", urls: [partUrl], expiresIn: 900, head },
      ...{ size: 50, notices: [signedNotice] },
    },
  ],
  [wire.storedPartsAnswer, { parts: [part] }],
  [wire.finishAnswer, { state: "finished", notices: [id], head }],
  [wire.statementStateAnswer, { state: "settled", transaction: id, block: 3 }],
  [
    wire.noticeAnswer,
    {
      ...{ notice, signature, recipients: [{ account, state: "verified" }], published: true, withdrawn: false },
      ...{ transaction: id, manifest: "eyJhIjoxfQ==", head },
    },
  ],
  [
    wire.downloadAnswer,
    {
      ...{ notice, manifest: "eyJhIjoxfQ==", url: "https://store.example.org/x", headers: { "if-match": '"a"' } },
      expiresIn: 900,
    },
  ],
  [wire.eventsAnswer, { events: [], next: { seq: 1, block: 7 }, head, poll: 300 }],
  [
    wire.problem,
    { type: "urn:waybill:CONFLICT", status: 409, code: "CONFLICT", detail: "x", serverTime: 5, parts: [1] },
  ],
];

const word = (value: number): string => value.toString(16).padStart(64, "0");

/** In the form of a log of the contract, under topics that are its own and others. */
export const logs: readonly object[] = [id, `0x${"00".repeat(32)}`].map((topic) => ({
  ...{
    address: account,
    topics: [topic, id],
    data: `0x${word(1)}${word(7)}${word(96)}${word(2)}ffff`,
    logIndex: "0x0",
  },
  ...{ blockNumber: "0x7", blockHash: id, transactionHash: id, removed: false },
}));

/** A notice, VERIFIED, two signatures. */
export const packed: string = `${"ab".repeat(32)}0102${"cd".repeat(130)}`;

export const http: readonly string[] = [
  "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/5\r\n\r\nhello",
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: "a"\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n\r\n',
  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Slow Down\r\nRetry-After: 1\r\nConnection: close\r\n\r\n<Error/>",
];

export const deployment = {
  ...{ api: "https://api.example.org", chainId: 1, contract: account, storeOrigin: "https://store.example.org" },
  ...{ confirmations: 2, blockTime: 12_000, maxBlockAge: 60_000, fromBlock: 5, rpc: ["https://rpc.example.org/key"] },
};

export const environment: Readonly<Record<string, string>> = {
  WAYBILL_API_ORIGIN: "https://api.example.org",
  WAYBILL_CHAIN_ID: "1",
  WAYBILL_CONTRACT: account,
  WAYBILL_RPC: "https://rpc.example.org/key, http://10.0.0.7:8545",
  WAYBILL_CONFIRMATIONS: "3",
  WAYBILL_BLOCK_TIME: "12000",
  WAYBILL_MAX_BLOCK_AGE: "60000",
  WAYBILL_FROM_BLOCK: "5",
  WAYBILL_OWNERS: `${account},${other}`,
  WAYBILL_BUCKET: "waybill",
  AWS_REGION: "eu-west-1",
  WAYBILL_S3_ENDPOINT: "https://s3.example.org",
  WAYBILL_QUEUE_URL: "https://sqs.eu-west-1.amazonaws.com/1/q.fifo",
  WAYBILL_RETENTION: "86400000",
  WAYBILL_MAX_PAYLOAD: "1000000",
  WAYBILL_MAX_OPEN_UPLOADS: "100",
  WAYBILL_MAX_REQUESTS: "900",
  WAYBILL_MAX_STATEMENTS: "300",
};
