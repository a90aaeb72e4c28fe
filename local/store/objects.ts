import { rm } from "node:fs/promises";
import * as z from "zod/mini";
import type { Call, Operation } from "./call.ts";
import { etagOf } from "./checksum.ts";
import { checkRead, checkWrite, checkWriteHeaders } from "./conditions.ts";
import { S3Error } from "./errors.ts";
import { describe, keptHeaders, overrides } from "./headers.ts";
import { type ByteRange, parseRange, slicesOf } from "./ranges.ts";
import type { ObjectRecord } from "./records.ts";
import { quoted, type Reply, xmlReply } from "./reply.ts";
import type { S3Request } from "./request.ts";
import { readXml, type XmlChild } from "./xml.ts";

/** S3's limit on the keys of one DeleteObjects. */
const MAX_DELETES = 1_000;

export const putObject: Operation = async ({ request, bucket, body, now }) => {
  const { key, headers } = request;
  checkWriteHeaders(headers);
  const kept = keptHeaders(headers);
  const received = await body.toFile(bucket.temporary());
  const etag = etagOf(received.sha256);
  const checksum = body.promises.checksum?.name === "x-amz-checksum-sha256" ? { checksum: received.sha256 } : {};
  const write = bucket.keyLocks.run(key, async () => {
    checkWrite(headers, bucket.find(key));
    await bucket.store(received, { key, etag, modified: now, headers: kept, ...checksum });
  });
  await write.catch(async (error: unknown) => {
    await rm(received.file, { force: true });
    throw error;
  });
  return { status: 200, headers: { etag: quoted(etag), ...checksumHeaders(checksum.checksum) } };
};

export const getObject: Operation = async (call) => {
  const { object, range, reply } = readObject(call);
  const files = object.blobs.map(({ file, size }) => ({ file: call.bucket.folder.path(file), size }));
  const { release } = call.bucket.lease(object);
  return { ...reply, content: { size: range.end - range.start, slices: slicesOf(files, range), release } };
};

export const headObject: Operation = async (call) => {
  const { range, reply } = readObject(call);
  return { ...reply, headers: { ...reply.headers, "content-length": String(range.end - range.start) } };
};

function readObject({ request, bucket }: Call): { object: ObjectRecord; range: ByteRange; reply: Reply } {
  const object = bucket.get(request.key);
  checkRead(request.headers, object);
  const { status, range, headers, checksum } = chooseView(request, object);
  const checksums =
    request.headers["x-amz-checksum-mode"]?.toUpperCase() === "ENABLED" ? checksumHeaders(checksum) : {};
  return {
    object,
    range,
    reply: { status, headers: { ...describe(object), ...headers, ...checksums, ...overrides(request.query) } },
  };
}

/** What of an object is asked for. */
interface View {
  readonly status: number;
  readonly range: ByteRange;
  readonly headers?: Readonly<Record<string, string>>;
  readonly checksum?: string | undefined;
}

function chooseView(request: S3Request, object: ObjectRecord): View {
  const header = request.headers.range;
  if (request.query.has("partNumber")) {
    if (header !== undefined) throw new S3Error("InvalidRequest", "Cannot specify both Range header and partNumber");
    return partView(request.query.count("partNumber", 0, 1), object);
  }
  const range = header === undefined ? null : parseRange(header, object.size);
  if (range === "unsatisfiable") {
    throw new S3Error("InvalidRange", undefined, { "content-range": `bytes */${object.size}` });
  }
  if (range === null) return { status: 200, range: { start: 0, end: object.size }, checksum: object.checksum };
  return { status: 206, range, headers: contentRange(range, object.size) };
}

function partView(number: number, object: ObjectRecord): View {
  const blob = object.blobs[number - 1];
  if (!blob) throw new S3Error("InvalidPartNumber");
  const start = object.blobs.slice(0, number - 1).reduce((sum, { size }) => sum + size, 0);
  const range = { start, end: start + blob.size };
  const count = object.upload === undefined ? {} : { "x-amz-mp-parts-count": String(object.blobs.length) };
  const checksum = object.checksum === undefined ? undefined : blob.sha256;
  // No Content-Range can name an empty stretch.
  if (blob.size === 0) return { status: 200, range, headers: count, checksum };
  return { status: 206, range, headers: { ...contentRange(range, object.size), ...count }, checksum };
}

function contentRange({ start, end }: ByteRange, size: number): Record<string, string> {
  return { "content-range": `bytes ${start}-${end - 1}/${size}` };
}

function checksumHeaders(checksum: string | undefined): Record<string, string> {
  if (checksum === undefined) return {};
  const type = checksum.includes("-") ? "COMPOSITE" : "FULL_OBJECT";
  return { "x-amz-checksum-sha256": checksum, "x-amz-checksum-type": type };
}

export const deleteObject: Operation = async (call) => {
  await deleteKey(call, call.request.key, call.request.headers);
  return { status: 204 };
};

/** Deleting what isn't there succeeds, unless it was asked to be a certain thing. */
async function deleteKey({ bucket }: Call, key: string, headers: Readonly<Record<string, string>>): Promise<void> {
  await bucket.keyLocks.run(key, async () => {
    const object = bucket.find(key);
    checkWrite(headers, object);
    if (object) await bucket.remove(object);
  });
}

const deletesSchema = z.object({
  Delete: z.object({
    Quiet: z.optional(z.string()),
    Object: z.array(z.object({ Key: z.string(), ETag: z.optional(z.string()) })).check(z.maxLength(MAX_DELETES)),
  }),
});

export const deleteObjects: Operation = async (call) => {
  const document = deletesSchema.safeParse(readXml(await call.body.toText()));
  if (!document.success) throw new S3Error("MalformedXML");
  const results: XmlChild[] = [];
  for (const { Key, ETag } of document.data.Delete.Object) {
    results.push(await deleteOne(call, Key, ETag === undefined ? {} : { "if-match": ETag }));
  }
  const quiet = document.data.Delete.Quiet === "true";
  return xmlReply("DeleteResult", quiet ? results.filter(([name]) => name === "Error") : results);
};

async function deleteOne(call: Call, key: string, conditions: Record<string, string>): Promise<XmlChild> {
  try {
    await deleteKey(call, key, conditions);
    return ["Deleted", [["Key", key]]];
  } catch (error) {
    const { code, message } = error instanceof S3Error ? error : new S3Error("InternalError");
    return [
      "Error",
      [
        ["Key", key],
        ["Code", code],
        ["Message", message],
      ],
    ];
  }
}
