import { readFile } from "node:fs/promises";
import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import type { Cloud } from "./provider.ts";
import type { Resource } from "./state.ts";
import { plain } from "./values.ts";

/** Puts the files of objects where their resources say, as AWS's provider does: functions are made from such objects. */
export async function upload(resources: readonly Resource[], { endpoint, region }: Cloud): Promise<void> {
  const client = new S3Client({ endpoint, region, forcePathStyle: true, requestChecksumCalculation: "WHEN_REQUIRED" });
  for (const { type, inputs } of resources) {
    if (type !== "aws:s3/bucketObjectv2:BucketObjectv2") continue;
    const { bucket, key, source } = plain(inputs) as { bucket: string; key: string; source: { path: string } };
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: await readFile(source.path) }));
  }
  client.destroy();
}
