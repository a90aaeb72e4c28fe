import { BlockList, isIP } from "node:net";

// What curl and Go read from the environment, by Go's rules where they differ. The rules are few, so there is no library.

/** Between us and the store. */
export interface ProxyServer {
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
  /** Its credentials, to be sent to it alone. */
  readonly headers: Readonly<Record<string, string>>;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The proxy for a URL, from HTTPS_PROXY or HTTP_PROXY, ALL_PROXY and NO_PROXY, or in lower case.
 * @throws TypeError when its value can't be used; it does not repeat the value, which may contain a password.
 */
export function proxyFor(url: URL, env: Environment): ProxyServer | null {
  const own = url.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY";
  // In a CGI program HTTP_PROXY is what a client sent as "Proxy:".
  const cgi = own === "HTTP_PROXY" && env.REQUEST_METHOD !== undefined;
  const value = (cgi ? env.http_proxy : setting(env, own)) || setting(env, "ALL_PROXY");
  if (!value || isExempt(url, setting(env, "NO_PROXY") ?? "")) return null;
  return parse(value, own);
}

function setting(env: Environment, name: string): string | undefined {
  return env[name.toLowerCase()] || env[name];
}

function parse(value: string, name: string): ProxyServer {
  const text = /^[a-z0-9+.-]+:\/\//i.test(value) ? value : `http://${value}`;
  const url = URL.canParse(text) ? new URL(text) : null;
  const headers = url && credentialsOf(url);
  if (!headers || (url.protocol !== "http:" && url.protocol !== "https:"))
    throw new TypeError(`${name} (or ALL_PROXY) must be http://host:port or https://host:port.`);
  const secure = url.protocol === "https:";
  const port = Number(url.port) || (secure ? 443 : 80);
  return { host: bareHost(url), port, secure, headers };
}

/** Null when they hold a percent sign that escapes nothing. */
function credentialsOf({ username, password }: URL): Record<string, string> | null {
  if (username === "" && password === "") return {};
  try {
    const pair = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`);
    return { "proxy-authorization": `Basic ${pair.toString("base64")}` };
  } catch {
    return null;
  }
}

/** An IPv6 address without its brackets. */
export function bareHost({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, "");
}

/** This machine is never reached through a proxy. Otherwise as NO_PROXY lists: *, names with their subdomains, addresses, networks. */
function isExempt(url: URL, list: string): boolean {
  const host = bareHost(url);
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  if (host === "localhost" || host.endsWith(".localhost") || inNetwork(host, "127.0.0.0/8") || host === "::1")
    return true;
  return list
    .toLowerCase()
    .split(/[\s,]+/)
    .some((entry) => entry === "*" || matches(entry, host, port));
}

function matches(entry: string, host: string, port: string): boolean {
  if (entry.includes("/")) return inNetwork(host, entry);
  const [, name, only] = /^\[?(.*?)\]?(?::(\d+))?$/.exec(entry) as unknown as [string, string, string | undefined];
  if (isIP(entry) === 0 && only !== undefined && only !== port) return false;
  const wanted = (isIP(entry) === 0 ? name : entry).replace(/^\*?\./, "");
  return wanted !== "" && (host === wanted || (isIP(host) === 0 && host.endsWith(`.${wanted}`)));
}

function inNetwork(host: string, network: string): boolean {
  const [address = "", bits = ""] = network.split("/");
  const family = isIP(address);
  if (family === 0 || isIP(host) !== family || !/^\d{1,3}$/.test(bits) || Number(bits) > (family === 4 ? 32 : 128))
    return false;
  const list = new BlockList();
  list.addSubnet(address, Number(bits), family === 4 ? "ipv4" : "ipv6");
  return list.check(host, family === 4 ? "ipv4" : "ipv6");
}
