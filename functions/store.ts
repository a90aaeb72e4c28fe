import { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  type ListMultipartUploadsCommandOutput,
  ListPartsCommand,
  S3Client,
  type S3ClientConfig,
} from "@aws-sdk/client-s3";
import { compositeChecksum } from "../lib/protocol/manifest.ts";
import type { PartRequest } from "../lib/protocol/requests.ts";
import type { PartUrl } from "../lib/protocol/wire.ts";
import { faultOf, quietSdk, unavailable } from "./aws.ts";
import type { StoreConfig } from "./objects.ts";
import { Payloads } from "./payloads.ts";
import { CALL_TIMEOUT_MS, type Exchange } from "./signed.ts";

export type { Condition, ListedObject, StoreConfig } from "./objects.ts";
export type { StoredObject } from "./payloads.ts";

/** Completing 10,000 parts can take minutes; we stop waiting well before the HTTP API's 30 s and let the client ask again. */
const COMPLETE_TIMEOUT_MS = 15_000;

/** A multipart upload that is neither completed nor aborted. */
export interface OpenUpload {
  readonly key: string;
  readonly uploadId: string;
  readonly initiated: Date;
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
 * `gone`: no such upload; `invalid`: S3 holds other parts than those listed; `unknown`: no answer in time, or none that tells what
 * is there now, so it may still happen.
 */
export type Completion = "done" | "exists" | "busy" | "gone" | "invalid" | "unknown";

const INVALID_PARTS = new Set(["InvalidPart", "InvalidPartOrder", "EntityTooSmall", "InvalidRequest", "BadDigest"]);

/**
 * The whole bucket: small objects, payloads, and uploads, for which alone there is the S3 SDK (its only importer). A function that
 * has nothing to do with uploads works with what this extends, and doesn't bundle it. Every fault is a WaybillError UNAVAILABLE
 * that names neither key nor URL; what a caller must tell apart (missing, condition failed) is a value.
 */
export class Store extends Payloads {
  readonly #client: S3Client;

  constructor(config: StoreConfig) {
    super(config);
    quietSdk();
    this.#client = new S3Client({
      region: config.region,
      credentials: this.credentials,
      // No store but S3 needs the SDK's own checksums.
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      ...(config.s3Endpoint && { endpoint: config.s3Endpoint, forcePathStyle: true }),
      ...(config.exchange && { requestHandler: handlerBy(config.exchange) }),
    });
  }

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
      const lifetime = await this.presigner.lifetime();
      const urls = await Promise.all(parts.map((part) => this.presigner.part(key, uploadId, part, lifetime)));
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

  /** Whether a part of an upload came after that time (by the store's clock), or null when there is no such upload. */
  async hasPartSince(key: string, uploadId: string, since: number): Promise<boolean | null> {
    for (let marker: string | undefined; ; ) {
      const page = await this.#partsPage(key, uploadId, marker);
      if (page === null) return null;
      if (page.parts.some(({ modified }) => modified.getTime() > since)) return true;
      if (page.next === undefined) return false;
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
      const options = { abortSignal: AbortSignal.timeout(COMPLETE_TIMEOUT_MS) };
      const { ChecksumSHA256 } = await this.#client.send(command, options);
      // versitygw says 200 also while another Complete is still at it, and for an upload that is gone if any object is there.
      return ChecksumSHA256 === compositeChecksum(parts.map(({ sha256 }) => sha256)) ? "done" : "unknown";
    } catch (error) {
      return completionOf(error);
    }
  }

  /** Unfinished uploads under a prefix, counted up to `limit` (at most 1,000). */
  async countUploads(prefix: string, limit: number): Promise<number> {
    const command = new ListMultipartUploadsCommand({ Bucket: this.place.bucket, Prefix: prefix, MaxUploads: limit });
    const { Uploads = [] } = await this.#send(() => this.#client.send(command, withinCall()));
    return Uploads.length;
  }

  /** Unfinished uploads under a prefix in the order of their keys, behind `after`: a page of at most 1,000, and whether there are more. */
  async listUploads(
    prefix: string,
    after: { key: string; uploadId: string } | null,
  ): Promise<{ entries: OpenUpload[]; more: boolean }> {
    const page = await this.#send(() => this.#uploadsBehind(prefix, after));
    const entries = (page.Uploads ?? []).map(({ Key = "", UploadId = "", Initiated = new Date() }) => ({
      key: Key,
      uploadId: UploadId,
      initiated: Initiated,
    }));
    return { entries, more: page.IsTruncated ?? false };
  }

  /** versitygw takes no upload's id but of the key behind the marker's. Without it the rest of that key's uploads waits for a later walk. */
  async #uploadsBehind(
    Prefix: string,
    after: { key: string; uploadId: string } | null,
  ): Promise<ListMultipartUploadsCommandOutput> {
    const ask = (markers: object): Promise<ListMultipartUploadsCommandOutput> => {
      const command = new ListMultipartUploadsCommand({ Bucket: this.place.bucket, Prefix, ...markers });
      return this.#client.send(command, withinCall());
    };
    if (after === null) return ask({});
    try {
      return await ask({ KeyMarker: after.key, UploadIdMarker: after.uploadId });
    } catch (error) {
      if (faultOf(error).name !== "InvalidArgument") throw error;
      return ask({ KeyMarker: after.key });
    }
  }

  /** Aborts an upload; one that is gone already is no fault. */
  async abort(key: string, uploadId: string): Promise<void> {
    const command = new AbortMultipartUploadCommand({ ...this.#at(key), UploadId: uploadId });
    await this.#send(() => orNull(this.#client.send(command, withinCall())));
  }

  override close(): void {
    super.close();
    this.#client.destroy();
  }

  #at(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.place.bucket, Key: key };
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
      modified: part.LastModified ?? new Date(), // an upload is never taken for idle by a guess
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

/** The SDK's requests by our way; each has its signal. */
function handlerBy(exchange: Exchange): NonNullable<S3ClientConfig["requestHandler"]> {
  return {
    handle: async (
      request: Parameters<Exchange>[0],
      { abortSignal = AbortSignal.timeout(COMPLETE_TIMEOUT_MS) } = {},
    ) => {
      const { status, headers, bytes } = await exchange(request, abortSignal as AbortSignal);
      return { response: { statusCode: status, headers, body: Readable.from([bytes]) } };
    },
  };
}

function withinCall(): { abortSignal: AbortSignal } {
  return { abortSignal: AbortSignal.timeout(CALL_TIMEOUT_MS) };
}

/** A missing upload as null. A missing bucket is an operator's fault, not a missing upload. */
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
