import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { ClientRequest, IncomingMessage } from "node:http";
import type { Request } from "./policy.ts";

/** A request that some function made to some service. */
export interface Made {
  readonly by: string;
  readonly method: string;
  readonly host: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, unknown>>;
  /** 0 until it was answered. */
  status: number;
}

const STARTED = "http.client.request.start";
const FETCHED = "undici:request:create";

/** Sees every HTTP request that leaves this process in the name of a function. */
export class Watch {
  readonly made: Made[] = [];
  /** Keys that were deleted by the hundred: a request for that has them in its body. */
  readonly deleted: { readonly by: string; readonly keys: readonly string[] }[] = [];
  readonly #store: string;
  readonly #whose = new AsyncLocalStorage<string>();
  readonly #note = (message: unknown): void => {
    const { request } = message as { request: ClientRequest };
    const by = this.#whose.getStore();
    if (by === undefined) return;
    const { method, path } = request;
    const headers = request.getHeaders();
    const url = new URL(path, "http://host");
    const made: Made = { by, method, host: String(headers.host), url, headers, status: 0 };
    request.prependOnceListener("response", ({ statusCode = 0 }: IncomingMessage) => {
      made.status = statusCode;
    });
    this.made.push(made);
  };

  /** What is fetched of the store, is fetched under a URL that a function has signed: parts by uploads, payloads by downloads. */
  readonly #noteFetched = (message: unknown): void => {
    const { origin, method, path } = (message as { request: { origin: unknown; method: string; path: string } })
      .request;
    if (String(origin) !== this.#store) return;
    const by = method === "PUT" ? "uploads" : "downloads";
    this.made.push({
      by,
      method,
      host: new URL(this.#store).host,
      url: new URL(path, "http://host"),
      headers: {},
      status: 200,
    });
  };

  /** @param store The store's origin. */
  constructor(store: string) {
    this.#store = store;
    subscribe(STARTED, this.#note);
    subscribe(FETCHED, this.#noteFetched);
  }

  stop(): void {
    unsubscribe(STARTED, this.#note);
    unsubscribe(FETCHED, this.#noteFetched);
  }

  noteDeleted(keys: string | readonly string[]): void {
    const by = this.#whose.getStore();
    if (by !== undefined) this.deleted.push({ by, keys: [keys].flat() });
  }

  /** Whatever `work` asks of anybody is asked in that function's name. */
  as<T>(name: string, work: () => T): T {
    return this.#whose.run(name, work);
  }
}

/** What IAM is asked about a request to a bucket that is served under its path, as if it were the one with this ARN. */
export function asksOfBucket({ method, url, headers, status }: Made, arn: string): Request[] {
  const [, , ...rest] = url.pathname.split("/").map(decodeURIComponent);
  const key = rest.join("/");
  const common = { "aws:SecureTransport": "true", "s3:signatureAge": "1000" };
  if (key === "") return ofBucket(method, url, arn, common);
  const context = { ...common, ...conditionsOf(headers), ...creationOf(method, url) };
  const asked = { action: actionOf(method, url), resource: `${arn}/${key}`, context };
  // Who reads a key that isn't there learns so only if it might have listed it.
  const missing = (method === "GET" || method === "HEAD") && status === 404 && !url.searchParams.has("uploadId");
  const listing = { action: "s3:ListBucket", resource: arn, context: { ...common, "s3:prefix": key } };
  return missing ? [asked, listing] : [asked];
}

function ofBucket(method: string, url: URL, arn: string, common: Record<string, string>): Request[] {
  const { searchParams: query } = url;
  const prefix = query.get("prefix") ?? undefined;
  if (method === "GET" && query.has("uploads"))
    return [{ action: "s3:ListBucketMultipartUploads", resource: arn, context: common }];
  if (method === "GET" && query.get("list-type") === "2")
    return [{ action: "s3:ListBucket", resource: arn, context: { ...common, "s3:prefix": prefix } }];
  if (method === "POST" && query.has("delete")) return []; // by `deleted`
  throw new Error(`a request to the bucket that is not understood: ${method} ${url.search}`);
}

/** IAM's action of S3's operation on an object. */
function actionOf(method: string, { searchParams: query }: URL): string {
  switch (method) {
    case "GET":
      return query.has("uploadId") ? "s3:ListMultipartUploadParts" : "s3:GetObject";
    case "HEAD":
      return "s3:GetObject";
    case "PUT":
    case "POST":
      return "s3:PutObject";
    case "DELETE":
      return query.has("uploadId") ? "s3:AbortMultipartUpload" : "s3:DeleteObject";
    default:
      throw new Error(`a request by ${method}`);
  }
}

/** Whether an object comes of it: not of beginning an upload, nor of a part. */
function creationOf(method: string, { searchParams: query }: URL): Record<string, string> {
  if (method !== "PUT" && method !== "POST") return {};
  const isStep = method === "PUT" ? query.has("partNumber") : query.has("uploads");
  return { "s3:ObjectCreationOperation": String(!isStep) };
}

function conditionsOf(headers: Made["headers"]): Record<string, string> {
  const conditions = ["if-none-match", "if-match"].filter((name) => headers[name] !== undefined);
  return Object.fromEntries(conditions.map((name) => [`s3:${name}`, String(headers[name])]));
}

/** What IAM is asked about a call to a service that names its operation in a header. */
export function asksOfService({ headers }: Made, resource: string): Request {
  const [service, operation] = String(headers["x-amz-target"]).split(".") as [string, string];
  const prefix = { AmazonSQS: "sqs", TrentService: "kms" }[service];
  if (!prefix) throw new Error(`a call to ${service}`);
  return { action: `${prefix}:${operation}`, resource };
}
