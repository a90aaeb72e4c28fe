import { hasNodeSockets } from "./transfer/transport.ts";

/** Requests to the functions and to RPC nodes. */
export interface Outbound {
  readonly fetch: typeof fetch;
  /** Whether a proxy stands before a URL. @throws WaybillError USAGE for one that can't be used. */
  isProxied(url: URL): boolean;
  /** Ends its connections. */
  close(): void;
}

const PROXY_VARIABLE = /^(https?|all)_proxy$/i;

/**
 * How requests get out of here. Node's `fetch` heeds no HTTPS_PROXY, so where one is set, and only there, one that does is
 * loaded; it trusts what `fetch` trusts, NODE_EXTRA_CA_CERTS among it.
 */
export async function outbound(): Promise<Outbound> {
  if (!hasNodeSockets || !namesProxy(process.env))
    return { fetch: (...request) => fetch(...request), isProxied: () => false, close: () => {} };
  const { ProxiedFetch } = await import("./proxied.ts");
  return new ProxiedFetch(process.env);
}

function namesProxy(env: Readonly<Record<string, string | undefined>>): boolean {
  return Object.entries(env).some(([name, value]) => value && PROXY_VARIABLE.test(name));
}
