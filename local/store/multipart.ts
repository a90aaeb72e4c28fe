import * as z from "zod/mini";
import type { Part, Upload } from "./bucket.ts";
import type { Call, Operation } from "./call.ts";
import { compositeChecksum, compositeEtag, etagOf } from "./checksum.ts";
import { checkWrite, checkWriteHeaders, isConditional } from "./conditions.ts";
import { S3Error } from "./errors.ts";
import { keptHeaders } from "./headers.ts";
import { quoted, xmlReply } from "./reply.ts";
import type { S3Request } from "./request.ts";
import { readXml } from "./xml.ts";

/** S3's limit on the parts of one upload. */
const MAX_PARTS = 10_000;

export const createUpload: Operation = async ({ request, bucket, now }) => {
  const { key, headers } = request;
  const checksum = wantsChecksum(headers);
  const id = await bucket.beginUpload({ key, modified: now, headers: keptHeaders(headers), checksum });
  return xmlReply(
    "InitiateMultipartUploadResult",
    [
      ["Bucket", bucket.name],
      ["Key", key],
      ["UploadId", id],
    ],
    checksum ? { "x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-type": "COMPOSITE" } : {},
  );
};

function wantsChecksum(headers: Readonly<Record<string, string>>): boolean {
  const algorithm = headers["x-amz-checksum-algorithm"]?.toUpperCase();
  const type = headers["x-amz-checksum-type"]?.toUpperCase() ?? "COMPOSITE";
  if (algorithm === undefined) return false;
  if (algorithm !== "SHA256") throw new S3Error("NotImplemented", "Only the checksum algorithm SHA256 is implemented.");
  if (type === "COMPOSITE") return true;
  throw new S3Error("InvalidRequest", `The ${type} checksum type cannot be used with the sha256 checksum algorithm.`);
}

export function uploadId({ query }: S3Request): string {
  return query.get("uploadId") ?? "";
}

export function partNumber({ query }: S3Request): number {
  const number = query.count("partNumber", 0);
  if (number >= 1 && number <= MAX_PARTS) return number;
  throw new S3Error("InvalidArgument", `Part number must be an integer between 1 and ${MAX_PARTS}, inclusive`);
}

export const uploadPart: Operation = async ({ request, bucket, body, now }) => {
  const [id, number] = [uploadId(request), partNumber(request)];
  const { checksum } = bucket.upload(request.key, id).record;
  if (checksum && body.promises.checksum?.name !== "x-amz-checksum-sha256") {
    throw new S3Error(
      "InvalidRequest",
      "Checksum Type mismatch occurred, expected checksum Type: sha256, actual: null",
    );
  }
  const received = await body.toFile(bucket.temporary());
  const { sha256 } = await bucket.storePart(request.key, id, number, received, now);
  const echoed = body.promises.checksum?.name === "x-amz-checksum-sha256" ? { "x-amz-checksum-sha256": sha256 } : {};
  return { status: 200, headers: { etag: quoted(etagOf(sha256)), ...echoed } };
};

export const abortUpload: Operation = async ({ request, bucket }) => {
  const id = uploadId(request);
  await bucket.uploadLocks.run(id, () => bucket.endUpload(bucket.upload(request.key, id), new Set()));
  return { status: 204 };
};

const partListSchema = z.object({
  CompleteMultipartUpload: z.object({
    Part: z
      .array(
        z.object({
          PartNumber: z.string().check(z.regex(/^\d{1,5}$/)),
          ETag: z.string(),
          ChecksumSHA256: z.optional(z.string()),
        }),
      )
      .check(z.maxLength(MAX_PARTS)),
  }),
});
type ListedPart = z.infer<typeof partListSchema>["CompleteMultipartUpload"]["Part"][number];

