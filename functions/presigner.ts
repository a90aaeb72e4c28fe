import { S3RequestPresigner } from "@aws-sdk/s3-request-presigner";
import type { PartRequest } from "../lib/protocol/requests.ts";
import type { PartUrl } from "../lib/protocol/wire.ts";
import type { CredentialSource } from "./credentials.ts";
import { type BucketPlace, bucketUrl } from "./endpoint.ts";
import { pathOf } from "./objects.ts";
import { Sha256 } from "./sha256.ts";
import { escapeUri } from "./signed.ts";

/** A presigned URL is a bearer secret; nobody needs one for longer than a few parts take. */
const MAX_TTL = 15 * 60;

/** A URL with the headers that must be sent with it, because they are signed. */
export interface PresignedUrl {
  readonly url: string;
  readonly headers: Record<string, string>;
}

/**
 * Signs URLs of one bucket. A part URL binds upload, number, length and SHA-256: S3 accepts these bytes and no others
 * under it. A GET URL binds the object's ETag. All die with the credentials that signed them, at the latest after 15 minutes.
 */
export class Presigner {
  readonly #base: URL;
  readonly #credentials: CredentialSource;
  readonly #now: () => Date;
  readonly #signer: S3RequestPresigner;

  /** `now`: the time by the store's clock. */
  constructor(place: BucketPlace, credentials: CredentialSource, now: () => Date) {
    this.#base = bucketUrl(place);
    this.#credentials = credentials;
    this.#now = now;
    this.#signer = new S3RequestPresigner({ credentials, region: place.region, sha256: Sha256 });
  }

  get origin(): string {
    return this.#base.origin;
  }

  /** Seconds for which a URL signed now is good. */
  async lifetime(): Promise<number> {
    const { expiration } = await this.#credentials();
    if (expiration === undefined) return MAX_TTL;
    return Math.min(MAX_TTL, Math.max(1, Math.floor((expiration.getTime() - this.#now().getTime()) / 1000)));
  }

  async part(key: string, uploadId: string, part: PartRequest, expiresIn: number): Promise<PartUrl> {
    const headers = { "content-length": String(part.length), "x-amz-checksum-sha256": part.sha256 };
    const query = { partNumber: String(part.number), uploadId, "x-id": "UploadPart" };
    const url = await this.#presign("PUT", key, query, headers, expiresIn);
    return { number: part.number, url, headers };
  }

  async get(key: string, etag: string, expiresIn: number): Promise<PresignedUrl> {
    const headers = { "if-match": etag };
    return { url: await this.#presign("GET", key, { "x-id": "GetObject" }, headers, expiresIn), headers };
  }

  async #presign(
    method: string,
    key: string,
    query: Record<string, string>,
    headers: Record<string, string>,
    expiresIn: number,
  ): Promise<string> {
    const { protocol, hostname, host, port, pathname } = this.#base;
    const request = {
      method,
      protocol,
      hostname,
      ...(port && { port: Number(port) }),
      path: `${pathname.replace(/\/$/, "")}${pathOf(key)}`,
      query,
      headers: { host, ...headers },
    };
    // S3 ignores a checksum in the query, so ours must stay a header.
    const unhoistableHeaders = new Set(Object.keys(headers));
    const signingDate = this.#now();
    const signed = await this.#signer.presign(request, { expiresIn, unhoistableHeaders, signingDate });
    const pairs = Object.entries(signed.query ?? {}).map(([name, value]) => `${name}=${escapeUri(String(value))}`);
    return `${protocol}//${host}${signed.path}?${pairs.join("&")}`;
  }
}
