import type { Part } from "./bucket.ts";
import type { Operation } from "./call.ts";
import { etagOf } from "./checksum.ts";
import { S3Error } from "./errors.ts";
import { compareKeys } from "./keys.ts";
import { encoder, MAX_PAGE } from "./listing.ts";
import { uploadId } from "./multipart.ts";
import type { UploadRecord } from "./records.ts";
import { quoted, timestamp, xmlReply } from "./reply.ts";
import type { XmlChild } from "./xml.ts";

export const listParts: Operation = async ({ request, bucket }) => {
  const { query, key } = request;
  const { record, parts } = bucket.upload(key, uploadId(request));
  const marker = query.count("part-number-marker", 0);
  const size = Math.min(query.count("max-parts", MAX_PAGE), MAX_PAGE);
  const rest = [...parts.values()].filter(({ number }) => number > marker).sort((a, b) => a.number - b.number);
  const page = rest.slice(0, size);
  return xmlReply("ListPartsResult", [
    ["Bucket", bucket.name],
    ["Key", key],
    ["UploadId", record.id],
    ["PartNumberMarker", marker],
    ["NextPartNumberMarker", page.at(-1)?.number ?? 0],
    ["MaxParts", size],
    ["IsTruncated", rest.length > page.length],
    ["StorageClass", "STANDARD"],
    ...describeChecksum(record),
    ...page.map((part) => describePart(part, record.checksum)),
  ]);
};

function describePart({ number, modified, sha256, size }: Part, checksum: boolean): XmlChild {
  return [
    "Part",
    [
      ["PartNumber", number],
      ["LastModified", timestamp(modified)],
      ["ETag", quoted(etagOf(sha256))],
      ["Size", size],
      ["ChecksumSHA256", checksum ? sha256 : undefined],
    ],
  ];
}

function describeChecksum({ checksum }: UploadRecord): XmlChild[] {
  if (!checksum) return [];
  return [
    ["ChecksumAlgorithm", "SHA256"],
    ["ChecksumType", "COMPOSITE"],
  ];
}

export const listUploads: Operation = async ({ request, bucket }) => {
  const { query } = request;
  if (query.has("delimiter")) throw new S3Error("NotImplemented", "ListMultipartUploads has no delimiter here.");
  const [prefix, keyMarker] = [query.get("prefix") ?? "", query.get("key-marker") ?? ""];
  const idMarker = query.get("upload-id-marker") ?? "";
  const size = Math.min(query.count("max-uploads", MAX_PAGE), MAX_PAGE);
  const encode = encoder(query.get("encoding-type"));
  const rest = [...bucket.uploads.values()]
    .map(({ record }) => record)
    .filter(({ key }) => key.startsWith(prefix))
    .filter(({ key, id }) => isBehind(key, id, keyMarker, idMarker))
    .sort((a, b) => compareKeys(a.key, b.key) || compareKeys(a.id, b.id));
  const page = rest.slice(0, size);
  return xmlReply("ListMultipartUploadsResult", [
    ["Bucket", bucket.name],
    ["Prefix", encode(prefix)],
    ["KeyMarker", encode(keyMarker)],
    ["UploadIdMarker", idMarker],
    ["NextKeyMarker", encode(page.at(-1)?.key ?? "")],
    ["NextUploadIdMarker", page.at(-1)?.id ?? ""],
    ["EncodingType", query.get("encoding-type")],
    ["MaxUploads", size],
    ["IsTruncated", rest.length > page.length],
    ...page.map((record) => describeUpload(record, encode)),
  ]);
};

/** An id's marker counts only together with its key's. */
function isBehind(key: string, id: string, keyMarker: string, idMarker: string): boolean {
  const order = compareKeys(key, keyMarker);
  return order > 0 || (order === 0 && idMarker !== "" && id > idMarker);
}

function describeUpload(record: UploadRecord, encode: (text: string) => string): XmlChild {
  return [
    "Upload",
    [
      ["Key", encode(record.key)],
      ["UploadId", record.id],
      ["Initiated", timestamp(record.modified)],
      ["StorageClass", "STANDARD"],
      ...describeChecksum(record),
    ],
  ];
}
