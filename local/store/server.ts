import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Authenticator } from "./auth.ts";
import { Body } from "./body.ts";
import type { Buckets } from "./buckets.ts";
import type { Cors } from "./cors.ts";
import { S3Error } from "./errors.ts";
import type { Reply } from "./reply.ts";
import { readRequest, type S3Request } from "./request.ts";
import { isCreateBucket, routeOf } from "./route.ts";
import { sendSlices } from "./send.ts";
import { writeXml } from "./xml.ts";

/** A peer that moves no byte for this long is given up, and what it was sending is removed. */
const IDLE_TIMEOUT_MS = 120_000;
/** S3 closes connections that were idle for about as long. */
const KEEP_ALIVE_MS = 5_000;

/** One request as a log may show it: no query, no header, so no signature. */
export interface RequestLog {
  readonly id: string;
  readonly method: string;
  /** S3's name for what was asked, once that is known. */
  readonly operation: string;
  readonly bucket: string;
  readonly key: string;
  /** Of an upload's part: which one. */
  readonly part?: number;
  /** Of a part of an object: the bytes that were asked for, as the request had them. */
  readonly range?: string;
  readonly status: number;
  /** S3's error code. */
  readonly code?: string;
  /** What is behind an InternalError: a full disk, say. */
  readonly cause?: unknown;
  readonly milliseconds: number;
}

export interface ServerParts {
  readonly buckets: Buckets;
  readonly authenticator: Authenticator;
  readonly cors: Cors;
  readonly minPartSize: number;
  readonly now: () => number;
  readonly onRequest?: (entry: RequestLog) => void;
}

/** S3's protocol over node:http. Every fault of a request ends in S3's own error document, and none reaches the process. */
export class S3Server {
  readonly server: Server;
  readonly #parts: ServerParts;
  readonly #running = new Set<Promise<void>>();

  constructor(parts: ServerParts) {
    this.#parts = parts;
    this.server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS, requestTimeout: 0 });
    this.server.timeout = IDLE_TIMEOUT_MS;
    this.server.on("request", (message, response) => this.accept(message, response, false));
    // A client that waits for 100 Continue gets it only once its request was found good.
    this.server.on("checkContinue", (message, response) => this.accept(message, response, true));
  }

  /** Resolves when no request is at work any more. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.server.closeAllConnections();
    await closed;
    await Promise.allSettled(this.#running);
  }

  private accept(message: IncomingMessage, response: ServerResponse, held: boolean): void {
    const work = new Exchange(this.#parts, message, response, held).run();
    this.#running.add(work);
    void work.finally(() => this.#running.delete(work));
  }
}

/** One request and its answer. */
class Exchange {
  readonly #parts: ServerParts;
  readonly #message: IncomingMessage;
  readonly #response: ServerResponse;
  /** The client waits for 100 Continue before it sends its body. */
  #held: boolean;
  readonly #id = randomBytes(8).toString("hex").toUpperCase();
  readonly #start = performance.now();
  #request: S3Request | undefined;
  #operation = "";
  #code: string | undefined;
  #cause: unknown;

  constructor(parts: ServerParts, message: IncomingMessage, response: ServerResponse, held: boolean) {
    this.#parts = parts;
    this.#message = message;
    this.#response = response;
    this.#held = held;
  }

  async run(): Promise<void> {
    this.#message.on("error", () => {}); // whoever reads the body is told too
    const reply = await this.answer().catch((error: unknown) => this.explain(error));
    try {
      await this.send(reply);
    } catch {
      this.#response.destroy(); // the reader is gone, or must see that what it got is not all
    }
    await reply.content?.release().catch(() => {}); // an old version's bytes that can't be removed harm nobody
    this.log();
  }

  private async answer(): Promise<Reply> {
    const { buckets, authenticator, cors, minPartSize, now } = this.#parts;
    if (this.#message.method === "OPTIONS") return cors.preflight(this.#message.headers as Record<string, string>);
    const request = readRequest(this.#message);
    this.#request = request;
    await authenticator.verify(request);
    if (isCreateBucket(request)) return this.createBucket(request);
    const bucket = buckets.get(request.bucket);
    const route = routeOf(request);
    this.#operation = route.name;
    const headers = route.wholeChecksum ? withoutChecksum(request.headers) : request.headers;
    const body = new Body(this.#message, headers, () => this.proceed());
    return route.run({ request, bucket, body, now: now(), buckets: buckets.all, minPartSize });
  }

  private proceed(): void {
    if (this.#held) this.#response.writeContinue();
    this.#held = false;
  }

  private async createBucket(request: S3Request): Promise<Reply> {
    this.#operation = "CreateBucket";
    await this.#parts.buckets.create(request.bucket);
    return { status: 200, headers: { location: `/${request.bucket}` } };
  }

  private explain(error: unknown): Reply {
    const { code, message, status, headers } = error instanceof S3Error ? error : new S3Error("InternalError");
    this.#code = code;
    if (code === "InternalError") this.#cause = error;
    const explanation = [
      ["Code", code],
      ["Message", message],
      ["Resource", this.#request?.path],
      ["RequestId", this.#id],
    ] as const;
    return { status, headers, ...(status === 304 ? {} : { xml: writeXml("Error", explanation, null) }) };
  }

  private async send({ status, headers = {}, xml, content }: Reply): Promise<void> {
    const response = this.#response;
    const silent = this.#message.method === "HEAD" || status === 204 || status === 304;
    const text = silent ? "" : (xml ?? "");
    // What is left of a refused body is read and dropped, so that the client hears us out. (One that is still held back
    // for a 100 Continue may never come: then node:http closes the connection.)
    if (!this.#message.complete) this.#message.resume();
    response.writeHead(status, {
      ...(xml === undefined ? {} : { "content-type": "application/xml" }),
      ...(silent ? {} : { "content-length": content?.size ?? Buffer.byteLength(text) }),
      ...headers,
      ...this.#parts.cors.headers(this.#message.headers as Record<string, string>),
      "x-amz-request-id": this.#id,
    });
    if (content) await sendSlices(response, content.slices);
    response.end(text);
  }

  private log(): void {
    const part = Number(this.#request?.query.get("partNumber") ?? 0);
    const { range } = this.#message.headers;
    this.#parts.onRequest?.({
      id: this.#id,
      method: this.#message.method ?? "",
      operation: this.#operation,
      bucket: this.#request?.bucket ?? "",
      key: this.#request?.key ?? "",
      ...(part > 0 && { part }),
      ...(range !== undefined && { range }),
      status: this.#response.statusCode,
      ...(this.#code === undefined ? {} : { code: this.#code }),
      ...(this.#cause === undefined ? {} : { cause: this.#cause }),
      milliseconds: Math.round(performance.now() - this.#start),
    });
  }
}

function withoutChecksum(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name !== "x-amz-checksum-sha256"));
}
