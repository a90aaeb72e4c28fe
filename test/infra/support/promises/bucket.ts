import { expect } from "vitest";
import type { Graph } from "../graph.ts";
import { decide, type Request } from "../policy.ts";
import { inDev, inProduction, type Promised } from "./promise.ts";

const PREFIXES = ["payload", "transfer", "notice", "outbox", "settled", "relay", "nonce", "refused", "progress", "new"];
/** A request as S3 shows it to policies: over TLS, signed just now. */
const NOW = { "aws:SecureTransport": "true", "s3:signatureAge": "100" };
/** The headers that a write may carry, as condition keys. */
const BLIND = {};
const IF_NONE_MATCH = { "s3:if-none-match": "*" };
const IF_MATCH = { "s3:if-match": '"etag"' };

/** What the bucket's policy says to somebody who has all rights. */
function asked(graph: Graph, request: Omit<Request, "resource"> & { readonly key: string }): string {
  const arn = `arn:aws:s3:::${bucketOf(graph)}`;
  const everything = { Effect: "Allow", Action: ["*"], Resource: ["*"], Condition: {} } as const;
  const resource = request.key === "" ? arn : `${arn}/${request.key}`;
  return decide([...graph.bucketPolicy, everything], { ...request, resource, context: { ...NOW, ...request.context } });
}

function bucketOf(graph: Graph): string {
  const { bucket } = graph.one("aws:s3/bucketPolicy:BucketPolicy").inputs;
  return String(bucket);
}

function written(graph: Graph, prefix: string, headers: Record<string, string>): string {
  const context = { "s3:ObjectCreationOperation": "true", ...headers };
  return asked(graph, { action: "s3:PutObject", key: `${prefix}/x`, context });
}

/** The prefixes to which a write with these headers is let through. */
function openTo(graph: Graph, headers: Record<string, string>): string[] {
  return PREFIXES.filter((prefix) => written(graph, prefix, headers) === "allowed");
}

interface Rule {
  readonly id: string;
  readonly status: string;
  readonly filter?: { readonly prefix?: string };
  readonly expiration?: { readonly days: number };
  readonly abortIncompleteMultipartUpload?: { readonly daysAfterInitiation: number };
}

