import { getObjectAttributes } from "./attributes.ts";
import type { Operation } from "./call.ts";
import { uploadPartCopy } from "./copy.ts";
import { S3Error } from "./errors.ts";
import { listObjects } from "./listing.ts";
import { abortUpload, completeUpload, createUpload, uploadPart } from "./multipart.ts";
import { deleteObject, deleteObjects, getObject, headObject, putObject } from "./objects.ts";
import { xmlReply } from "./reply.ts";
import type { S3Request } from "./request.ts";
import { listParts, listUploads } from "./uploads.ts";

/** Queries that address something other than the object or the bucket itself: to ignore one would answer another question. */
const SUBRESOURCES = new Set(
  "accelerate acl analytics attributes cors delete encryption intelligent-tiering inventory legal-hold lifecycle location logging metrics notification object-lock ownershipControls partNumber policy policyStatus publicAccessBlock replication requestPayment restore retention select tagging torrent uploadId uploads versionId versioning versions website".split(
    " ",
  ),
);

export interface Route {
  /** S3's name for the operation. */
  readonly name: string;
  readonly run: Operation;
  /** The x-amz-checksum header is about the whole object, not about this request's body. */
  readonly wholeChecksum?: true;
}

const headBucket: Operation = async () => ({ status: 200 });
const bucketLocation: Operation = async () => xmlReply("LocationConstraint", []);

/** By method and by the sub-resources of the query. */
const ofBucket: Readonly<Record<string, Route>> = {
  "HEAD ": { name: "HeadBucket", run: headBucket },
  "GET ": { name: "ListObjectsV2", run: listObjects },
  "GET location": { name: "GetBucketLocation", run: bucketLocation },
  "GET uploads": { name: "ListMultipartUploads", run: listUploads },
  "POST delete": { name: "DeleteObjects", run: deleteObjects },
};

const ofObject: Readonly<Record<string, Route>> = {
  "PUT ": { name: "PutObject", run: putObject },
  "GET ": { name: "GetObject", run: getObject },
  "GET partNumber": { name: "GetObject", run: getObject },
  "HEAD ": { name: "HeadObject", run: headObject },
  "HEAD partNumber": { name: "HeadObject", run: headObject },
  "DELETE ": { name: "DeleteObject", run: deleteObject },
  "GET attributes": { name: "GetObjectAttributes", run: getObjectAttributes },
  "POST uploads": { name: "CreateMultipartUpload", run: createUpload },
  "PUT partNumber,uploadId": { name: "UploadPart", run: uploadPart },
  "GET uploadId": { name: "ListParts", run: listParts },
  "POST uploadId": { name: "CompleteMultipartUpload", run: completeUpload, wholeChecksum: true },
  "DELETE uploadId": { name: "AbortMultipartUpload", run: abortUpload },
};
const copied: Route = { name: "UploadPartCopy", run: uploadPartCopy };

/** CreateBucket is the server's own affair: there is no bucket yet. */
export function isCreateBucket({ method, key, bucket, query }: S3Request): boolean {
  return method === "PUT" && key === "" && bucket !== "" && subresources(query.all.keys()) === "";
}

/** @throws S3Error for what this store does not do */
export function routeOf({ method, key, query, headers }: S3Request): Route {
  const name = `${method} ${subresources(query.all.keys())}`;
  const route = (key === "" ? ofBucket : ofObject)[name];
  if (!route) throw new S3Error(/^(GET|HEAD|PUT|POST|DELETE) /.test(name) ? "NotImplemented" : "MethodNotAllowed");
  if (headers["x-amz-copy-source"] === undefined) return route;
  if (route.run === uploadPart) return copied;
  throw new S3Error("NotImplemented", "Only parts can be copied.");
}

function subresources(names: Iterable<string>): string {
  return [...names]
    .filter((name) => SUBRESOURCES.has(name))
    .sort()
    .join(",");
}
