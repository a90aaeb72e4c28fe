import { createHash } from "node:crypto";
import { type Agent, type IncomingHttpHeaders, request } from "node:http";
import {
  CompleteMultipartUploadCommand,
  type CompleteMultipartUploadCommandInput,
  type CompleteMultipartUploadCommandOutput,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  type GetObjectCommandInput,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { S3RequestPresigner } from "@aws-sdk/s3-request-presigner";
import { quietSdk } from "../../functions/aws.ts";

/** Any S3-compatible server. */
export interface S3Target {
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  readonly credentials: {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken?: string;
  };
}

export interface Listed {
  readonly PartNumber: number;
  readonly ETag: string;
  readonly ChecksumSHA256: string;
}

export interface PresignOptions {
  readonly query?: Record<string, string>;
  /** Signed, and not moved into the query. */
  readonly headers?: Record<string, string>;
  readonly expiresIn?: number;
  readonly signingDate?: Date;
}

/** S3's least part. */
export const PART: number = 5 * 2 ** 20;

/** A client of one bucket, with the few steps that most tests take. */
export class S3Probe {
  readonly target: S3Target;
  readonly client: S3Client;

  /** @param clockOffset What its clock shows more than ours, in ms. */
  constructor(target: S3Target, clockOffset = 0) {
    quietSdk();
    this.target = target;
    this.client = new S3Client({
      ...target,
      forcePathStyle: true,
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      maxAttempts: 1, // a retry would hide what the server said
      systemClockOffset: clockOffset,
    });
  }

  close(): void {
    this.client.destroy();
  }

  async begin(key: string): Promise<string> {
    const input = { Bucket: this.target.bucket, Key: key, ChecksumAlgorithm: "SHA256" } as const;
    const { UploadId } = await this.client.send(new CreateMultipartUploadCommand(input));
    return UploadId as string;
  }

  async part(key: string, uploadId: string, number: number, body: Uint8Array): Promise<Listed> {
    const ChecksumSHA256 = sha256(body);
    const place = { Bucket: this.target.bucket, Key: key, UploadId: uploadId, PartNumber: number };
    const { ETag } = await this.client.send(new UploadPartCommand({ ...place, Body: body, ChecksumSHA256 }));
    return { PartNumber: number, ETag: ETag as string, ChecksumSHA256 };
  }

  async complete(
    key: string,
    uploadId: string,
    parts: readonly Partial<Listed>[],
    more: Partial<CompleteMultipartUploadCommandInput> = {},
  ): Promise<CompleteMultipartUploadCommandOutput> {
    const place = { Bucket: this.target.bucket, Key: key, UploadId: uploadId };
    const input = { ...place, MultipartUpload: { Parts: [...parts] }, ...more };
    return this.client.send(new CompleteMultipartUploadCommand(input));
  }

  /** Uploads an object of these parts and returns what Complete answered. */
  async multipart(key: string, bodies: readonly Uint8Array[]): Promise<CompleteMultipartUploadCommandOutput> {
    const id = await this.begin(key);
    const parts = await Promise.all(bodies.map((body, index) => this.part(key, id, index + 1, body)));
    return this.complete(key, id, parts);
  }

  /** Writes an object and returns its ETag. */
  async put(key: string, body: Uint8Array | string, more: Partial<PutObjectCommandInput> = {}): Promise<string> {
    const input = { Bucket: this.target.bucket, Key: key, Body: body, ...more };
    const { ETag } = await this.client.send(new PutObjectCommand(input));
    return ETag as string;
  }

  async read(key: string, more: Partial<GetObjectCommandInput> = {}): Promise<Buffer> {
    const input = { Bucket: this.target.bucket, Key: key, ...more };
    const { Body } = await this.client.send(new GetObjectCommand(input));
    return Buffer.from((await Body?.transformToByteArray()) ?? []);
  }

  async presign(method: string, key: string, options: PresignOptions = {}): Promise<string> {
    const { query = {}, headers = {}, expiresIn = 60, signingDate = new Date() } = options;
    const { protocol, host, hostname, port } = new URL(this.target.endpoint);
    const signer = new S3RequestPresigner({ ...this.client.config });
    const path = `/${this.target.bucket}/${key.split("/").map(encodeURIComponent).join("/")}`;
    const request = { method, protocol, hostname, ...(port && { port: Number(port) }), path, query };
    const signed = await signer.presign(
      { ...request, headers: { host, ...headers } },
      { expiresIn, signingDate, unhoistableHeaders: new Set(Object.keys(headers)) },
    );
    return `${this.target.endpoint}${path}?${new URLSearchParams(signed.query as Record<string, string>)}`;
  }
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("base64");
}

/** The code and status with which a call of the SDK is refused; fails if it is not. */
export async function refusal(call: Promise<unknown>): Promise<[code: string, status: number]> {
  try {
    await call;
  } catch (error) {
    const { name, $metadata } = error as { name: string; $metadata?: { httpStatusCode?: number } };
    return [name, $metadata?.httpStatusCode ?? 0];
  }
  throw new Error("was not refused");
}

/** What a call of the SDK brings, or the code and status with which it is refused. */
export async function outcome<T, R>(
  call: Promise<T>,
  pick: (answer: T) => R,
): Promise<R | [code: string, status: number]> {
  const [result] = await Promise.allSettled([call]);
  return result.status === "fulfilled" ? pick(result.value) : refusal(call);
}

/** The same of a plain HTTP answer, with S3's sentence. */
export async function verdict(response: Response): Promise<{ status: number; code?: string; message?: string }> {
  const text = await response.text();
  const [code, message] = ["Code", "Message"].map((name) => new RegExp(`<${name}>([^<]*)<`).exec(text)?.[1]);
  return { status: response.status, ...(code && { code }), ...(message && { message }) };
}

/** Bytes that differ from place to place, the same at every run. */
export function bytes(length: number, seed = 1): Buffer {
  const block = createHash("sha512").update(`waybill ${seed}`).digest();
  const all = Buffer.alloc(length);
  for (let offset = 0, turn = seed; offset < length; offset += block.length, turn++) {
    block.writeUInt32LE(turn >>> 0);
    block.copy(all, offset);
  }
  return all;
}

export interface RawOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  readonly agent?: Agent;
  /** Waits for 100 Continue before it sends the body. */
  readonly patient?: boolean;
}

