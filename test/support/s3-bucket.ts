import { randomBytes } from "node:crypto";
import {
  AbortMultipartUploadCommand,
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutBucketCorsCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { S3Probe, type S3Target } from "./s3.ts";

/** The page whose requests the bucket's CORS rules allow. */
export const PAGE = "https://waybill.example";

/** As infra/bucket.ts has them. */
const CORS_RULE = {
  AllowedOrigins: [PAGE],
  AllowedMethods: ["GET", "HEAD", "PUT"],
  AllowedHeaders: ["range", "if-match", "content-type", "x-amz-checksum-sha256"],
  ExposeHeaders: ["ETag", "Content-Range", "Content-Length", "x-amz-checksum-sha256", "x-amz-checksum-type"],
};

export interface OwnBucket {
  readonly bucket: string;
  /** With all that is in it. */
  remove(): Promise<void>;
}

/** Makes a bucket on a server for one run of tests. */
export async function makeBucket(server: Omit<S3Target, "bucket">): Promise<OwnBucket> {
  const bucket = `waybill-test-${randomBytes(6).toString("hex")}`;
  const { client } = new S3Probe({ ...server, bucket });
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  const rules = new PutBucketCorsCommand({ Bucket: bucket, CORSConfiguration: { CORSRules: [CORS_RULE] } });
  // Servers without rules for each bucket have some for all; the tests show what those allow.
  await client.send(rules).catch(() => undefined);
  return { bucket, remove: () => remove(client, bucket) };
}

async function remove(client: S3Client, Bucket: string): Promise<void> {
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket }));
  for (const { Key, UploadId } of Uploads)
    await client.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }));
  for (;;) {
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket }));
    if (Contents.length === 0) break;
    for (let i = 0; i < Contents.length; i += 50) {
      const batch = Contents.slice(i, i + 50);
      await Promise.all(batch.map(({ Key }) => client.send(new DeleteObjectCommand({ Bucket, Key }))));
    }
  }
  await client.send(new DeleteBucketCommand({ Bucket }));
  client.destroy();
}
