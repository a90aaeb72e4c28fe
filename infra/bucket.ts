import type { Stage } from "./stages.ts";

/** A presigned URL is good for 15 minutes; whatever was signed longer ago is refused, whoever signed it for how long. */
const MAX_SIGNATURE_AGE_MS = 15 * 60_000;

/** Prefixes whose objects are written as often as one likes; all other writes say what they expect to be there. */
const OVERWRITTEN = ["outbox", "progress", "refused"];
/** Prefixes whose objects never change: only if-none-match. (A transfer's record changes, by if-match.) */
const WRITTEN_ONCE = ["payload", "notice", "settled", "relay", "nonce"];

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
        args.forceDestroy = !stage.production;
        opts.protect = stage.production;
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
    allowMethods: ["GET", "HEAD", "PUT"],
    allowHeaders: ["range", "if-match", "content-type", "x-amz-checksum-sha256"],
    exposeHeaders: ["ETag", "Content-Range", "Content-Length", "x-amz-checksum-sha256", "x-amz-checksum-type"],
    maxAge: "1 day",
  };
}

type Statement = aws.types.input.iam.GetPolicyDocumentStatementArgs;

/** SST's policy (TLS) with ours. Its own option knows no "everything but these keys". */
function withGuards({ bucket, policy }: aws.s3.BucketPolicyArgs): $util.Output<string> {
  const arn = $interpolate`arn:${aws.getPartitionOutput().partition}:s3:::${bucket}`;
  const keys = (prefixes: readonly string[]) => prefixes.map((prefix) => $interpolate`${arn}/${prefix}/*`);
  const statements: Statement[] = [
    {
      ...everybodyDenied("StaleSignature", ["s3:*"]),
      resources: [arn, $interpolate`${arn}/*`],
      conditions: [{ test: "NumericGreaterThan", variable: "s3:signatureAge", values: [String(MAX_SIGNATURE_AGE_MS)] }],
    },
    {
      ...everybodyDenied("UnconditionalWrite", ["s3:PutObject"]),
      notResources: keys(OVERWRITTEN),
      conditions: creationWithout("s3:if-none-match", "s3:if-match"),
    },
    {
      ...everybodyDenied("Overwrite", ["s3:PutObject"]),
      resources: keys(WRITTEN_ONCE),
      conditions: creationWithout("s3:if-none-match"),
    },
  ];
  return aws.iam.getPolicyDocumentOutput({ sourcePolicyDocuments: [$output(policy).apply(String)], statements }).json;
}

function everybodyDenied(sid: string, actions: string[]): Statement {
  return { sid, effect: "Deny", principals: [{ type: "*", identifiers: ["*"] }], actions };
}

/**
 * A request without any of these headers that makes an object: PutObject or CompleteMultipartUpload. To begin an upload and to
 * put its parts is s3:PutObject too, but makes none and can't carry the headers, so s3:ObjectCreationOperation tells them apart.
 */
function creationWithout(...headers: string[]): NonNullable<Statement["conditions"]> {
  return [
    { test: "Bool", variable: "s3:ObjectCreationOperation", values: ["true"] },
    ...headers.map((variable) => ({ test: "Null", variable, values: ["true"] })),
  ];
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
