/** The functions, and the file of each one's handler under functions/. */
export const functions = ["uploads", "downloads", "tasks", "publisher", "sweeper"] as const;
export type FunctionName = (typeof functions)[number];

/** The first pieces of the bucket's keys (docs/design.md §6). */
export const prefixes = [
  "payload",
  "transfer",
  "notice",
  "outbox",
  "settled",
  "relay",
  "nonce",
  "refused",
  "progress",
] as const;
export type Prefix = (typeof prefixes)[number];

/** Whose keys an action on the bucket may name; "bucket": the action knows no keys, and IAM no condition on it. */
export type BucketRights = Readonly<Record<`s3:${string}`, readonly Prefix[] | "bucket">>;

/**
 * What each function may do with the bucket, and nothing else: what it does, and what tests saw it do.
 *
 * A prefix of ListBucket is there to be listed, or because objects under it may be missing: S3 answers 404 only to who could
 * have listed the key, and 403 otherwise. Writing by if-match takes GetObject too. Parts are written under URLs that carry
 * the right of `uploads` to put payloads; a payload is read under those of `downloads`. Recipients' progress is written by
 * `downloads` and read by `tasks`.
 */
export const bucketRights: Readonly<Record<FunctionName, BucketRights>> = {
  uploads: {
    "s3:GetObject": ["payload", "transfer", "notice", "settled", "nonce"],
    "s3:PutObject": ["payload", "transfer", "notice", "outbox", "nonce"],
    "s3:AbortMultipartUpload": ["payload"],
    "s3:ListMultipartUploadParts": ["payload"],
    "s3:ListBucket": ["payload", "transfer", "notice", "settled", "nonce"],
    "s3:ListBucketMultipartUploads": "bucket",
  },
  downloads: {
    "s3:GetObject": ["payload", "transfer", "notice", "nonce"],
    "s3:PutObject": ["nonce", "progress"],
    "s3:ListBucket": ["payload", "transfer", "notice", "nonce"],
  },
  tasks: {
    "s3:GetObject": ["transfer", "notice", "settled", "nonce", "progress"],
    "s3:PutObject": ["outbox", "nonce"],
    "s3:ListBucket": ["transfer", "notice", "settled", "nonce", "progress"],
  },
  publisher: {
    "s3:GetObject": ["outbox", "relay"],
    "s3:PutObject": ["relay", "settled", "refused"],
    "s3:DeleteObject": ["outbox"],
    "s3:ListBucket": ["outbox", "relay", "refused"],
  },
  sweeper: {
    "s3:GetObject": ["transfer", "notice"],
    "s3:PutObject": ["transfer"],
    "s3:DeleteObject": ["payload"],
    "s3:AbortMultipartUpload": ["payload"],
    "s3:ListMultipartUploadParts": ["payload"],
    "s3:ListBucket": ["payload", "transfer", "notice"],
    "s3:ListBucketMultipartUploads": "bucket",
  },
};

/** Who rings the publisher's door bell: whoever puts statements into the outbox. */
export const ringers: readonly FunctionName[] = ["uploads", "tasks"];
/** What Lambda asks of a queue in the name of the function that it wakes. */
export const queueConsumer = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"] as const;
/** What the publisher does with the relayer's key. */
export const relayerUse = ["kms:Sign", "kms:GetPublicKey"] as const;
