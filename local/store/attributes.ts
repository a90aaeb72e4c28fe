import type { Operation } from "./call.ts";
import { S3Error } from "./errors.ts";
import { MAX_PAGE } from "./listing.ts";
import type { ObjectRecord } from "./records.ts";
import { xmlReply } from "./reply.ts";
import { readCount } from "./request.ts";
import type { XmlChild } from "./xml.ts";

const KNOWN = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];
type Headers = Readonly<Record<string, string>>;

/** Unlike GET and HEAD, it shows the ETag without quotes and the composite checksum without "-N". */
export const getObjectAttributes: Operation = async ({ request, bucket }) => {
  const { headers } = request;
  const asked = new Set(headers["x-amz-object-attributes"]?.split(",").map((name) => name.trim()));
  if (asked.size === 0 || [...asked].some((name) => !KNOWN.includes(name))) {
    throw new S3Error("InvalidArgument", "Invalid attribute name specified.");
  }
  const object = bucket.get(request.key);
  const children: XmlChild[] = [
    ["ETag", object.etag],
    ["Checksum", describeChecksum(object)],
    ["ObjectParts", describeParts(object, headers)],
    ["StorageClass", "STANDARD"],
    ["ObjectSize", object.size],
  ];
  const wanted = children.filter(([name]) => asked.has(name));
  return xmlReply("GetObjectAttributesResponse", wanted, {
    "last-modified": new Date(object.modified).toUTCString(),
  });
};

function describeChecksum({ checksum }: ObjectRecord): XmlChild[] | undefined {
  if (checksum === undefined) return undefined;
  const [digest, parts] = checksum.split("-");
  return [
    ["ChecksumSHA256", digest],
    ["ChecksumType", parts === undefined ? "FULL_OBJECT" : "COMPOSITE"],
  ];
}

/** Parts are listed one by one only when they have checksums. */
function describeParts({ upload, checksum, blobs }: ObjectRecord, headers: Headers): XmlChild[] | undefined {
  if (upload === undefined) return undefined;
  if (checksum === undefined) return [["PartsCount", blobs.length]];
  const marker = readCount(headers["x-amz-part-number-marker"], "part-number-marker", 0);
  const size = Math.min(readCount(headers["x-amz-max-parts"], "max-parts", MAX_PAGE), MAX_PAGE);
  const page = blobs.slice(marker, marker + size);
  return [
    ["PartsCount", blobs.length],
    ["PartNumberMarker", marker],
    ["NextPartNumberMarker", marker + page.length],
    ["MaxParts", size],
    ["IsTruncated", marker + page.length < blobs.length],
    ...page.map(({ size, sha256 }, index): XmlChild => {
      return [
        "Part",
        [
          ["PartNumber", marker + index + 1],
          ["Size", size],
          ["ChecksumSHA256", sha256],
        ],
      ];
    }),
  ];
}
