import http from "node:http";
import https from "node:https";
import { STALL_TIMEOUT_MS, type StoreRequest, type StoreResponse, type Transport } from "./http.ts";

/** S3 closes idle connections after about 5 s; one that we close first can't die under a request. */
const IDLE_TIMEOUT_MS = 4_000;

/** Small enough that a link of 6 kB/s gets one through within the stall timeout, large enough to cost nothing. */
const SLICE: number = 64 * 1024;

/**
 * Requests through node:http. Unlike `fetch` it sees an upload's bytes move, so that a slow link is told from a dead
 * one, and it can be made to open a new connection.
 */
export class NodeTransport implements Transport {
  readonly #stallTimeout: number;
  readonly #agents = {
    "http:": new http.Agent({ keepAlive: true, timeout: IDLE_TIMEOUT_MS }),
    "https:": new https.Agent({ keepAlive: true, timeout: IDLE_TIMEOUT_MS }),
  };

  constructor({ stallTimeout = STALL_TIMEOUT_MS }: { stallTimeout?: number } = {}) {
    this.#stallTimeout = stallTimeout;
  }

  request({ method, url, headers, body, signal, fresh = false }: StoreRequest): Promise<StoreResponse> {
    const target = new URL(url);
    const secure = target.protocol === "https:";
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const request = (secure ? https : http).request(target, {
        method,
        headers: { ...headers, ...(body && { "content-length": body.length }) },
        agent: fresh ? false : this.#agents[secure ? "https:" : "http:"],
        timeout: this.#stallTimeout, // of the socket: any byte in either direction starts it anew
      });
      const abort = (): void => void request.destroy(signal.reason as Error);
      signal.addEventListener("abort", abort, { once: true });
      request.once("close", () => signal.removeEventListener("abort", abort));
      request.once("timeout", () => request.destroy(stalled(this.#stallTimeout)));
      request.once("response", (response) => resolve(responseOf(request, response)));
      request.on("error", reject); // after the answer began, the body's reader is told
      send(request, body ?? new Uint8Array());
    });
  }

  /** Ends all connections. */
  close(): void {
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }
}

/** In slices, each of which restarts the stall timer when it is gone: a slow link is no dead one. */
function send(request: http.ClientRequest, body: Uint8Array): void {
  let at = 0;
  const next = (): void => {
    while (at < body.length && !request.destroyed) {
      const slice = body.subarray(at, at + SLICE);
      at += slice.length;
      if (!request.write(slice)) return void request.once("drain", next);
    }
    request.end();
  };
  next();
}

function responseOf(request: http.ClientRequest, response: http.IncomingMessage): StoreResponse {
  return {
    status: response.statusCode ?? 0,
    header: (name) => {
      const value = response.headers[name.toLowerCase()];
      return value === undefined ? null : String(value);
    },
    body: response,
    discard: () => {
      // A body that went whole, both ways, leaves its connection to the next request; but not before it is read.
      if (response.complete && request.writableFinished) response.resume();
      else request.destroy();
    },
  };
}

function stalled(ms: number): Error {
  return Object.assign(new Error(`No byte moved for ${ms} ms.`), { code: "STALLED" });
}
