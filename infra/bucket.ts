import { BUCKET_CORS } from "../functions/cors.ts";
import type { Stage } from "./stages.ts";

/** A presigned URL is good for 15 minutes; whatever was signed longer ago is refused, whoever signed it for how long. */
const MAX_SIGNATURE_AGE_MS = 15 * 60_000;

/** Prefixes whose objects are written as often as one likes; all other writes say what they expect to be there. */
const OVERWRITTEN = ["outbox", "progress", "refused"];
/** Prefixes whose objects never change: only if-none-match. (A transfer's record changes, by if-match.) */
const WRITTEN_ONCE = ["payload", "notice", "settled", "relay", "nonce"];
/** And of a transfer, what its digest is of. */
const MANIFESTS = "transfer/*/manifest.json";

/** Backstops for what the sweeper or nobody removes. Never on outbox, transfer, notice, settled or relay: they are the books. */
const EXPIRY_DAYS = { payload: 120, nonce: 1, progress: 1, refused: 1 } as const;
const INCOMPLETE_MULTIPART_DAYS = 30;

/** The bucket: no public access, TLS alone, encrypted, and no write that could undo another one. */
export function createBucket(stage: Stage): sst.aws.Bucket {
  const bucket = new sst.aws.Bucket("Bucket", {
    enforceHttps: true,
    cors: corsOf(stage),
    lifecycle: Object.entries(EXPIRY_DAYS).map(([prefix, days]) => ({
      id: `expire-${prefix}`,
      prefix: `${prefix}/`,
      expiresIn: `${days} days` as const,
    })),
    transform: {
      bucket: (args, opts) => {
        args.forceDestroy = !$app.protect;
        opts.protect = $app.protect;
      },
      policy: (args) => {
        args.policy = withGuards(args);
      },
      lifecycle: (args) => {
        args.rules = withAbortRule(args.rules);
      },
    },
  });
  new aws.s3.BucketServerSideEncryptionConfiguration("BucketEncryption", {
    bucket: bucket.name,
    rules: [{ applyServerSideEncryptionByDefault: { sseAlgorithm: "AES256" } }],
  });
  new aws.s3.BucketOwnershipControls("BucketOwnership", {
    bucket: bucket.name,
    rule: { objectOwnership: "BucketOwnerEnforced" },
  });
  return bucket;
}

/** What a page needs to send and fetch parts itself, from exactly the stage's origins. */
function corsOf({ origins }: Stage): sst.aws.BucketArgs["cors"] {
  if (origins.length === 0) return false;
  return {
    allowOrigins: [...origins],
    allowMethods: [...BUCKET_CORS.methods],
    allowHeaders: [...BUCKET_CORS.headers],
    exposeHeaders: [...BUCKET_CORS.exposed],
    maxAge: "1 day",
  };
}

/** SST's policy (TLS) with ours. Its own option knows no "everything but these keys". */
function withGuards({ bucket, policy }: aws.s3.BucketPolicyArgs): $util.Output<string> {
  const arn = $interpolate`arn:${aws.getPartitionOutput().partition}:s3:::${bucket}`;
  return $util.all([policy, arn]).apply(([given, bucketArn]) => {
    const { Version, Statement } = JSON.parse(String(given)) as { Version: string; Statement: unknown[] };
    return JSON.stringify({ Version, Statement: [...Statement, ...guardsOf(bucketArn)] });
  });
}

function guardsOf(arn: string): unknown[] {
  const keys = (prefixes: readonly string[]) => prefixes.map((prefix) => `${arn}/${prefix}/*`);
  const denied = { Effect: "Deny", Principal: "*" };
  return [
    {
      ...denied,
      Sid: "StaleSignature",
      Action: "s3:*",
      Resource: [arn, `${arn}/*`],
      Condition: { NumericGreaterThan: { "s3:signatureAge": String(MAX_SIGNATURE_AGE_MS) } },
    },
    {
      ...denied,
      Sid: "UnconditionalWrite",
      Action: "s3:PutObject",
      NotResource: keys(OVERWRITTEN),
      Condition: creationWithout("s3:if-none-match", "s3:if-match"),
    },
    {
      ...denied,
      Sid: "Overwrite",
      Action: "s3:PutObject",
      Resource: [...keys(WRITTEN_ONCE), `${arn}/${MANIFESTS}`],
      Condition: creationWithout("s3:if-none-match"),
    },
  ];
}

/**
 * A request without any of these headers that makes an object: PutObject or CompleteMultipartUpload. To begin an upload and to
 * put its parts is s3:PutObject too, but makes none and can't carry the headers, so s3:ObjectCreationOperation tells them apart.
 */
function creationWithout(...headers: string[]): unknown {
  return {
    Bool: { "s3:ObjectCreationOperation": "true" },
    Null: Object.fromEntries(headers.map((header) => [header, "true"])),
  };
}

/** SST's lifecycle has no rule for uploads that nobody finishes. */
function withAbortRule(
  rules: aws.s3.BucketLifecycleConfigurationArgs["rules"],
): aws.s3.BucketLifecycleConfigurationArgs["rules"] {
  const abort = {
    id: "abort-incomplete-multipart",
    status: "Enabled",
    filter: { prefix: "" },
    abortIncompleteMultipartUpload: { daysAfterInitiation: INCOMPLETE_MULTIPART_DAYS },
  };
  return $output(rules).apply((given) => [...(given ?? []), abort]);
}
