import { S3Error } from "./errors.ts";
import type { ObjectRecord } from "./records.ts";
import { quoted } from "./reply.ts";
import type { S3Query } from "./request.ts";

/** What a PUT says of an object and a GET gives back. */
const KEPT = [
  "content-type",
  "cache-control",
  "content-disposition",
  "content-encoding",
  "content-language",
  "expires",
];
const META = "x-amz-meta-";
/** S3's limit on user metadata: names and values together. */
const MAX_META_BYTES = 2_048;
/** Headers that would promise something that this store does not do. */
const REFUSED = [
  "x-amz-server-side-encryption-customer-algorithm",
  "x-amz-tagging",
  "x-amz-object-lock-mode",
  "x-amz-object-lock-legal-hold",
  "x-amz-website-redirect-location",
  "x-amz-write-offset-bytes",
];

type Headers = Readonly<Record<string, string>>;

/** The headers of a write that belong to the object. */
export function keptHeaders(headers: Headers): Record<string, string> {
  const refused = REFUSED.find((name) => headers[name] !== undefined);
  if (refused !== undefined) throw new S3Error("NotImplemented", `The header ${refused} is not implemented.`);
  const kept = Object.entries(headers).filter(([name]) => KEPT.includes(name) || name.startsWith(META));
  const meta = kept.filter(([name]) => name.startsWith(META)).join("");
  if (Buffer.byteLength(meta) > MAX_META_BYTES) {
    throw new S3Error("InvalidArgument", "Your metadata headers exceed the maximum allowed metadata size");
  }
  const { "content-encoding": encoding, ...rest } = Object.fromEntries(kept);
  const own = withoutChunkCoding(encoding);
  return own === "" ? rest : { ...rest, "content-encoding": own };
}

/** `aws-chunked` tells how the body travelled, not what it is. */
function withoutChunkCoding(encoding = ""): string {
  const codings = encoding.split(",").map((coding) => coding.trim());
  return codings.filter((coding) => coding !== "aws-chunked").join(",");
}

/** What every answer about an object says of it. */
export function describe(object: ObjectRecord): Record<string, string> {
  return {
    "content-type": "binary/octet-stream",
    ...object.headers,
    etag: quoted(object.etag),
    "last-modified": new Date(object.modified).toUTCString(),
    "accept-ranges": "bytes",
  };
}

/** A signed GET may choose headers of its answer, such as a file name. */
export function overrides(query: S3Query): Record<string, string> {
  const chosen: Record<string, string> = {};
  for (const name of KEPT) {
    const value = query.get(`response-${name}`);
    if (value === undefined) continue;
    if (!/^[\t\x20-\x7e]*$/.test(value)) throw new S3Error("InvalidArgument", `response-${name} is no header's value.`);
    chosen[name] = value;
  }
  return chosen;
}
