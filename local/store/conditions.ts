import { S3Error } from "./errors.ts";
import type { ObjectRecord } from "./records.ts";

type Headers = Readonly<Record<string, string>>;

/** Does an If-Match or If-None-Match header name this ETag? */
function names(header: string, etag: string): boolean {
  const tags = header.split(",").map((tag) =>
    tag
      .trim()
      .replace(/^W\//, "")
      .replace(/^"(.*)"$/, "$1"),
  );
  return tags.includes("*") || tags.includes(etag);
}

/** HTTP dates have whole seconds. */
function later(modified: number, date: string): boolean {
  return Math.floor(modified / 1_000) * 1_000 > Date.parse(date);
}

/** May this object be read? The order is HTTP's: an ETag's condition hides the date's. */
export function checkRead(headers: Headers, object: ObjectRecord, prefix = ""): void {
  const match = headers[`${prefix}if-match`];
  const unmodified = headers[`${prefix}if-unmodified-since`];
  if (match !== undefined ? !names(match, object.etag) : unmodified && later(object.modified, unmodified)) {
    throw new S3Error("PreconditionFailed");
  }
  const noneMatch = headers[`${prefix}if-none-match`];
  const since = headers[`${prefix}if-modified-since`];
  const unwanted = noneMatch !== undefined ? names(noneMatch, object.etag) : since && !later(object.modified, since);
  if (!unwanted) return;
  if (prefix !== "") throw new S3Error("PreconditionFailed");
  throw new S3Error("NotModified", undefined, { etag: `"${object.etag}"` });
}

/** A condition that no write understands is refused before the body is read, rather than overlooked. */
export function checkWriteHeaders(headers: Headers): void {
  if (headers["if-none-match"] !== undefined && headers["if-none-match"] !== "*") throw new S3Error("NotImplemented");
}

/** May the key be written? `object` is what is there now. Under the key's lock. */
export function checkWrite(headers: Headers, object: ObjectRecord | undefined): void {
  if (headers["if-none-match"] !== undefined && object) throw new S3Error("PreconditionFailed");
  const match = headers["if-match"];
  if (match === undefined) return;
  if (!object) throw new S3Error("NoSuchKey");
  if (!names(match, object.etag)) throw new S3Error("PreconditionFailed");
}

export function isConditional(headers: Headers): boolean {
  return headers["if-none-match"] !== undefined || headers["if-match"] !== undefined;
}
