import type { Bucket } from "./bucket.ts";
import type { Operation } from "./call.ts";
import { S3Error } from "./errors.ts";
import { compareKeys } from "./keys.ts";
import { quoted, timestamp, xmlReply } from "./reply.ts";
import type { XmlChild } from "./xml.ts";

/** S3's largest page. */
export const MAX_PAGE = 1_000;

/** One line of a listing: a key, or the common beginning of several. */
type Entry = { readonly key: string } | { readonly prefix: string };

interface Page {
  readonly entries: readonly Entry[];
  /** Where the next page begins, if there is one: behind this key or common prefix. */
  readonly next?: string;
}

export const listObjects: Operation = async ({ request, bucket }) => {
  const { query } = request;
  if (query.get("list-type") !== "2") throw new S3Error("NotImplemented", "Only ListObjectsV2 is implemented.");
  const [prefix, delimiter] = [query.get("prefix") ?? "", query.get("delimiter") ?? ""];
  const token = query.get("continuation-token");
  const resumed = token === undefined ? undefined : readToken(token);
  const size = Math.min(query.count("max-keys", MAX_PAGE), MAX_PAGE);
  const page = readPage(bucket, { prefix, delimiter, size, resumed, after: resumed ?? query.get("start-after") ?? "" });
  const encode = encoder(query.get("encoding-type"));
  return xmlReply("ListBucketResult", [
    ["Name", bucket.name],
    ["Prefix", encode(prefix)],
    ["StartAfter", query.has("start-after") ? encode(query.get("start-after") ?? "") : undefined],
    ["Delimiter", delimiter === "" ? undefined : encode(delimiter)],
    ["EncodingType", query.get("encoding-type")],
    ["MaxKeys", size],
    ["KeyCount", page.entries.length],
    ["IsTruncated", page.next !== undefined],
    ["ContinuationToken", token],
    ["NextContinuationToken", page.next === undefined ? undefined : writeToken(page.next)],
    ...page.entries.map((entry) => describeEntry(bucket, entry, encode)),
  ]);
};

interface Wanted {
  readonly prefix: string;
  readonly delimiter: string;
  readonly size: number;
  /** Only keys behind this one. */
  readonly after: string;
  /** What the page before ended with: a key, or a common prefix that is not to come again. */
  readonly resumed: string | undefined;
}

function readPage(bucket: Bucket, { prefix, delimiter, size, after, resumed }: Wanted): Page {
  const entries: Entry[] = [];
  let last = resumed ?? "";
  if (size === 0) return { entries };
  for (const key of bucket.keys.from(compareKeys(after, prefix) > 0 ? after : prefix)) {
    if (!key.startsWith(prefix)) break;
    const common = commonPrefix(key, prefix, delimiter);
    if (key === after || (common !== null && common === last)) continue;
    if (entries.length === size) return { entries, next: last };
    entries.push(common === null ? { key } : { prefix: common });
    last = common ?? key;
  }
  return { entries };
}

/** The beginning of a key up to the first delimiter behind the prefix. */
function commonPrefix(key: string, prefix: string, delimiter: string): string | null {
  const end = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
  return end < 0 ? null : key.slice(0, end + delimiter.length);
}

function describeEntry(bucket: Bucket, entry: Entry, encode: (text: string) => string): XmlChild {
  if ("prefix" in entry) return ["CommonPrefixes", [["Prefix", encode(entry.prefix)]]];
  const { key, modified, etag, size, checksum } = bucket.get(entry.key);
  return [
    "Contents",
    [
      ["Key", encode(key)],
      ["LastModified", timestamp(modified)],
      ["ETag", quoted(etag)],
      ["ChecksumAlgorithm", checksum === undefined ? undefined : "SHA256"],
      ["Size", size],
      ["StorageClass", "STANDARD"],
    ],
  ];
}

/** Keys may hold characters that XML can't; a client may ask for them percent-encoded. */
export function encoder(type: string | undefined): (text: string) => string {
  if (type === undefined) return (text) => text;
  if (type !== "url") throw new S3Error("InvalidArgument", "Invalid Encoding Method specified in Request");
  return (text) => encodeURIComponent(text).replaceAll("%2F", "/");
}

function writeToken(after: string): string {
  return Buffer.from(after).toString("base64url");
}

function readToken(token: string): string {
  const after = Buffer.from(token, "base64url").toString();
  if (token === "" || writeToken(after) !== token) {
    throw new S3Error("InvalidArgument", "The continuation token provided is incorrect");
  }
  return after;
}
