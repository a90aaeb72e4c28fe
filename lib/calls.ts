import type { Signer } from "ethers";
import { randomBytes } from "ethers/crypto";
import { getBytes, hexlify, toUtf8Bytes, toUtf8String } from "ethers/utils";
import type * as z from "zod/mini";
import { readWithin } from "./protocol/body.ts";
import { certificateFault } from "./protocol/certificates.ts";
import type { Deployment } from "./protocol/deployment.ts";
import { isServerCode, WaybillError } from "./protocol/errors.ts";
import { type Address, toBase64 } from "./protocol/hex.ts";
import {
  contentDigest,
  coveredComponents,
  keyIdOf,
  SIGNATURE_LABEL,
  type SignedRequest,
  signatureBase,
  signatureInput,
} from "./protocol/httpsig.ts";
import { MiB, SIGNATURE_WINDOW } from "./protocol/limits.ts";
import { wireText } from "./protocol/requests.ts";
import { problem } from "./protocol/wire.ts";
import { pause } from "./waiting.ts";

/** No route takes longer; an HTTP API on AWS ends at 30 s itself. */
const REQUEST_TIMEOUT_MS = 30_000;
/** 256 part URLs, a manifest of 10,000 parts and 64 notices stay below; so do 500 events. */
const MAX_ANSWER: number = 8 * MiB;
/** Tries of one call. Every route is idempotent, so an answer that got lost is asked for again. */
const TRIES = 5;
const BACK_OFF_MS = { first: 200, most: 5_000 };
/** A server that asks for more patience than this is not waited for. */
const MAX_RETRY_AFTER_MS = 20_000;

/**
 * A clock that is further off is for a person to mend. The bound is also how far into the future a false server could have
 * requests signed, to use them later.
 */
const MAX_SKEW_MS = 30 * 60_000;

export interface ApiOptions {
  readonly deployment: Deployment;
  readonly signer: Signer;
  readonly account: Address;
  /** Instead of the global one, for tests and for proxies. */
  readonly fetch?: typeof fetch | undefined;
}

export interface Request {
  readonly method: string;
  readonly path: string;
  /** With its question mark. */
  readonly query?: string;
  readonly signal?: AbortSignal | undefined;
}

/** A request whose answer has a shape. */
export interface Call<T> extends Request {
  readonly body?: unknown;
  readonly answer: z.ZodMiniType<T, unknown>;
  /** Tries at most; by default a few. */
  readonly tries?: number;
}

/** A request with its name. */
type Named<R extends Request> = R & { readonly requestId: string };

interface Answer {
  readonly status: number;
  /** Milliseconds, or NaN. */
  readonly retryAfter: number;
  readonly body: Uint8Array;
}

/** Signed calls of the API: each under a name of its own, signed anew when it is repeated. */
export class Calls {
  readonly #options: ApiOptions;
  readonly #origin: URL;
  /** What the server's clock shows more than ours, in ms. */
  #skew = 0;

  constructor(options: ApiOptions) {
    this.#options = options;
    this.#origin = new URL(options.deployment.api);
  }

  /**
   * Any request, for people who script: signed, and sent once, or twice where the clock was wrong.
   * @returns the answer as it came; with what it says went wrong, if it does.
   */
  async exchange(request: Request, body: Uint8Array): Promise<{ body: Uint8Array; problem: WaybillError | null }> {
    const call = { ...request, requestId: newName() };
    const once = async (): Promise<{ body: Uint8Array; problem: WaybillError | null }> => {
      const answer = await this.#send(call, await this.#sign(call, body), body);
      const isGood = answer.status >= 200 && answer.status < 300;
      return { body: answer.body, problem: isGood ? null : named(problemOf(answer), call.requestId) };
    };
    const first = await once();
    return first.problem?.code === "CLOCK_SKEW" && this.#correctClock(first.problem) ? once() : first;
  }

  /** A call under a name of its own, by which its user can ask the operator about it. */
  async call<T>(call: Call<T>): Promise<T> {
    const requestId = newName();
    try {
      return await this.#tried({ ...call, requestId });
    } catch (error) {
      throw error instanceof WaybillError ? named(error, requestId) : error;
    }
  }

