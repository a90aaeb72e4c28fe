import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { S3Error } from "./errors.ts";

const UNSIGNED = "UNSIGNED-PAYLOAD";
const UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const PREFIX = "x-amz-checksum-";
/** Headers that only look like a checksum. */
const NOT_CHECKSUMS = new Set(["x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"]);
/** Checksums that are verified, and the length of their base64. */
const VERIFIED: Readonly<Record<string, number>> = { "x-amz-checksum-sha256": 44, "x-amz-checksum-crc32": 8 };

/** What a request promises about its body, known before the first byte of it. */
export interface Promises {
  /** Bytes of the body itself, without any chunk coding. */
  readonly size: number;
  readonly chunked: boolean;
  /** Hex SHA-256 that the signature binds. */
  readonly payloadHash?: string;
  readonly contentMd5?: string;
  /** The checksum's header, and its value unless a trailer brings it. */
  readonly checksum?: { readonly name: string; readonly value?: string };
}

type Headers = Readonly<Record<string, string>>;

/** @throws S3Error when a promise is missing, malformed, or of a kind that is not verified here. */
export function readPromises(headers: Headers): Promises {
  const payload = headers["x-amz-content-sha256"];
  const chunked = payload === UNSIGNED_TRAILER;
  const checksum = readChecksum(headers);
  const contentMd5 = headers["content-md5"];
  if (contentMd5 !== undefined && !isBase64(contentMd5, 24)) throw new S3Error("InvalidDigest");
  return {
    size: readSize(headers, chunked),
    chunked,
    ...(payload === undefined || payload === UNSIGNED || chunked ? {} : { payloadHash: readPayloadHash(payload) }),
    ...(contentMd5 === undefined ? {} : { contentMd5 }),
    ...(checksum ? { checksum } : {}),
  };
}

function readSize(headers: Headers, chunked: boolean): number {
  const text = chunked ? headers["x-amz-decoded-content-length"] : headers["content-length"];
  if (text === undefined && !chunked && headers["transfer-encoding"] === undefined) return 0;
  if (text === undefined || !/^\d{1,15}$/.test(text)) throw new S3Error("MissingContentLength");
  return Number(text);
}

function readPayloadHash(payload: string): string {
  if (payload.startsWith("STREAMING-")) throw new S3Error("NotImplemented");
  if (!/^[0-9a-f]{64}$/.test(payload)) {
    throw new S3Error("InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD or a valid sha256 value.");
  }
  return payload;
}

function readChecksum(headers: Headers): Promises["checksum"] {
  const trailer = headers["x-amz-trailer"]?.toLowerCase();
  const given = Object.entries(headers).filter(([name]) => name.startsWith(PREFIX) && !NOT_CHECKSUMS.has(name));
  const all = [...given, ...(trailer === undefined ? [] : [[trailer, undefined] as const])];
  if (all.length > 1) throw new S3Error("InvalidRequest", "Expecting a single x-amz-checksum- header");
  const [name, value] = all[0] ?? [];
  if (name === undefined) return undefined;
  const length = VERIFIED[name];
  if (length === undefined) throw new S3Error("NotImplemented", `Checksum ${name} is not implemented.`);
  if (value !== undefined) checkShape(name, value, length);
  return value === undefined ? { name } : { name, value };
}

function checkShape(name: string, value: string, length: number): void {
  if (!isBase64(value, length)) throw new S3Error("InvalidRequest", `Value for ${name} header is invalid.`);
}

function isBase64(text: string, length: number): boolean {
  return text.length === length && Buffer.from(text, "base64").toString("base64") === text;
}

/** Digests a body as it passes, then holds it against what was promised. */
export class Digests {
  readonly #promises: Promises;
  readonly #sha256 = createHash("sha256");
  readonly #md5: ReturnType<typeof createHash> | undefined;
  readonly #wantsCrc: boolean;
  #crc = 0;
  size = 0;

  constructor(promises: Promises) {
    this.#promises = promises;
    this.#md5 = promises.contentMd5 === undefined ? undefined : createHash("md5");
    this.#wantsCrc = promises.checksum?.name === "x-amz-checksum-crc32";
  }

  update(bytes: Buffer): void {
    this.size += bytes.length;
    if (this.size > this.#promises.size) throw new S3Error("IncompleteBody", "The body is longer than was announced.");
    this.#sha256.update(bytes);
    this.#md5?.update(bytes);
    if (this.#wantsCrc) this.#crc = crc32(bytes, this.#crc);
  }

  /** The base64 SHA-256, once every promise was kept. @throws S3Error otherwise. */
  verify(trailers: ReadonlyMap<string, string>): string {
    const { size, payloadHash, contentMd5, checksum } = this.#promises;
    if (this.size !== size) throw new S3Error("IncompleteBody");
    const digest = this.#sha256.digest("base64");
    if (payloadHash !== undefined && payloadHash !== toHex(digest)) {
      throw new S3Error("XAmzContentSHA256Mismatch");
    }
    if (contentMd5 !== undefined && contentMd5 !== this.#md5?.digest("base64")) throw new S3Error("BadDigest");
    if (checksum) this.verifyChecksum(checksum.name, checksum.value ?? trailers.get(checksum.name), digest);
    return digest;
  }

  private verifyChecksum(name: string, value: string | undefined, digest: string): void {
    if (value === undefined) throw new S3Error("InvalidRequest", `The trailer ${name} is missing.`);
    checkShape(name, value, VERIFIED[name] as number);
    if (value !== (this.#wantsCrc ? this.crcText() : digest)) {
      throw new S3Error("BadDigest", `The value of ${name} did not match the calculated checksum.`);
    }
  }

  private crcText(): string {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(this.#crc);
    return bytes.toString("base64");
  }
}

function toHex(base64: string): string {
  return Buffer.from(base64, "base64").toString("hex");
}
