import { renameSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import * as z from "zod/mini";

/** A file of one part, or of a whole object, under its bucket's folder. */
const blobSchema = z.object({ file: z.string(), size: z.number(), sha256: z.string() });
export type Blob = z.infer<typeof blobSchema>;

const attributes = {
  key: z.string(),
  /** Milliseconds. */
  modified: z.number(),
  /** Headers that a GET gives back: the content type, x-amz-meta-*, ... */
  headers: z.record(z.string(), z.string()),
};

const objectSchema = z.object({
  ...attributes,
  size: z.number(),
  etag: z.string(),
  /** base64 SHA-256, with "-N" for a multipart object, if the client wanted one. */
  checksum: z.optional(z.string()),
  /** The upload it came from, if it was multipart. */
  upload: z.optional(z.string()),
  blobs: z.array(blobSchema),
});
/** An object, as its record on disk holds it. */
export type ObjectRecord = z.infer<typeof objectSchema>;

const uploadSchema = z.object({ ...attributes, id: z.string(), checksum: z.boolean() });
/** An unfinished multipart upload; `modified` is when it began. */
export type UploadRecord = z.infer<typeof uploadSchema>;

export async function readObjectRecord(path: string): Promise<ObjectRecord> {
  return objectSchema.parse(JSON.parse(await readFile(path, "utf8")));
}

export async function readUploadRecord(path: string): Promise<UploadRecord> {
  return uploadSchema.parse(JSON.parse(await readFile(path, "utf8")));
}

/** Appears whole or not at all. A small file takes 0.1 ms at once, and ten times that by way of the thread pool. */
export function writeRecord(path: string, temporary: string, record: ObjectRecord | UploadRecord): void {
  writeFileSync(temporary, JSON.stringify(record), { flag: "wx" });
  renameSync(temporary, path);
}
