import http from "node:http";
import https from "node:https";
import { SignatureV4 } from "@smithy/signature-v4";
import { AwsFault } from "./aws.ts";
import type { CredentialSource } from "./credentials.ts";
import { Sha256 } from "./sha256.ts";

/** One call with all its tries. An HTTP API answers within 30 s, and a route makes a few calls. */
export const CALL_TIMEOUT_MS = 8_000;
/** One more than the SDK's, whose pauses are longer. */
const MAX_TRIES = 4;
/** What hangs for so long may be quicker over another connection. */
const TRY_TIMEOUT_MS = 3_000;
/** Far above a manifest of 10,000 parts and a page of a listing, the largest that we ask for; and a function has little memory. */
export const MAX_BODY: number = 16 * 1024 * 1024;
/** As many as the SDK's own client has. */
const MAX_SOCKETS = 50;
/** S3 closes idle connections after about 5 s: one that is about to die should not be used. */
const IDLE_MS = 4_000;
/** Between tries, doubling, with full jitter; whoever is told to slow down begins with more. */
const BACK_OFF_MS = { first: 50, slower: 400, most: 2_000 };
/** So that an outage is not answered with a multiple of the usual load: each retry takes one, each success gives some back. */
const RETRIES = { most: 100, perSuccess: 0.2 };
/** Answers that ask for patience, in the words of AWS's services; and every 429 and 503. */
const THROTTLED = /^(SlowDown|RequestThrottled|Throttl\w*|TooManyRequestsException|RequestLimitExceeded)$/;
/** What else passes by itself. */
const PASSING = /^(RequestTimeout|RequestTimeoutException|PriorRequestNotComplete)$/;
const PASSING_STATUS: ReadonlySet<number> = new Set([500, 502, 503, 504]);
/** Said of a request whose time is not the service's. */
const SKEWED =
  /^(RequestTimeTooSkewed|RequestExpired|RequestInTheFuture|InvalidSignatureException|SignatureDoesNotMatch|AuthFailure)$/;
/** A smaller difference is no reason to refuse a signature, and may be the answer's way. */
const LEAST_SKEW_MS = 60_000;

/** A request that may be made again. */
export interface Ask {
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  /** Escaped, as it is sent; what lies before it is the endpoint's. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

/** An answer that came whole. `code` is the service's word for what was wrong, "" if nothing was. */
export interface Answer {
  readonly status: number;
  readonly code: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly bytes: Uint8Array;
}

/**
 * How one request is made, straight on or by another way. @throws whatever kept an answer from coming whole; of an AwsFault the
 * words are told.
 */
export type Exchange = (request: SignedRequest, signal: AbortSignal) => Promise<Omit<Answer, "code">>;

export interface SignedOptions {
  readonly endpoint: URL;
  readonly service: string;
  readonly region: string;
  readonly credentials: CredentialSource;
  /** What the service says was wrong. */
  readonly codeOf: (answer: Omit<Answer, "code">) => string;
  /** Milliseconds for a call. Default 8,000. */
  readonly timeout?: number | undefined;
  /** Without it, requests go straight on over kept connections. */
  readonly exchange?: Exchange | undefined;
}

/**
 * Signed requests (SigV4) to one AWS service, over kept connections, at a fraction of the SDK's size and processor time. What
 * passes by itself is tried again, as the SDK does it: no answer, a 5xx, throttling; a clock that is wrong is corrected. Redirects
 * are not followed. Every request may be repeated, so one whose answer got lost may have been carried out twice.
 */
export class Signed {
  readonly #options: SignedOptions;
  readonly #signer: SignatureV4;
  readonly #agent: http.Agent;
  /** What the service's clock shows more than ours, in ms. */
  #skew = 0;
  #retries: number = RETRIES.most;

  constructor(options: SignedOptions) {
    const { endpoint, service, region, credentials } = options;
    this.#options = options;
    this.#signer = new SignatureV4({ credentials, region, sha256: Sha256, service, uriEscapePath: false });
    const { Agent } = transportOf(endpoint);
    this.#agent = new Agent({ keepAlive: true, maxSockets: MAX_SOCKETS, timeout: IDLE_MS });
  }

