import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import type { PartRequest, PartUrl } from "../lib/protocol/wire.ts";
import { faultOf, quietSdk, unavailable } from "./aws.ts";
import { Objects } from "./objects.ts";
import { type PresignedUrl, Presigner } from "./presigner.ts";

/** One call with the SDK's own retries. An HTTP API answers within 30 s, and a route makes a few calls. */
const CALL_TIMEOUT_MS = 8_000;
/** Completing 10,000 parts can take minutes; we stop waiting well before the HTTP API's 30 s and let the client ask again. */
const COMPLETE_TIMEOUT_MS = 15_000;
/** What one DeleteObjects may name. */
const MAX_DELETED = 1_000;
/** Deleted at the same time, by a store that wants them one by one. */
const DELETED_AT_ONCE = 50;
/** S3 answers 409 to one of two writers at the same instant and says: start again. */
const CONFLICT_RETRIES = 4;

export interface StoreConfig {
  readonly bucket: string;
  readonly region: string;
  /** An S3-compatible server; without it, AWS. */
  readonly s3Endpoint?: string;
  /** Without them, the SDK's own chain (role, environment, profile). */
  readonly s3Credentials?: {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken?: string;
    readonly expiration?: Date;
  };
}

/** Writes only if nothing is there, or only over exactly that version. */
export type Condition = { readonly ifNoneMatch: true } | { readonly ifMatch: string };

/** How an object stands. `checksum`: the composite SHA-256 with its "-N", or "" when the object has none. */
export interface StoredObject {
  readonly size: number;
  readonly etag: string;
  readonly checksum: string;
}

export interface UploadedPart {
  readonly number: number;
  readonly length: number;
  readonly sha256: string;
  readonly etag: string;
  readonly modified: Date;
}

/**
 * What became of a Complete. `exists`: an object is under the key already; `busy`: another writer at the same instant;
 * `gone`: no such upload; `invalid`: S3 holds other parts than those listed; `unknown`: no answer in time, so it may still happen.
 */
export type Completion = "done" | "exists" | "busy" | "gone" | "invalid" | "unknown";

const INVALID_PARTS = new Set(["InvalidPart", "InvalidPartOrder", "EntityTooSmall", "InvalidRequest", "BadDigest"]);

/**
 * The bucket, and the only importer of the S3 SDK. Every fault is a WaybillError UNAVAILABLE that names neither key nor URL;
 * what a caller must tell apart (missing, condition failed) is a value.
 */
export class Store {
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #presigner: Presigner;
  readonly #objects: Objects;