export const completeUpload: Operation = async (call) => {
  const { request, bucket, body } = call;
  const [id, { key }] = [uploadId(request), request];
  checkWriteHeaders(request.headers);
  bucket.upload(key, id);
  const listed = partListSchema.safeParse(readXml(await body.toText()));
  if (!listed.success) throw new S3Error("MalformedXML");
  return bucket.uploadLocks.run(id, async () => {
    const upload = bucket.upload(key, id); // it may have ended while the body came in
    const parts = chooseParts(upload, listed.data.CompleteMultipartUpload.Part, call.minPartSize);
    const digests = parts.map(({ sha256 }) => sha256);
    const etag = compositeEtag(digests);
    const checksum = upload.record.checksum ? { checksum: compositeChecksum(digests) } : {};
    await assemble(call, upload, parts, etag, checksum);
    return xmlReply("CompleteMultipartUploadResult", [
      ["Location", `http://${request.headers.host ?? ""}${request.path}`],
      ["Bucket", bucket.name],
      ["Key", key],
      ["ETag", quoted(etag)],
      ["ChecksumSHA256", checksum.checksum],
      ["ChecksumType", upload.record.checksum ? "COMPOSITE" : undefined],
    ]);
  });
};

/** The parts that the client lists, each checked against what is stored. */
function chooseParts({ record, parts }: Upload, listed: readonly ListedPart[], minPartSize: number): Part[] {
  const numbers = listed.map(({ PartNumber }) => Number(PartNumber));
  if (numbers.some((number, index) => index > 0 && number <= (numbers[index - 1] as number))) {
    throw new S3Error("InvalidPartOrder");
  }
  const chosen = listed.map((entry) => choosePart(record.checksum, parts.get(Number(entry.PartNumber)), entry));
  if (chosen.slice(0, -1).some(({ size }) => size < minPartSize)) throw new S3Error("EntityTooSmall");
  return chosen;
}

function choosePart(checksum: boolean, part: Part | undefined, listed: ListedPart): Part {
  if (!part || listed.ETag.replace(/^"(.*)"$/, "$1") !== etagOf(part.sha256)) throw new S3Error("InvalidPart");
  if (checksum && listed.ChecksumSHA256 === undefined) {
    const sentence = `The upload was created using a sha256 checksum. The complete request must include the checksum for each part. It was missing for part ${part.number} in the request.`;
    throw new S3Error("InvalidRequest", sentence);
  }
  if (listed.ChecksumSHA256 !== undefined && listed.ChecksumSHA256 !== part.sha256) throw new S3Error("InvalidPart");
  return part;
}

/** The parts' files become the object's. Under the upload's lock. */
async function assemble(
  { request, bucket }: Call,
  upload: Upload,
  parts: readonly Part[],
  etag: string,
  checksum: { checksum?: string },
): Promise<void> {
  const { id, key, modified, headers } = upload.record;
  const size = parts.reduce((sum, part) => sum + part.size, 0);
  checkWhole(request.headers, size, checksum.checksum);
  if (isConditional(request.headers) && bucket.keyLocks.busy(key)) throw new S3Error("ConditionalRequestConflict");
  await bucket.keyLocks.run(key, async () => {
    checkWrite(request.headers, bucket.find(key));
    const blobs = parts.map(({ file, size, sha256 }) => ({ file, size, sha256 }));
    // Like S3's, a multipart object's date is its upload's beginning.
    await bucket.put({ key, size, etag, modified, headers, upload: id, blobs, ...checksum });
  });
  await bucket.endUpload(upload, new Set(parts.map(({ number }) => number)));
}

/** What a Complete may say of the whole object. */
function checkWhole(headers: Readonly<Record<string, string>>, size: number, checksum: string | undefined): void {
  const expected = headers["x-amz-mp-object-size"];
  if (expected !== undefined && expected !== String(size)) {
    throw new S3Error("InvalidRequest", "The provided 'x-amz-mp-object-size' header does not match what was computed.");
  }
  const given = headers["x-amz-checksum-sha256"];
  if (given !== undefined && given.split("-")[0] !== checksum?.split("-")[0]) throw new S3Error("BadDigest");
}
