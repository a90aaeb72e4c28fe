import { lookup } from "node:dns/promises";
import { WaybillError } from "../protocol/errors.ts";
import { STALL_TIMEOUT_MS, type StoreRequest, type StoreResponse, type Transport } from "./http.ts";
import type { Resolve } from "./wire/addresses.ts";
import { Origin } from "./wire/origin.ts";
import { bareHost, type Environment, type ProxyServer, proxyFor } from "./wire/proxy.ts";

export interface NodeTransportOptions {
  /** In milliseconds. Default 10 s. */
  readonly stallTimeout?: number | undefined;
  /** Certificate authorities (PEM) to trust instead of the usual ones, to which NODE_EXTRA_CA_CERTS adds. */
  readonly ca?: string | undefined;
  /** Where HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY are read. Default process.env. */
  readonly env?: Environment | undefined;
  /** All addresses of a host. Default: what the system's resolver says. */
  readonly resolve?: Resolve | undefined;
}

/**
 * Requests over sockets of our own, because node:http and undici copy every byte through streams: here a body lands in its
 * reader's memory, at a third of the processor time. See wire/ for how HTTP is read.
 */
export class NodeTransport implements Transport {
  readonly #options: NodeTransportOptions;
  readonly #origins = new Map<string, Origin>();
  #closed = false;

  constructor(options: NodeTransportOptions = {}) {
    this.#options = options;
  }

  /** @throws WaybillError USAGE for a proxy that can't be used. */
  async request({ method, url, headers, body, signal, moved, fresh = false }: StoreRequest): Promise<StoreResponse> {
    signal.throwIfAborted();
    if (this.#closed) throw new Error("The transport was closed.");
    const target = new URL(url);
    const proxy = this.#proxyOf(target);
    const own = `${target.pathname}${target.search}`;
    const throughHttp = proxy !== null && target.protocol === "http:";
    const { head, read, discard } = await this.#originOf(target, proxy).request(
      {
        method,
        target: throughHttp ? `${target.origin}${own}` : own,
        headers: { host: target.host, ...headers, ...(throughHttp && proxy.headers) },
        body: body ?? (method === "PUT" ? new Uint8Array() : undefined),
        signal,
        moved,
      },
      fresh,
    );
    return { status: head.status, header: (name) => head.fields.get(name.toLowerCase()) ?? null, read, discard };
  }

  /** Ends all connections. */
  close(): void {
    this.#closed = true;
    for (const origin of this.#origins.values()) origin.close(new Error("The transport was closed."));
  }

  #proxyOf(target: URL): ProxyServer | null {
    try {
      return proxyFor(target, this.#options.env ?? process.env);
    } catch (error) {
      throw new WaybillError("USAGE", (error as Error).message); // without its cause, which may tell a password
    }
  }

  #originOf(target: URL, proxy: ProxyServer | null): Origin {
    const known = this.#origins.get(target.origin);
    if (known) return known;
    const { resolve = systemAddresses, stallTimeout = STALL_TIMEOUT_MS, ca } = this.#options;
    const secure = target.protocol === "https:";
    const port = Number(target.port) || (secure ? 443 : 80);
    const origin = new Origin(
      { host: bareHost(target), port, secure, proxy, ca, session: undefined },
      resolve,
      stallTimeout,
    );
    this.#origins.set(target.origin, origin);
    return origin;
  }
}

async function systemAddresses(host: string): Promise<string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}
