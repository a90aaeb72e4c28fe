import type { Exchange } from "./fault-proxy.ts";

// What each request of a trip is called, so that a fault can be put at it.

/** Between whom a request goes. */
export type Link = "client-store" | "client-api" | "functions-store" | "functions-rpc" | "client-rpc";

/** Who of a trip has an account. */
export type Who = (account: string) => string;

/** Those of clients are presigned; those of the functions carry a header. */
export function storeLink({ target }: Exchange): Link {
  return target.includes("X-Amz-Signature=") ? "client-store" : "functions-store";
}

export function clientStoreStep({ method }: Exchange): string {
  return method === "PUT" ? "PUT part" : "GET bytes";
}

/** The store's operation, and what it is about. */
export function functionsStoreStep({ method, target }: Exchange): string {
  const url = new URL(target, "http://store");
  const [, , ...key] = decodeURIComponent(url.pathname).split("/");
  const query = url.searchParams;
  const what = (query.get("prefix") ?? key.join("/")).split("/");
  const thing = what[0] === "transfer" ? what.at(-1)! : what[0]!;
  if (query.has("list-type")) return `LIST ${thing}`;
  if (query.has("uploads")) return method === "POST" ? "create upload" : "list uploads";
  if (query.has("uploadId")) return { POST: "complete", GET: "list parts", DELETE: "abort" }[method] ?? method;
  if (query.has("delete")) return "delete many";
  return `${method} ${thing}`;
}

/** The route, and who asks. */
export async function apiStep(exchange: Exchange, who: Who): Promise<string> {
  const account = /keyid="erc8128:\d+:(0x[0-9a-f]{40})"/.exec(String(exchange.headers["signature-input"]))?.[1] ?? "";
  return `${who(account)}: ${await routeOf(exchange)}`;
}

async function routeOf(exchange: Exchange): Promise<string> {
  const url = new URL(exchange.target, "http://api");
  const [, , , , what = "task", , more] = url.pathname.split("/");
  const { method } = exchange;
  if (what === "events") return `events${eventsAsked(url.searchParams)}`;
  if (what === "transfers" && more === undefined) return "begin";
  if (more === "finish")
    return (await exchange.body()).includes('"signature"') ? "finish, notices" : "finish, manifest";
  if (more !== undefined) return `${method === "GET" ? "read " : ""}${more}`;
  return `${method === "GET" ? "read " : ""}${what.replace(/s$/, "")}`;
}

function eventsAsked(query: URLSearchParams): string {
  if (query.has("before")) return " before";
  return query.has("after") ? " after" : ", newest";
}

/** Functions of the contract by their selectors, for eth_call. */
const views: Readonly<Record<string, string>> = {};

export function nameView(selector: string, name: string): void {
  (views as Record<string, string>)[selector] = name;
}

export interface RpcCall {
  readonly id: unknown;
  readonly method: string;
  readonly params: readonly unknown[];
}

/** The calls of a batch. */
export async function rpcCalls(exchange: Exchange): Promise<RpcCall[]> {
  return [JSON.parse((await exchange.body()).toString()) as RpcCall | RpcCall[]].flat();
}

export async function rpcSteps(exchange: Exchange): Promise<string[]> {
  return [...new Set((await rpcCalls(exchange)).map(rpcStep))];
}

export function rpcStep({ method, params }: RpcCall): string {
  const short = method.replace(/^eth_/, "");
  if (method !== "eth_call") return short;
  const { data } = params[0] as { data: string };
  return `call ${views[data.slice(0, 10)] ?? "code"}`;
}
