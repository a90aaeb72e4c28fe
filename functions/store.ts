import { XmlNode } from "@aws-sdk/xml-builder";
import * as z from "zod/mini";
import type { PartRequest, PartUrl } from "../lib/protocol/wire.ts";
import { unavailable } from "./aws.ts";
import { faultIn, isMissing, pathOf, readXml, XMLNS } from "./objects.ts";
import { Payloads } from "./payloads.ts";
import type { Answer, Ask } from "./signed.ts";

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
 * `gone`: no such upload; `invalid`: S3 holds other parts than those listed; `unknown`: no answer in time, so it may still happen.
 */
export type Completion = "done" | "exists" | "busy" | "gone" | "invalid" | "unknown";

const INVALID_PARTS = new Set(["InvalidPart", "InvalidPartOrder", "EntityTooSmall", "InvalidRequest", "BadDigest"]);

const text = z.optional(z.string());
/** In XML a list of one looks like what it holds. */
const listOf = <T extends z.ZodMiniType>(entry: T) => z.optional(z.union([z.array(entry), entry]));
const created = z.object({ InitiateMultipartUploadResult: z.object({ UploadId: z.string().check(z.minLength(1)) }) });
const completed = z.object({ CompleteMultipartUploadResult: z.unknown() });
const partJson = z.object({ PartNumber: text, Size: text, ETag: text, ChecksumSHA256: text, LastModified: text });
const partsPage = z.object({
  ListPartsResult: z.object({ IsTruncated: text, NextPartNumberMarker: text, Part: listOf(partJson) }),
});
const uploadJson = z.object({ Key: z.string(), UploadId: z.string(), Initiated: text });
const uploadsPage = z.object({
  ListMultipartUploadsResult: z.object({ IsTruncated: text, Upload: listOf(uploadJson) }),
});

/**
 * The whole bucket: small objects, payloads, and uploads. Every fault is a WaybillError UNAVAILABLE that names neither key nor
 * URL; what a caller must tell apart (missing, condition failed) is a value.
 */
export class Store extends Payloads {
  /** Begins a multipart upload whose parts must all carry their SHA-256. */
  async createUpload(key: string, contentType: string): Promise<string> {
    const headers = {
      "content-type": contentType,
      "x-amz-checksum-algorithm": "SHA256",
      "x-amz-checksum-type": "COMPOSITE",
    };
    const answer = await this.ask({ method: "POST", path: pathOf(key), query: { uploads: "" }, headers });
    return this.#read(answer, created).InitiateMultipartUploadResult.UploadId;
  }

  /** Upload URLs for parts; `expiresIn` in milliseconds. */
  async presignParts(
    key: string,
    uploadId: string,
    parts: readonly PartRequest[],
  ): Promise<{ urls: PartUrl[]; expiresIn: number }> {
    try {
      const lifetime = await this.presigner.lifetime();
      const urls = await Promise.all(parts.map((part) => this.presigner.part(key, uploadId, part, lifetime)));
      return { urls, expiresIn: lifetime * 1000 };
    } catch (error) {
      throw unavailable("store", error);
    }
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
    const body = new TextEncoder().encode(completionText(parts));
    const headers = {
      "content-type": "application/xml",
      "if-none-match": "*",
      "x-amz-checksum-type": "COMPOSITE",
    };
    const ask: Ask = { method: "POST", path: pathOf(key), query: { uploadId }, headers, body, early: true };
    const answer = await this.signed.send(ask, COMPLETE_TIMEOUT_MS).catch(() => null);
    return answer ? this.#completionOf(answer) : "unknown";
  }

  /** Unfinished uploads under a prefix, counted up to `limit` (at most 1,000). */
  async countUploads(prefix: string, limit: number): Promise<number> {
    return (await this.#uploadsPage({ prefix, "max-uploads": String(limit) })).entries.length;
  }

  /** Unfinished uploads under a prefix in the order of their keys, behind `after`: a page of at most 1,000, and whether there are more. */
  listUploads(
    prefix: string,
    after: { key: string; uploadId: string } | null,
  ): Promise<{ entries: OpenUpload[]; more: boolean }> {
    return this.#uploadsPage({
      prefix,
      ...(after && { "key-marker": after.key, "upload-id-marker": after.uploadId }),
    });
  }

  /** Aborts an upload; one that is gone already is no fault. */
  async abort(key: string, uploadId: string): Promise<void> {
    const answer = await this.ask({ method: "DELETE", path: pathOf(key), query: { uploadId } });
    if (answer.status >= 300 && !isMissing(answer)) throw faultIn(answer);
  }

  async #partsPage(
    key: string,
    uploadId: string,
    marker: string | undefined,
  ): Promise<{ parts: UploadedPart[]; next: string | undefined } | null> {
    const query = { uploadId, ...(marker !== undefined && { "part-number-marker": marker }) };
    const answer = await this.ask({ method: "GET", path: pathOf(key), query });
    if (isMissing(answer)) return null;
    const { Part = [], IsTruncated, NextPartNumberMarker } = this.#read(answer, partsPage).ListPartsResult;
    const parts = [Part].flat().map((part) => ({
      number: Number(part.PartNumber ?? 0),
      length: Number(part.Size ?? 0),
      sha256: part.ChecksumSHA256 ?? "",
      etag: part.ETag ?? "",
      modified: dateOf(part.LastModified), // an upload is never taken for idle by a guess
    }));
    return { parts, next: IsTruncated === "true" ? NextPartNumberMarker : undefined };
  }

  async #uploadsPage(query: Record<string, string>): Promise<{ entries: OpenUpload[]; more: boolean }> {
    const answer = await this.ask({ method: "GET", path: "", query: { uploads: "", ...query } });
    const { Upload = [], IsTruncated } = this.#read(answer, uploadsPage).ListMultipartUploadsResult;
    const entries = [Upload].flat().map(({ Key, UploadId, Initiated }) => ({
      key: Key,
      uploadId: UploadId,
      initiated: dateOf(Initiated),
    }));
    return { entries, more: IsTruncated === "true" };
  }

  #completionOf(answer: Answer): Completion {
    const { status, code } = answer;
    if (code === "NoSuchUpload") return "gone";
    if (status === 412) return "exists";
    if (status === 409) return "busy";
    if (INVALID_PARTS.has(code)) return "invalid";
    if (status === 200) return completed.safeParse(readXml(answer.bytes)).success ? "done" : "unknown";
    if (status >= 500) return "unknown"; // S3 may still be at it
    throw faultIn(answer);
  }

  #read<T extends z.ZodMiniType>(answer: Answer, schema: T): z.output<T> {
    if (answer.status !== 200) throw faultIn(answer);
    return this.read(answer, schema);
  }
}

function completionText(parts: readonly { number: number; etag: string; sha256: string }[]): string {
  const nodes = parts.map(
    ({ number, etag, sha256 }) =>
      new XmlNode("Part", [
        XmlNode.of("ETag", etag),
        XmlNode.of("PartNumber", String(number)),
        XmlNode.of("ChecksumSHA256", sha256),
      ]),
  );
  return new XmlNode("CompleteMultipartUpload", nodes).addAttribute("xmlns", XMLNS).toString();
}

function dateOf(text: string | undefined): Date {
  return text === undefined ? new Date() : new Date(text);
}
