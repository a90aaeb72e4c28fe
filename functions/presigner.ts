import type { S3Client } from "@aws-sdk/client-s3";
import { S3RequestPresigner } from "@aws-sdk/s3-request-presigner";
import type { PartRequest, PartUrl } from "../lib/protocol/wire.ts";

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
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #signer: S3RequestPresigner;

  constructor(client: S3Client, bucket: string) {
    this.#client = client;
    this.#bucket = bucket;
    this.#signer = new S3RequestPresigner({ ...client.config });
  }

  /** Seconds for which a URL signed now is good. */
  async lifetime(): Promise<number> {
    const { expiration } = await this.#client.config.credentials();
    if (expiration === undefined) return MAX_TTL;
    return Math.min(MAX_TTL, Math.max(1, Math.floor((expiration.getTime() - Date.now()) / 1000)));
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

  /** Where the bucket's objects are, without a trailing slash. */
  async base(): Promise<URL> {
    const { endpoint, forcePathStyle, region, useDualstackEndpoint, useFipsEndpoint } = this.#client.config;
    const custom = await endpoint?.();
    const { url } = this.#client.config.endpointProvider({
      Bucket: this.#bucket,
      Region: await region(),
      ForcePathStyle: Boolean(forcePathStyle),
      UseDualStack: await useDualstackEndpoint(),
      UseFIPS: await useFipsEndpoint(),
      ...(custom && { Endpoint: originOf(custom) }),
    });
    return url;
  }

  async #presign(
    method: string,
    key: string,
    query: Record<string, string>,
    headers: Record<string, string>,
    expiresIn: number,
  ): Promise<string> {
    const base = await this.base();
    const request = {
      method,
      protocol: base.protocol,
      hostname: base.hostname,
      ...(base.port && { port: Number(base.port) }),
      path: `${base.pathname.replace(/\/$/, "")}/${key}`,
      query,
      headers: { host: base.host, ...headers },
    };
    // S3 ignores a checksum in the query, so ours must stay a header.
    const unhoistableHeaders = new Set(Object.keys(headers));
    const signed = await this.#signer.presign(request, { expiresIn, unhoistableHeaders });
    const pairs = Object.entries(signed.query ?? {}).map(
      ([name, value]) => `${name}=${encodeURIComponent(String(value))}`,
    );
    return `${base.protocol}//${base.host}${signed.path}?${pairs.join("&")}`;
  }
}

function originOf(endpoint: { protocol: string; hostname: string; port?: number; path: string }): string {
  const port = endpoint.port === undefined ? "" : `:${endpoint.port}`;
  return `${endpoint.protocol}//${endpoint.hostname}${port}${endpoint.path}`;
}
