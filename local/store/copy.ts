import { createReadStream } from "node:fs";
import { receive } from "./body.ts";
import type { Call, Operation } from "./call.ts";
import { etagOf } from "./checksum.ts";
import { checkRead } from "./conditions.ts";
import { S3Error } from "./errors.ts";
import { partNumber, uploadId } from "./multipart.ts";
import { type ByteRange, type Slice, slicesOf } from "./ranges.ts";
import type { ObjectRecord } from "./records.ts";
import { quoted, timestamp, xmlReply } from "./reply.ts";
import { decode } from "./request.ts";

/** Big reads: a copy is bound by the disk and the digest, not by calls. */
const READ_SIZE = 2 ** 19;

/** A part from bytes that the store already holds. */
export const uploadPartCopy: Operation = async (call) => {
  const { request, bucket, now } = call;
  const [id, number] = [uploadId(request), partNumber(request)];
  const { checksum } = bucket.upload(request.key, id).record;
  const source = findSource(call);
  checkRead(request.headers, source.object, "x-amz-copy-source-");
  const range = copyRange(request.headers["x-amz-copy-source-range"], source.object.size);
  const files = source.object.blobs.map(({ file, size }) => ({ file: source.bucket.folder.path(file), size }));
  const lease = source.bucket.lease(source.object);
  try {
    const promises = { size: range.end - range.start, chunked: false };
    const bytes = readSlices(slicesOf(files, range));
    const received = await receive({ bytes, trailers: new Map() }, bucket.temporary(), promises);
    const { sha256 } = await bucket.storePart(request.key, id, number, received, now);
    return xmlReply("CopyPartResult", [
      ["LastModified", timestamp(now)],
      ["ETag", quoted(etagOf(sha256))],
      ["ChecksumSHA256", checksum ? sha256 : undefined],
    ]);
  } finally {
    await lease.release();
  }
};

function findSource({ request, buckets }: Call): { bucket: Call["bucket"]; object: ObjectRecord } {
  const text = request.headers["x-amz-copy-source"] ?? "";
  if (text.includes("?")) throw new S3Error("NotImplemented", "Versions are not implemented.");
  const [name = "", ...rest] = decode(text.replace(/^\//, "")).split("/");
  const bucket = buckets.get(name);
  if (!bucket) throw new S3Error("NoSuchBucket");
  return { bucket, object: bucket.get(rest.join("/")) };
}

/** Unlike a GET's, a copy's range must lie within the source. */
function copyRange(header: string | undefined, size: number): ByteRange {
  if (header === undefined) return { start: 0, end: size };
  const [, first, last] = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(header) ?? [];
  const range = { start: Number(first), end: Number(last) + 1 };
  if (range.start < range.end && range.end <= size) return range;
  throw new S3Error(
    "InvalidArgument",
    "The x-amz-copy-source-range value must be of the form bytes=first-last and within the source",
  );
}

async function* readSlices(slices: readonly Slice[]): AsyncGenerator<Buffer, void, undefined> {
  for (const { file, start, end } of slices) {
    yield* createReadStream(file, { start, end: end - 1, highWaterMark: READ_SIZE }) as AsyncIterable<Buffer>;
  }
}