  constructor(config: StoreConfig) {
    quietSdk();
    this.#bucket = config.bucket;
    this.#client = new S3Client({
      region: config.region,
      // An SDK default adds an empty body's CRC32 to presigned PUTs, and no store but S3 needs its checksums.
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      ...(config.s3Endpoint && { endpoint: config.s3Endpoint, forcePathStyle: true }),
      ...(config.s3Credentials && { credentials: config.s3Credentials }),
    });
    this.#presigner = new Presigner(this.#client, config.bucket);
    this.#objects = new Objects(this.#client, this.#presigner);
  }

  // ---- small objects

  /** The JSON under a key with its version, or null when there is none. */
  async getJson(key: string): Promise<{ value: unknown; etag: string } | null> {
    const found = await this.#get(key);
    if (found === null) return null;
    try {
      return { value: JSON.parse(new TextDecoder().decode(found.bytes)) as unknown, etag: found.etag };
    } catch (error) {
      throw unavailable("store", error);
    }
  }

  /** Writes JSON; null when the condition failed (after a lost answer also by our own write: read it and compare). */
  putJson(key: string, value: unknown, condition?: Condition): Promise<{ etag: string } | null> {
    return this.putBytes(key, new TextEncoder().encode(JSON.stringify(value)), "application/json", condition);
  }

  async getBytes(key: string): Promise<Uint8Array | null> {
    return (await this.#get(key))?.bytes ?? null;
  }

  /** As `putJson`, with any bytes. */
  async putBytes(
    key: string,
    bytes: Uint8Array,
    contentType: string,
    condition?: Condition,
  ): Promise<{ etag: string } | null> {
    const end = endOfCall();
    const headers = { "content-type": contentType, ...(condition && headersOf(condition)) };
    const direct = await this.#objects.ask({ method: "PUT", key, headers, body: bytes });
    if (direct?.status === 200) return { etag: direct.etag };
    if (direct?.status === 412 && condition) return null;
    const command = () =>
      new PutObjectCommand({
        ...this.#at(key),
        Body: bytes,
        ContentType: contentType,
        ...(condition && ("ifMatch" in condition ? { IfMatch: condition.ifMatch } : { IfNoneMatch: "*" })),
      });
    for (let attempt = 0; ; attempt++) {
      try {
        const { ETag } = await this.#client.send(command(), withinCall(attempt === 0 ? end : endOfCall()));
        return { etag: ETag ?? "" };
      } catch (error) {
        const { name, status } = faultOf(error);
        if (condition && (status === 412 || name === "NoSuchKey")) return null; // NoSuchKey: if-match on a missing object
        if (!condition || status !== 409 || attempt === CONFLICT_RETRIES) throw unavailable("store", error);
        await delay(20 * 2 ** attempt * (1 + Math.random()));
      }
    }
  }

  /** Keys under a prefix in the order of their bytes, after `startAfter`, at most `limit` (default 1,000). */
  async list(
    prefix: string,
    options: { startAfter?: string; limit?: number } = {},
  ): Promise<{ key: string; modified: Date }[]> {
    const { limit = 1000 } = options;
    const found: { key: string; modified: Date }[] = [];
    let after = options.startAfter;
    for (;;) {
      const page = await this.#listPage(prefix, after, Math.min(1000, limit - found.length));
      found.push(...page.entries);
      after = found.at(-1)?.key;
      if (!page.more || page.entries.length === 0 || found.length >= limit) return found;
    }
  }

  /** Deletes objects; a missing one is no fault. After an error any of them may be gone, and any may be there. */
  async delete(keys: string | readonly string[]): Promise<void> {
    if (typeof keys === "string" || keys.length === 1) return this.#delete(String(keys));
    for (let i = 0; i < keys.length; i += MAX_DELETED) await this.#deleteAll(keys.slice(i, i + MAX_DELETED));
  }

  // ---- payloads

  /** Begins a multipart upload whose parts must all carry their SHA-256. */
  async createUpload(key: string, contentType: string): Promise<string> {
    const command = new CreateMultipartUploadCommand({
      ...this.#at(key),
      ContentType: contentType,
      ChecksumAlgorithm: "SHA256",
      ChecksumType: "COMPOSITE",
    });
    const { UploadId } = await this.#send(() => this.#client.send(command, withinCall()));
    if (!UploadId) throw unavailable("store", new Error("NoUploadId"));
    return UploadId;
  }

  /** Upload URLs for parts; `expiresIn` in milliseconds. */
  async presignParts(
    key: string,
    uploadId: string,
    parts: readonly PartRequest[],
  ): Promise<{ urls: PartUrl[]; expiresIn: number }> {
    return this.#send(async () => {
      const lifetime = await this.#presigner.lifetime();
      const urls = await Promise.all(parts.map((part) => this.#presigner.part(key, uploadId, part, lifetime)));
      return { urls, expiresIn: lifetime * 1000 };
    });
  }

  /** All parts that S3 holds of an upload, rising, or null when there is no such upload. */
  async listParts(key: string, uploadId: string): Promise<UploadedPart[] | null> {
    const parts: UploadedPart[] = [];
    for (let marker: string | undefined; ; ) {
      const page = await this.#partsPage(key, uploadId, marker);
      if (page === null) return null;
      parts.push(...page.parts);
      if (page.next === undefined) return parts;
      marker = page.next;
    }
  }

  /** Completes an upload, unless an object is there already. */
  async complete(
    key: string,
    uploadId: string,
    parts: readonly { number: number; etag: string; sha256: string }[],
  ): Promise<Completion> {
    const Parts = parts.map(({ number, etag, sha256 }) => ({ PartNumber: number, ETag: etag, ChecksumSHA256: sha256 }));
    const command = new CompleteMultipartUploadCommand({
      ...this.#at(key),
      UploadId: uploadId,
      MultipartUpload: { Parts },
      ChecksumType: "COMPOSITE",
      IfNoneMatch: "*",
    });
    try {
      await this.#client.send(command, { abortSignal: AbortSignal.timeout(COMPLETE_TIMEOUT_MS) });
      return "done";
    } catch (error) {
      return completionOf(error);
    }
  }

  /** Unfinished uploads under a prefix, counted up to `limit` (at most 1,000). */
  async countUploads(prefix: string, limit: number): Promise<number> {
    const command = new ListMultipartUploadsCommand({ Bucket: this.#bucket, Prefix: prefix, MaxUploads: limit });
    const { Uploads = [] } = await this.#send(() => this.#client.send(command, withinCall()));
    return Uploads.length;
  }

  /** Aborts an upload; one that is gone already is no fault. */
  async abort(key: string, uploadId: string): Promise<void> {
    const command = new AbortMultipartUploadCommand({ ...this.#at(key), UploadId: uploadId });
    await this.#send(() => orNull(this.#client.send(command, withinCall())));
  }

  async head(key: string): Promise<StoredObject | null> {
    const command = new HeadObjectCommand({ ...this.#at(key), ChecksumMode: "ENABLED" });
    const found = await this.#send(() => orNull(this.#client.send(command, withinCall())));
    return found && { size: found.ContentLength ?? 0, etag: found.ETag ?? "", checksum: found.ChecksumSHA256 ?? "" };
  }

  /** A download URL for exactly this version; `expiresIn` in milliseconds. */
  async presignGet(key: string, etag: string): Promise<PresignedUrl & { expiresIn: number }> {
    return this.#send(async () => {
      const lifetime = await this.#presigner.lifetime();
      return { ...(await this.#presigner.get(key, etag, lifetime)), expiresIn: lifetime * 1000 };
    });
  }

  /** The origin of every presigned URL; a deployment pins it. */
  async origin(): Promise<string> {
    return (await this.#presigner.base()).origin;
  }

  close(): void {
    this.#objects.close();
    this.#client.destroy();
  }

  // ---- inside

  #at(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#bucket, Key: key };
  }

  async #get(key: string): Promise<{ bytes: Uint8Array; etag: string } | null> {
    const end = endOfCall();
    const direct = await this.#objects.ask({ method: "GET", key });
    if (direct?.status === 200) return direct;
    if (direct?.status === 404 && namesNoKey(direct.bytes)) return null;
    return this.#send(async () => {
      const found = await orNull(this.#client.send(new GetObjectCommand(this.#at(key)), withinCall(end)));
      if (found === null) return null;
      return { bytes: (await found.Body?.transformToByteArray()) ?? new Uint8Array(), etag: found.ETag ?? "" };
    });
  }

  async #delete(key: string): Promise<void> {
    const end = endOfCall();
    const direct = await this.#objects.ask({ method: "DELETE", key });
    if (direct?.status === 204) return;
    await this.#send(() => this.#client.send(new DeleteObjectCommand(this.#at(key)), withinCall(end)));
  }

  /** Not every S3-compatible store takes DeleteObjects with the checksum that the SDK sends. */
  async #deleteAll(keys: readonly string[]): Promise<void> {
    const Delete = { Objects: keys.map((Key) => ({ Key })), Quiet: true };
    const command = new DeleteObjectsCommand({ Bucket: this.#bucket, Delete });
    const refused = await this.#client.send(command, withinCall()).then(
      ({ Errors = [] }) => Errors.length > 0,
      () => true,
    );
    if (!refused) return;
    for (let i = 0; i < keys.length; i += DELETED_AT_ONCE)
      await Promise.all(keys.slice(i, i + DELETED_AT_ONCE).map((key) => this.#delete(key)));
  }

  async #listPage(
    prefix: string,
    after: string | undefined,
    limit: number,
  ): Promise<{ entries: { key: string; modified: Date }[]; more: boolean }> {
    const command = new ListObjectsV2Command({
      Bucket: this.#bucket,
      Prefix: prefix,
      MaxKeys: limit,
      ...(after !== undefined && { StartAfter: after }),
    });
    const { Contents = [], IsTruncated = false } = await this.#send(() => this.#client.send(command, withinCall()));
    const entries = Contents.map(({ Key = "", LastModified = new Date(0) }) => ({ key: Key, modified: LastModified }));
    return { entries, more: IsTruncated };
  }

  async #partsPage(
    key: string,
    uploadId: string,
    marker: string | undefined,
  ): Promise<{ parts: UploadedPart[]; next: string | undefined } | null> {
    const command = new ListPartsCommand({
      ...this.#at(key),
      UploadId: uploadId,
      ...(marker !== undefined && { PartNumberMarker: marker }),
    });
    const page = await this.#send(() => orNull(this.#client.send(command, withinCall())));
    if (page === null) return null;
    const parts = (page.Parts ?? []).map((part) => ({
      number: part.PartNumber ?? 0,
      length: part.Size ?? 0,
      sha256: part.ChecksumSHA256 ?? "",
      etag: part.ETag ?? "",
      modified: part.LastModified ?? new Date(0),
    }));
    return { parts, next: page.IsTruncated ? page.NextPartNumberMarker : undefined };
  }

  async #send<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw unavailable("store", error);
    }
  }
}

/** When a call that begins now must have ended. */
function endOfCall(): number {
  return performance.now() + CALL_TIMEOUT_MS;
}

function withinCall(end: number = endOfCall()): { abortSignal: AbortSignal } {
  return { abortSignal: AbortSignal.timeout(Math.max(1, Math.ceil(end - performance.now()))) };
}

function headersOf(condition: Condition): Record<string, string> {
  return "ifMatch" in condition ? { "if-match": condition.ifMatch } : { "if-none-match": "*" };
}

/** Only a hint that saves the SDK's work: a 404 of which this isn't certain is read by the SDK. */
function namesNoKey(body: Uint8Array): boolean {
  return new TextDecoder().decode(body).includes("<Code>NoSuchKey</Code>");
}

/** A missing object or upload as null. A missing bucket is an operator's fault, not a missing object. */
async function orNull<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    const { name, status } = faultOf(error);
    if (status === 404 && name !== "NoSuchBucket") return null;
    throw error;
  }
}

function completionOf(error: unknown): Completion {
  const { name, status } = faultOf(error);
  if (name === "NoSuchUpload") return "gone";
  if (status === 412) return "exists";
  if (status === 409) return "busy";
  if (INVALID_PARTS.has(name)) return "invalid";
  // No answer, or a 5xx that the SDK's retries did not cure: S3 may still be at it.
  if (status === 0 || status >= 500 || status === 200) return "unknown";
  throw unavailable("store", error);
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
