import { lookup } from "node:dns/promises";
import type { Outbound } from "./outbound.ts";
import { certificateFault } from "./protocol/certificates.ts";
import { WaybillError } from "./protocol/errors.ts";
import type { Answer } from "./transfer/wire/exchange.ts";
import { Origin } from "./transfer/wire/origin.ts";
import { bareHost, type Environment, type ProxyServer, proxyFor } from "./transfer/wire/proxy.ts";

/** Longer than any caller waits: each has a signal of its own. */
const STALL_MS = 60_000;
/** Most answers fit. */
const CHUNK: number = 64 * 1024;
/** A name or address that leads nowhere; where there is a proxy, it is that one's. */
const NO_WAY: ReadonlySet<string> = new Set([
  ...["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "ETIMEDOUT", "STALLED"],
]);

/**
 * `fetch` as far as we need it, through the proxy that the environment names for a URL, by the rules and the sockets of the
 * way to the store. What needs no proxy goes by the usual `fetch`. Redirects are not followed, and nothing is decoded.
 */
export class ProxiedFetch implements Outbound {
  readonly #env: Environment;
  readonly #origins = new Map<string, Origin>();

  constructor(env: Environment) {
    this.#env = env;
  }

  /** @throws WaybillError UNREACHABLE, USAGE: what is wrong with the proxy, without a word of its credentials or of the URL. */
  readonly fetch: typeof fetch = async (input, init = {}) => {
    const url = new URL(String(input));
    const proxy = this.#proxyOf(url);
    if (proxy === null) return fetch(input, init);
    const signal = init.signal ?? new AbortController().signal;
    signal.throwIfAborted();
    try {
      const answer = await this.#originOf(url, proxy).request(
        {
          method: init.method ?? "GET",
          target: url.protocol === "http:" ? url.href : `${url.pathname}${url.search}`,
          headers: headersOf(url, init, proxy),
          body: bytesOf(init),
          signal,
          moved: undefined,
        },
        false,
      );
      return await responseOf(answer, url, init.redirect);
    } catch (error) {
      signal.throwIfAborted();
      throw faultOf(error, proxy);
    }
  };

  isProxied(url: URL): boolean {
    return this.#proxyOf(url) !== null;
  }

  close(): void {
    for (const origin of this.#origins.values()) origin.close(new Error("The connections were closed."));
  }

  #proxyOf(url: URL): ProxyServer | null {
    try {
      return proxyFor(url, this.#env);
    } catch (error) {
      throw new WaybillError("USAGE", (error as Error).message); // without its cause, which may tell a password
    }
  }

  #originOf(url: URL, proxy: ProxyServer): Origin {
    const known = this.#origins.get(url.origin);
    if (known) return known;
    const secure = url.protocol === "https:";
    const port = Number(url.port) || (secure ? 443 : 80);
    const route = { host: bareHost(url), port, secure, proxy, ca: undefined, session: undefined };
    const origin = new Origin(route, systemAddresses, STALL_MS);
    this.#origins.set(url.origin, origin);
    return origin;
  }
}

async function systemAddresses(host: string): Promise<string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}

/** A tunnel's proxy had its credentials when it was opened. */
function headersOf(url: URL, { headers }: RequestInit, proxy: ProxyServer): Record<string, string> {
  const own = Object.fromEntries(new Headers(headers));
  const forProxy = url.protocol === "http:" ? proxy.headers : {};
  return { host: url.host, ...own, "accept-encoding": "identity", ...forProxy };
}

function bytesOf({ method = "GET", body }: RequestInit): Uint8Array | undefined {
  if (typeof body === "string") return new TextEncoder().encode(body);
  if (body instanceof Uint8Array) return body;
  return method === "POST" || method === "PUT" ? new Uint8Array() : undefined; // of length 0, says its head
}

async function responseOf(answer: Answer, url: URL, redirect: RequestInit["redirect"]): Promise<Response> {
  const { status, fields } = answer.head;
  const moved = status >= 300 && status < 400;
  const refused = url.protocol === "http:" && status === 407;
  if (refused || (moved && redirect === "error")) answer.discard();
  if (refused) throw new ProxyRefusal(status);
  if (moved && redirect === "error") throw new TypeError("It redirects.");
  const headers = new Headers([...fields]);
  if (status === 204 || status === 205 || status === 304) {
    answer.discard();
    return new Response(null, { status, headers });
  }
  return new Response(bodyOf(answer), { status, headers });
}

function bodyOf(answer: Answer): ReadableStream<Uint8Array> {
  return new ReadableStream(
    {
      async pull(controller) {
        const memory = new Uint8Array(CHUNK);
        const count = await answer.read(memory);
        if (count > 0) controller.enqueue(memory.subarray(0, count));
        if (count < memory.length) controller.close();
      },
      cancel: () => answer.discard(),
    },
    { highWaterMark: 0 },
  );
}

class ProxyRefusal extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`The proxy answered ${status}.`);
    this.status = status;
  }
}

/** What to do about it. Neither the way nor who is asked for is named: an RPC node's name may be a key. */
function faultOf(error: unknown, { host, port }: ProxyServer): Error {
  if (error instanceof WaybillError) return error;
  const proxy = `The proxy ${host.includes(":") ? `[${host}]` : host}:${port}`;
  const status = refusalIn(error);
  if (status !== null) return refusal(proxy, status);
  const code = String((error as { code?: unknown }).code);
  if (NO_WAY.has(code))
    return unreachable(`${proxy} can't be reached (${code}): check HTTPS_PROXY, and that the proxy runs.`, true);
  const certificate = certificateFault(error);
  if (certificate !== null) return unreachable(`A certificate behind ${proxy.toLowerCase()} ${certificate}.`, false);
  return new TypeError("fetch failed", { cause: error });
}

function refusalIn(error: unknown): number | null {
  if (error instanceof ProxyRefusal) return error.status;
  const { code, message } = error as { code?: unknown; message?: unknown };
  return code === "PROXY_REFUSED" ? Number(/\b\d{3}\b/.exec(String(message))?.[0] ?? 0) : null;
}

function refusal(proxy: string, status: number): WaybillError {
  if (status === 407)
    return unreachable(
      `${proxy} wants a user and a password, or others than it got (407): write HTTPS_PROXY as http://user:password@host:port, with special characters as %XX.`,
      false,
    );
  if (status >= 500)
    return unreachable(`${proxy} can't reach the server either (${status}): try again, or tell who runs it.`, true);
  return unreachable(
    `${proxy} refuses the way to the server (${status}): ask who runs it to allow the hosts of deployment.json, or name them in NO_PROXY if they are reached without it.`,
    false,
  );
}

function unreachable(message: string, retryable: boolean): WaybillError {
  return new WaybillError("UNREACHABLE", message, { retryable });
}
