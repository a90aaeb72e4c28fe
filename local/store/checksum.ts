import { createHash } from "node:crypto";

/** base64 SHA-256 over the parts' raw digests, "-", their number: S3's COMPOSITE checksum. */
export function compositeChecksum(digests: readonly string[]): string {
  return `${hashOfDigests(digests).digest("base64")}-${digests.length}`;
}

/**
 * The ETag of bytes, from their SHA-256. S3 gives the MD5 only for some kinds of encryption and tells nobody to rely on it;
 * hashing everything twice would halve the throughput.
 */
export function etagOf(digest: string): string {
  return Buffer.from(digest, "base64").toString("hex").slice(0, 32);
}

/** A multipart object's ETag, which S3 marks with the number of parts too. */
export function compositeEtag(digests: readonly string[]): string {
  return `${hashOfDigests(digests).digest("hex").slice(0, 32)}-${digests.length}`;
}

function hashOfDigests(digests: readonly string[]): ReturnType<typeof createHash> {
  const hash = createHash("sha256");
  for (const digest of digests) hash.update(digest, "base64");
  return hash;
}
