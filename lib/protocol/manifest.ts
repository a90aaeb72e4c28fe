import canonicalizeModule from "canonicalize";
import { keccak256, sha256 } from "ethers/crypto";
import { concat, toUtf8Bytes, toUtf8String } from "ethers/utils";
import * as z from "zod/mini";
import { WaybillError } from "./errors.ts";
import { fromBase64, type Hex, hexToBase64 } from "./hex.ts";
import { MAX_CONTENT_TYPE, MAX_PART_SIZE, MAX_PARTS, MAX_PAYLOAD, MAX_TAG } from "./limits.ts";
import { partCount } from "./plan.ts";

// The package is CommonJS with a default export; under nodenext its types and its value differ by one step.
const canonicalize = canonicalizeModule as unknown as (value: unknown) => string | undefined;

/** What a payload is: everything a recipient needs to verify it, part by part. */
export interface Manifest {
  readonly version: 1;
  readonly tag: string;
  readonly size: number;
  readonly partSize: number;
  /** base64 SHA-256 of each part, in order. */
  readonly parts: readonly string[];
  /** S3's composite checksum: base64 SHA-256 over the parts' raw digests, "-", the number of parts. */
  readonly checksum: string;
  readonly contentType: string;
}

const digestText = z.string().check(z.regex(/^[A-Za-z0-9+/]{43}=$/));
export const contentTypeSchema: z.ZodMiniType<string> = z
  .string()
  .check(z.maxLength(MAX_CONTENT_TYPE), z.regex(/^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(; ?[\w-]+=[\w.-]+)*$/));

/** Control characters and halves of surrogate pairs have no place in a name that people, logs and files will carry. */
export const tagText: z.ZodMiniType<string> = z
  .string()
  .check(z.minLength(1), z.maxLength(MAX_TAG), z.regex(/^[^\p{Cc}\p{Cs}]+$/u));

const schema: z.ZodMiniType<Manifest> = z.strictObject({
  version: z.literal(1),
  tag: tagText,
  size: z.int().check(z.gte(0), z.lte(MAX_PAYLOAD)),
  partSize: z.int().check(z.gte(1), z.lte(MAX_PART_SIZE)),
  parts: z.array(digestText).check(z.minLength(1), z.maxLength(MAX_PARTS)),
  checksum: z.string(),
  contentType: contentTypeSchema,
});

/** The manifest's bytes: RFC 8785 canonical JSON. The digest covers exactly these. */
export function encodeManifest(manifest: Manifest): Uint8Array {
  return toUtf8Bytes(canonicalize(manifest) as string);
}

/** SHA-256 over the exact stored bytes; this is what the chain commits to. */
export function manifestDigest(bytes: Uint8Array): Hex {
  return sha256(bytes) as Hex;
}

/** A transfer's id, unique per task and sender. */
export function transferId(tag: string): Hex {
  return keccak256(toUtf8Bytes(tag)) as Hex;
}

/** S3's COMPOSITE checksum of a multipart object from its parts' base64 SHA-256. */
export function compositeChecksum(parts: readonly string[]): string {
  const digests = parts.map((part) => fromBase64(part) ?? badManifest("A part's digest is not base64."));
  return `${hexToBase64(sha256(concat(digests)))}-${parts.length}`;
}

/**
 * Reads a manifest and checks that it agrees with itself: canonical bytes, part count, composite checksum.
 * @throws WaybillError BAD_MANIFEST
 */
export function decodeManifest(bytes: Uint8Array): Manifest {
  const text = readUtf8(bytes);
  const manifest = schema.safeParse(readJson(text));
  if (!manifest.success) return badManifest("The manifest has not the agreed shape.");
  if (canonicalize(manifest.data) !== text) return badManifest("The manifest is not canonical JSON (RFC 8785).");
  if (manifest.data.parts.length !== partCount(manifest.data))
    return badManifest("The manifest's parts do not fit its size.");
  if (manifest.data.checksum !== compositeChecksum(manifest.data.parts))
    return badManifest("The manifest's checksum is not that of its parts.");
  return manifest.data;
}

function readUtf8(bytes: Uint8Array): string {
  try {
    return toUtf8String(bytes);
  } catch (cause) {
    throw new WaybillError("BAD_MANIFEST", "The manifest is not UTF-8.", { cause });
  }
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new WaybillError("BAD_MANIFEST", "The manifest is not JSON.", { cause });
  }
}

function badManifest(message: string): never {
  throw new WaybillError("BAD_MANIFEST", message);
}