export const bucketPromises: readonly Promised[] = [
  inProduction("public access to the bucket is blocked, by lists and by policies", (graph) => {
    expect(graph.one("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock").inputs).toMatchObject({
      blockPublicAcls: true,
      blockPublicPolicy: true,
      ignorePublicAcls: true,
      restrictPublicBuckets: true,
    });
    for (const { Effect } of graph.bucketPolicy) expect(Effect).toBe("Deny");
  }),
  inProduction("nobody uses the bucket without TLS", (graph) => {
    for (const action of ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"])
      expect(asked(graph, { action, key: "outbox/x", context: { "aws:SecureTransport": "false" } })).toBe("denied");
    const context = { "aws:SecureTransport": "false" };
    expect(asked(graph, { action: "s3:ListBucket", key: "", context })).toBe("denied");
    expect(asked(graph, { action: "s3:GetObject", key: "payload/x" })).toBe("allowed");
  }),
  inProduction("every object is encrypted", (graph) => {
    const { rules, bucket } = graph.one(
      "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    ).inputs;
    expect(rules).toEqual([{ applyServerSideEncryptionByDefault: { sseAlgorithm: "AES256" } }]);
    expect(bucket).toBe(bucketOf(graph));
  }),
  inProduction("the bucket's owner owns every object", (graph) => {
    const { rule, bucket } = graph.one("aws:s3/bucketOwnershipControls:BucketOwnershipControls").inputs;
    expect(rule).toEqual({ objectOwnership: "BucketOwnerEnforced" });
    expect(bucket).toBe(bucketOf(graph));
  }),
  inProduction("a signature of more than 15 minutes opens nothing", (graph) => {
    const at = (age: number) =>
      asked(graph, { action: "s3:GetObject", key: "payload/x", context: { "s3:signatureAge": String(age) } });
    expect([at(899_999), at(900_000), at(900_001)]).toEqual(["allowed", "allowed", "denied"]);
    const context = { "s3:signatureAge": "900001" };
    expect(asked(graph, { action: "s3:PutObject", key: "payload/x", context })).toBe("denied");
    expect(asked(graph, { action: "s3:ListBucket", key: "", context })).toBe("denied");
  }),
  inProduction(
    "only outbox, progress and refused take a write that does not say what it expects to be there",
    (graph) => {
      expect(openTo(graph, BLIND)).toEqual(["outbox", "refused", "progress"]);
    },
  ),
  inProduction("what is written once takes only if-none-match; a transfer's record takes if-match, too", (graph) => {
    expect(openTo(graph, IF_NONE_MATCH)).toEqual(PREFIXES);
    expect(openTo(graph, IF_MATCH)).toEqual(["transfer", "outbox", "refused", "progress", "new"]);
  }),
  inProduction("a manifest is written once, and a record beside it by if-match, too", (graph) => {
    const write = (name: string, condition: Readonly<Record<string, string>>) =>
      asked(graph, {
        action: "s3:PutObject",
        key: `transfer/0xa/0xb/0xc/${name}`,
        context: { "s3:ObjectCreationOperation": "true", ...condition },
      });
    expect([write("manifest.json", IF_NONE_MATCH), write("manifest.json", IF_MATCH)]).toEqual(["allowed", "denied"]);
    expect([write("record.json", IF_NONE_MATCH), write("record.json", IF_MATCH)]).toEqual(["allowed", "allowed"]);
  }),
  inProduction("beginning an upload and putting its parts, which can't carry conditions, are let through", (graph) => {
    for (const prefix of PREFIXES) {
      const context = { "s3:ObjectCreationOperation": "false" };
      expect(asked(graph, { action: "s3:PutObject", key: `${prefix}/x`, context })).toBe("allowed");
    }
  }),
  inProduction("reading, listing and deleting are left to each role's rights", (graph) => {
    for (const prefix of PREFIXES)
      for (const action of ["s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload"])
        expect(asked(graph, { action, key: `${prefix}/x` })).toBe("allowed");
    expect(asked(graph, { action: "s3:ListBucket", key: "" })).toBe("allowed");
  }),
  inProduction("lifecycles are backstops for payloads and short-lived things, and touch no book", (graph) => {
    const rules = graph.input(
      "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
      undefined,
      "rules",
    ) as unknown as Rule[];
    expect(rules.every(({ status }) => status === "Enabled")).toBe(true);
    const ends = rules.filter(({ expiration }) => expiration);
    expect(Object.fromEntries(ends.map(({ filter, expiration }) => [filter?.prefix, expiration!.days]))).toEqual({
      "payload/": 120,
      "nonce/": 1,
      "progress/": 1,
      "refused/": 1,
    });
    const aborts = rules.filter((rule) => rule.abortIncompleteMultipartUpload);
    expect(aborts.map((rule) => [rule.filter, rule.abortIncompleteMultipartUpload])).toEqual([
      [{ prefix: "" }, { daysAfterInitiation: 30 }],
    ]);
    expect(rules).toHaveLength(ends.length + aborts.length);
  }),
  inProduction("parts may be put and fetched by pages of exactly the configured origins", (graph) => {
    const rules = graph.input("aws:s3/bucketCorsConfiguration:BucketCorsConfiguration", undefined, "corsRules");
    expect(rules).toEqual([
      {
        allowedOrigins: ["https://console.example.org", "https://lab.example.org"],
        allowedMethods: ["GET", "HEAD", "PUT"],
        allowedHeaders: expect.arrayContaining(["range", "if-match", "x-amz-checksum-sha256"]),
        exposeHeaders: expect.arrayContaining(["ETag", "Content-Range", "x-amz-checksum-sha256"]),
        maxAgeSeconds: 86_400,
      },
    ]);
    expect(JSON.stringify(rules)).not.toContain("*");
  }),
  inDev("without configured origins no page may use the bucket", (graph) => {
    expect(graph.all("aws:s3/bucketCorsConfiguration:BucketCorsConfiguration")).toEqual([]);
  }),
  inProduction("production's bucket outlives its stage, and nobody can delete it by a slip", (graph) => {
    const { inputs, protect, retainOnDelete } = graph.one("aws:s3/bucket:Bucket");
    expect([inputs.forceDestroy, protect, retainOnDelete]).toEqual([false, true, true]);
  }),
  inDev("another stage's bucket goes with it", (graph) => {
    expect(graph.input("aws:s3/bucket:Bucket", undefined, "forceDestroy")).toBe(true);
  }),
];