export interface RawAnswer {
  readonly status: number;
  readonly code?: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly continued: boolean;
}

/** Unlike fetch, it sends path, Host and framing as they are given. For http alone. */
export function raw(url: string, options: RawOptions = {}): Promise<RawAnswer> {
  const { method = "GET", headers = {}, body, agent, patient = false } = options;
  const [, host = "", port = "80", path = ""] = /^http:\/\/([^:/]+)(?::(\d+))?(\/.*)$/s.exec(url) ?? [];
  const length = body && !("transfer-encoding" in headers) ? { "content-length": String(body.length) } : {};
  const expect = patient ? { expect: "100-continue" } : {};
  return new Promise((resolve, reject) => {
    let continued = false;
    const all = { ...headers, ...length, ...expect };
    const sending = request({ host, port, path, method, headers: all, ...(agent && { agent }) });
    sending.once("error", reject).once("continue", () => {
      continued = true;
      sending.end(body);
    });
    sending.once("response", (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk)).once("error", reject);
      answer.once("end", () => {
        if (patient && !continued) sending.destroy();
        const whole = Buffer.concat(chunks);
        const code = /<Code>([^<]*)</.exec(whole.toString())?.[1];
        const { statusCode: status = 0, headers } = answer;
        resolve({ status, headers, body: whole, continued, ...(code && { code }) });
      });
    });
    if (patient) sending.flushHeaders();
    else sending.end(body);
  });
}