  /** The time by the service's clock, as far as it is known. */
  now(): Date {
    return new Date(Date.now() + this.#skew);
  }

  /** The last answer, whatever it says. @throws AwsFault if none came in time. */
  async send(ask: Ask): Promise<Answer> {
    const { timeout = CALL_TIMEOUT_MS } = this.#options;
    const end = performance.now() + timeout;
    for (let tries = 1, corrected = false; ; tries++) {
      const skew = this.#skew;
      const outcome = await this.#once(ask, Math.min(TRY_TIMEOUT_MS, end - performance.now()));
      const answer = outcome instanceof AwsFault ? null : outcome;
      if (answer && answer.status < 400) {
        this.#retries = Math.min(RETRIES.most, this.#retries + RETRIES.perSuccess);
        return answer;
      }
      if (answer && !corrected && SKEWED.test(answer.code) && this.#skew !== skew) {
        corrected = true;
        continue;
      }
      const pause = pauseAfter(answer, tries);
      if (pause === null || this.#retries < 1 || performance.now() + pause >= end) return resultOf(outcome);
      this.#retries -= 1;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  /** A fault when nothing could be learned: the request may have been carried out, or not. */
  async #once(ask: Ask, timeout: number): Promise<Answer | AwsFault> {
    const request = await this.#sign(ask); // what is wrong with the credentials is no fault that passes
    const { exchange } = this.#options;
    try {
      const answer = await (exchange
        ? exchange(request, AbortSignal.timeout(Math.max(0, timeout)))
        : straight(request, this.#agent, timeout));
      const code = answer.status < 300 ? "" : this.#options.codeOf(answer);
      if (SKEWED.test(code)) this.#correct(answer.headers.date);
      return { ...answer, code };
    } catch (error) {
      return error instanceof AwsFault ? error : new AwsFault("NoAnswer", 0);
    }
  }

  async #sign({ method, path, query, headers, body }: Ask): Promise<SignedRequest> {
    const { endpoint } = this.#options;
    const request = {
      method,
      protocol: endpoint.protocol,
      hostname: endpoint.hostname.replace(/^\[|\]$/g, ""), // as node:http wants IPv6
      ...(endpoint.port && { port: Number(endpoint.port) }),
      path: `${endpoint.pathname.replace(/\/$/, "")}${path}` || "/",
      ...(query && { query: { ...query } }),
      headers: { host: endpoint.host, ...headers, ...(body && { "content-length": String(body.length) }) },
      body,
    };
    return this.#signer.sign(request, { signingDate: this.now() });
  }

  /** Takes over the service's clock where ours is far from it, and only when that was the trouble: one wrong date must not count. */
  #correct(date: string | undefined): void {
    const skew = Date.parse(date ?? "") - Date.now();
    if (Math.abs(skew - this.#skew) > LEAST_SKEW_MS) this.#skew = skew;
  }
}

/** The SDK's requests look like this, too. */
export type SignedRequest = Awaited<ReturnType<SignatureV4["presign"]>>;

/** Milliseconds until another try; null where none would help. */
function pauseAfter(answer: Answer | null, tries: number): number | null {
  const { status, code, headers } = answer ?? { status: 0, code: "", headers: {} as http.IncomingHttpHeaders };
  const slower = status === 429 || status === 503 || THROTTLED.test(code);
  if (tries === MAX_TRIES) return null;
  if (answer && !slower && !PASSING_STATUS.has(status) && !PASSING.test(code)) return null;
  const most = Math.min(BACK_OFF_MS.most, (slower ? BACK_OFF_MS.slower : BACK_OFF_MS.first) * 2 ** (tries - 1));
  return Math.max(Math.random() * most, Number(headers["retry-after"] ?? 0) * 1000 || 0);
}

function resultOf(outcome: Answer | AwsFault): Answer {
  if (outcome instanceof AwsFault) throw outcome;
  return outcome;
}

function transportOf({ protocol }: { protocol: string }): typeof http | typeof https {
  return protocol === "https:" ? https : http;
}

function straight(
  { body, ...request }: SignedRequest,
  agent: http.Agent,
  timeout: number,
): Promise<Omit<Answer, "code">> {
  return new Promise((resolve, reject) => {
    const { method, protocol, hostname, port, headers } = request;
    const path = targetOf(request);
    const sent = transportOf(request).request({ method, protocol, hostname, port, path, headers, agent });
    // What has come while this process was held up counts.
    const timer = setTimeout(() => setImmediate(() => sent.destroy(new Error("no answer in time"))), timeout);
    const fail = (error: Error): void => {
      clearTimeout(timer);
      reject(error);
    };
    sent.on("error", fail);
    // A 101 is neither an answer nor an error to node:http: only its end is told.
    const silent = (): void => fail(new Error("it ended without an answer"));
    sent.once("close", silent);
    sent.once("response", (response) => {
      sent.off("close", silent);
      const chunks: Uint8Array[] = [];
      let size = 0;
      response.on("data", (chunk: Uint8Array) => {
        size += chunk.length;
        if (size > MAX_BODY) sent.destroy(new Error("that can't be an answer to us"));
        else chunks.push(chunk);
      });
      response.on("error", fail); // cut off, too
      response.once("end", () => {
        clearTimeout(timer);
        const { statusCode: status = 0, headers } = response;
        resolve({ status, headers, bytes: new Uint8Array(Buffer.concat(chunks)) }); // no Buffer, as from the SDK
      });
    });
    sent.end(body);
  });
}

/** Path and query, escaped as the signature has it. */
export function targetOf({ path, query = {} }: Pick<SignedRequest, "path" | "query">): string {
  const pairs = Object.entries(query).map(([name, value]) => `${escapeUri(name)}=${escapeUri(String(value ?? ""))}`);
  return pairs.length === 0 ? path : `${path}?${pairs.join("&")}`;
}

/** RFC 3986: encodeURIComponent leaves some alone that a signature does not. */
export function escapeUri(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}