  /** Tries a call until it has an answer, an error that more tries don't cure, or no tries left. */
  async #tried<T>(call: Named<Call<T>>): Promise<T> {
    let corrected = false;
    for (let failures = 0; ; ) {
      try {
        return await this.#once(call);
      } catch (error) {
        if (!(error instanceof WaybillError)) throw error;
        if (error.code === "CLOCK_SKEW" && !corrected && this.#correctClock(error)) {
          corrected = true;
          continue;
        }
        if (error.code === "CLOCK_SKEW") this.#skew = 0; // a correction that did not help was none
        if (!mayPass(error) || ++failures >= (call.tries ?? TRIES)) throw error;
        await pause(patience(error, failures), call.signal);
      }
    }
  }

  #correctClock(error: WaybillError): boolean {
    const { serverTime } = error.details;
    if (typeof serverTime !== "number") return false;
    const skew = serverTime * 1000 - Date.now();
    if (Math.abs(skew) > MAX_SKEW_MS) return false;
    this.#skew = skew;
    return true;
  }

  async #once<T>(call: Named<Call<T>>): Promise<T> {
    const body = call.body === undefined ? new Uint8Array() : toUtf8Bytes(wireText(call.body));
    const headers = await this.#sign(call, body);
    const response = await this.#send(call, headers, body);
    if (response.status < 200 || response.status >= 300) throw problemOf(response);
    const parsed = call.answer.safeParse(readJson(response.body));
    if (!parsed.success) throw badServer(`its answer to ${call.method} ${call.path} has not the agreed shape`);
    return parsed.data;
  }

  async #sign(call: Named<Request>, body: Uint8Array): Promise<Record<string, string>> {
    const { account, deployment, signer } = this.#options;
    const { method, path, query = "" } = call;
    const request: SignedRequest = { method, authority: this.#origin.host, path, query, body };
    const created = Math.floor((Date.now() + this.#skew) / 1000);
    const nonce = method === "GET" || method === "PUT" ? {} : { nonce: base64url(randomBytes(16)) };
    const keyid = keyIdOf(deployment.chainId, account);
    const components = coveredComponents(request);
    const input = signatureInput(components, { created, expires: created + SIGNATURE_WINDOW, ...nonce, keyid });
    const signature = await signer.signMessage(signatureBase(request, components, input));
    return {
      accept: "application/json",
      "x-request-id": call.requestId,
      "signature-input": `${SIGNATURE_LABEL}=${input}`,
      signature: `${SIGNATURE_LABEL}=:${toBase64(getBytes(signature))}:`,
      ...(body.length > 0 && { "content-type": "application/json", "content-digest": contentDigest(body) }),
    };
  }

  async #send(call: Request, headers: Record<string, string>, body: Uint8Array): Promise<Answer> {
    const limit = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
    const signal = call.signal ? AbortSignal.any([call.signal, limit]) : limit;
    const { method, path, query = "" } = call;
    const send = this.#options.fetch ?? fetch;
    try {
      const content = body.length > 0 ? { body } : {};
      const response = await send(`${this.#origin.origin}${path}${query}`, {
        method,
        headers,
        signal,
        redirect: "manual",
        ...content,
      });
      if (response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400))
        throw badServer("it redirects, and a signed request goes nowhere else");
      const retryAfter = Number(response.headers.get("retry-after") ?? Number.NaN) * 1000;
      const tooLong = (): WaybillError => badServer(`its answer is over ${MAX_ANSWER} bytes`);
      return { status: response.status, retryAfter, body: await readWithin(response.body, MAX_ANSWER, tooLong) };
    } catch (error) {
      call.signal?.throwIfAborted();
      if (error instanceof WaybillError) throw error;
      const certificate = certificateFault(error);
      if (certificate !== null)
        throw new WaybillError("UNREACHABLE", `The certificate of ${this.#origin.origin} ${certificate}.`, {
          retryable: false,
        });
      const why = limit.aborted ? ` within ${REQUEST_TIMEOUT_MS / 1000} s` : "";
      const message = `The Waybill API at ${this.#origin.origin} did not answer${why}. Check the address and the network, then try again.`;
      throw new WaybillError("UNREACHABLE", message, { cause: error });
    }
  }
}

function problemOf({ status, retryAfter, body }: Answer): WaybillError {
  const wait = Number.isFinite(retryAfter) ? { retryAfter } : {};
  const parsed = problem.safeParse(parseJson(body));
  if (!parsed.success || !isServerCode(parsed.data.code)) {
    const what = `it answered ${status} without one of our codes`;
    // A gateway in between speaks so, and a server that saw no whole request in time (408); the status says what it means.
    if (status !== 408 && status !== 429 && status < 500) return badServer(what);
    return new WaybillError("UNAVAILABLE", `The Waybill API can't serve now: ${what}.`, { details: wait });
  }
  const { code, detail, type: _type, title: _title, status: _status, ...facts } = parsed.data;
  return new WaybillError(code, detail, { details: { ...facts, ...wait } });
}

/** The same error, and by what its call is known to the operator: our own word for it, whatever the answer said. */
function named(error: WaybillError, requestId: string): WaybillError {
  const { code, message, retryable, cause, details } = error;
  return new WaybillError(code, message, {
    retryable,
    details: { ...details, requestId },
    ...(cause ? { cause } : {}),
  });
}

function newName(): string {
  return hexlify(randomBytes(16)).slice(2);
}

function mayPass({ code, details, retryable }: WaybillError): boolean {
  if (!retryable) return false;
  if (typeof details.retryAfter === "number" && details.retryAfter > MAX_RETRY_AFTER_MS) return false;
  return ["UNREACHABLE", "UNAVAILABLE", "RATE_LIMITED", "INTERNAL"].includes(code);
}

/** Full jitter, or what the server asked for. */
function patience(error: WaybillError, failures: number): number {
  const { retryAfter } = error.details;
  if (typeof retryAfter === "number") return retryAfter * (1 + Math.random() / 4);
  return Math.random() * Math.min(BACK_OFF_MS.most, BACK_OFF_MS.first * 2 ** failures);
}

function readJson(body: Uint8Array): unknown {
  const value = parseJson(body);
  if (value === undefined) throw badServer("its answer is not JSON");
  return value;
}

/** Undefined when it is no JSON. */
function parseJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(toUtf8String(body));
  } catch {
    return undefined;
  }
}

function base64url(bytes: Uint8Array): string {
  return toBase64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function badServer(what: string): WaybillError {
  return new WaybillError("BAD_SERVER", `The Waybill API is not to be believed: ${what}.`);
}
