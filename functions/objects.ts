import http from "node:http";
import https from "node:https";
import type { S3Client } from "@aws-sdk/client-s3";
import { SignatureV4 } from "@smithy/signature-v4";
import type { Presigner } from "./presigner.ts";

/** What is left of a call's time is the SDK's. */
const TRY_TIMEOUT_MS = 3_000;
/** As many as the SDK's own client has. */
const MAX_SOCKETS = 50;
/** S3 closes idle connections after about 5 s: one that is about to die should not be used. */
const IDLE_MS = 4_000;
/** Keys that look the same in a URL. All of ours do. */
const PLAIN_KEY = /^[\w./-]+$/;

/** An answer that came whole. */
export interface ObjectAnswer {
  readonly status: number;
  readonly etag: string;
  readonly bytes: Uint8Array;
}

export interface ObjectRequest {
  readonly method: "GET" | "PUT" | "DELETE";
  readonly key: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

/**
 * One try to get, put or delete a small object, at a fraction of the processor time that the SDK takes to do it: the publisher
 * does it thousands of times, and that was most of its work. Signer, credentials, addresses and clock are the SDK's.
 *
 * It knows good answers only. Whatever else comes, or nothing, is for the SDK to try again and to explain: every request of
 * this kind may be repeated. Redirects are not followed.
 */
export class Objects {
  readonly #client: S3Client;
  readonly #presigner: Presigner;
  readonly #signer: SignatureV4;
  #line: { readonly base: URL; readonly agent: http.Agent } | undefined;

  constructor(client: S3Client, presigner: Presigner) {
    this.#client = client;
    this.#presigner = presigner;
    const { credentials, region, sha256 } = client.config;
    this.#signer = new SignatureV4({ credentials, region, sha256, service: "s3", uriEscapePath: false });
  }

  /** Null when nothing could be learned: the request may have been carried out, or not. */
  async ask(request: ObjectRequest): Promise<ObjectAnswer | null> {
    if (!PLAIN_KEY.test(request.key)) return null;
    try {
      const { base, agent } = await this.#connect();
      return await exchange(await this.#sign(request, base), agent);
    } catch {
      return null;
    }
  }

  close(): void {
    this.#line?.agent.destroy();
  }

  async #connect(): Promise<{ base: URL; agent: http.Agent }> {
    const base = this.#line?.base ?? (await this.#presigner.base());
    const { Agent } = transportOf(base.protocol);
    this.#line ??= { base, agent: new Agent({ keepAlive: true, maxSockets: MAX_SOCKETS, timeout: IDLE_MS }) };
    return this.#line;
  }

  #sign({ method, key, headers, body }: ObjectRequest, base: URL): Promise<SignedRequest> {
    const request = {
      method,
      protocol: base.protocol,
      hostname: base.hostname.replace(/^\[|\]$/g, ""), // as node:http wants IPv6
      ...(base.port && { port: Number(base.port) }),
      path: `${base.pathname.replace(/\/$/, "")}/${key}`,
      headers: { host: base.host, ...headers, ...(body && { "content-length": String(body.length) }) },
      body,
    };
    const signingDate = new Date(Date.now() + this.#client.config.systemClockOffset);
    return this.#signer.sign(request, { signingDate });
  }
}

type SignedRequest = Awaited<ReturnType<SignatureV4["presign"]>>;

function transportOf(protocol: string): typeof http | typeof https {
  return protocol === "https:" ? https : http;
}

function exchange({ body, ...request }: SignedRequest, agent: http.Agent): Promise<ObjectAnswer> {
  return new Promise((resolve, reject) => {
    const { method, protocol, hostname, port, path, headers } = request;
    const sent = transportOf(protocol).request({ method, protocol, hostname, port, path, headers, agent });
    // What has come while this process was held up counts.
    const timer = setTimeout(() => setImmediate(() => sent.destroy(new Error("no answer in time"))), TRY_TIMEOUT_MS);
    const fail = (error: Error): void => {
      clearTimeout(timer);
      reject(error);
    };
    sent.on("error", fail);
    sent.once("response", (response) => {
      const chunks: Uint8Array[] = [];
      response.on("data", (chunk: Uint8Array) => void chunks.push(chunk));
      response.on("error", fail); // cut off, too
      response.once("end", () => {
        clearTimeout(timer);
        const { statusCode: status = 0, headers } = response;
        resolve({ status, etag: headers.etag ?? "", bytes: new Uint8Array(Buffer.concat(chunks)) }); // no Buffer, as from the SDK
      });
    });
    sent.end(body);
  });
}
