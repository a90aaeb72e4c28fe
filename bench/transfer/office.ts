import { createServer } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  ListPartsCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { S3RequestPresigner } from "@aws-sdk/s3-request-presigner";
import { Store, type UploadedPart } from "../../functions/store.ts";
import type { PartRequest } from "../../lib/protocol/requests.ts";
import type { PartUrl } from "../../lib/protocol/wire.ts";
import type { S3 } from "./servers.ts";

// What the functions do for an upload, without accounts and chain: they begin it, sign its parts, and complete it. They use
// the functions' own store. It runs in the benchmark's process: what it costs is no client's.

/** Seconds. */
const LIFE = 900;

export interface Upload {
  readonly key: string;
  readonly uploadId: string;
  /** Whether its parts carry their SHA-256. */
  readonly checked: boolean;
}

export interface Signing extends Upload {
  readonly parts: PartRequest[];
}

export interface Signed {
  readonly urls: PartUrl[];
  readonly expiresIn: number;
}

type Presigned = { readonly url: string; readonly headers: Record<string, string>; readonly expiresIn: number };

export class Office {
  readonly #s3: S3["config"];
  readonly #store: Store;
  readonly #client: S3Client;
  readonly #presigner: S3RequestPresigner;
  readonly #server = createServer((request, response) => {
    void this.#answer(request.url ?? "", request).then(
      (answer) => response.end(JSON.stringify(answer)),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });

  static async open(s3: S3["config"]): Promise<Office> {
    const office = new Office(s3);
    await new Promise<void>((resolve) => office.#server.listen(0, "127.0.0.1", resolve));
    return office;
  }

  private constructor(s3: S3["config"]) {
    this.#s3 = s3;
    this.#store = new Store(s3);
    const { region, s3Endpoint: endpoint, s3Credentials: credentials } = s3;
    const checks = {
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
    } as const;
    this.#client = new S3Client({ region, endpoint, credentials, forcePathStyle: true, ...checks });
    this.#presigner = new S3RequestPresigner({ ...this.#client.config });
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  get storeOrigin(): string {
    return this.#s3.s3Endpoint;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
    this.#store.close();
    this.#client.destroy();
  }

  async begin(key: string, checked: boolean): Promise<Upload> {
    if (checked) return { key, checked, uploadId: await this.#store.createUpload(key, "application/octet-stream") };
    const { UploadId } = await this.#client.send(new CreateMultipartUploadCommand(this.#at(key)));
    return { key, checked, uploadId: UploadId! };
  }

  async sign({ key, uploadId, checked, parts }: Signing): Promise<Signed> {
    if (checked) return this.#store.presignParts(key, uploadId, parts);
    const one = async (part: PartRequest): Promise<PartUrl> => {
      const url = await this.#plainUrl("PUT", key, { partNumber: String(part.number), uploadId });
      // The engine wants a part's URL bound to its digest; that header is taken away again before it is sent.
      const headers = { "content-length": String(part.length), "x-amz-checksum-sha256": part.sha256 };
      return { number: part.number, url, headers };
    };
    return { urls: await Promise.all(parts.map(one)), expiresIn: LIFE * 1_000 };
  }

  async finish({ key, uploadId, checked }: Upload): Promise<void> {
    if (checked) {
      const parts = (await this.#store.listParts(key, uploadId)) ?? [];
      return this.#complete(key, uploadId, parts);
    }
    const Parts: { PartNumber: number; ETag: string }[] = [];
    for (let marker: string | undefined; ; ) {
      const page = await this.#client.send(
        new ListPartsCommand({ ...this.#at(key), UploadId: uploadId, ...(marker && { PartNumberMarker: marker }) }),
      );
      Parts.push(...(page.Parts ?? []).map(({ PartNumber = 0, ETag = "" }) => ({ PartNumber, ETag })));
      if (!page.IsTruncated) break;
      marker = page.NextPartNumberMarker;
    }
    const MultipartUpload = { Parts };
    await this.#client.send(
      new CompleteMultipartUploadCommand({ ...this.#at(key), UploadId: uploadId, MultipartUpload }),
    );
  }

  async get(key: string): Promise<Presigned> {
    const found = await this.#store.head(key);
    if (!found) throw new Error(`There is no ${key}.`);
    return this.#store.presignGet(key, found.etag);
  }

  /** For tools that send nothing but bytes. */
  plainGet(key: string): Promise<string> {
    return this.#plainUrl("GET", key, {});
  }

  plainPut(key: string): Promise<string> {
    return this.#plainUrl("PUT", key, {});
  }

  async delete(key: string): Promise<void> {
    await this.#client.send(new DeleteObjectCommand(this.#at(key)));
  }

  #at(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#s3.bucket, Key: key };
  }

  async #plainUrl(method: string, key: string, query: Record<string, string>): Promise<string> {
    const { protocol, hostname, port, host } = new URL(this.#s3.s3Endpoint);
    const request = { method, protocol, hostname, port: Number(port), query, headers: { host } };
    const path = `/${this.#s3.bucket}/${key}`;
    const signed = await this.#presigner.presign({ ...request, path }, { expiresIn: LIFE });
    const pairs = Object.entries(signed.query ?? {}).map(
      ([name, value]) => `${name}=${encodeURIComponent(`${value}`)}`,
    );
    return `${protocol}//${host}${path}?${pairs.join("&")}`;
  }

  /** Putting a large file together takes a server longer than one call waits; then it is asked whether it is done. */
  async #complete(key: string, uploadId: string, parts: readonly UploadedPart[]): Promise<void> {
    for (;;) {
      const completion = await this.#store.complete(key, uploadId, parts);
      if (completion === "done" || (await this.#store.head(key))) return;
      if (completion !== "unknown" && completion !== "busy") throw new Error(`Complete: ${completion}`);
      await delay(1_000);
    }
  }

  async #answer(url: string, body: AsyncIterable<Buffer>): Promise<unknown> {
    const chunks: Buffer[] = [];
    for await (const chunk of body) chunks.push(chunk);
    const asked = JSON.parse(Buffer.concat(chunks).toString()) as Signing;
    if (url === "/begin") return this.begin(asked.key, asked.checked);
    if (url === "/sign") return this.sign(asked);
    if (url === "/finish") return this.finish(asked).then(() => ({}));
    throw new Error(`There is no ${url}.`);
  }
}
