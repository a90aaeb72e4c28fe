import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface RpcCall {
  readonly id: unknown;
  readonly method: string;
  readonly params: readonly unknown[];
}

/** What a node between a client and anvil does with a call. Its URL ends in a key that must never be told. */
export interface RpcProxy {
  readonly url: string;
  readonly key: string;
  /** Every method that came, in order. */
  readonly calls: string[];
  /** The same by HTTP request. */
  readonly batches: string[][];
  /** Cuts the connection before the call reaches the chain ("before") or after ("after"); the default passes it on. */
  cut: (call: RpcCall) => "before" | "after" | null;
  /** Refuses a call with these words. */
  refuse: (call: RpcCall) => string | null;
  /** Changes a result on its way back. */
  answer: (call: RpcCall, result: unknown) => unknown;
  stop(): Promise<void>;
}

/** A faulty node: everything is anvil's, but for what the test does to single calls. */
export async function startRpcProxy(target: string): Promise<RpcProxy> {
  const key = "sekrit-8c1f03d27a";
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString();
    const parsed = JSON.parse(body) as RpcCall | RpcCall[];
    const calls = Array.isArray(parsed) ? parsed : [parsed];
    proxy.calls.push(...calls.map(({ method }) => method));
    proxy.batches.push(calls.map(({ method }) => method));
    const cuts = calls.map((call) => proxy.cut(call));
    if (cuts.includes("before")) return request.socket.destroy();
    const upstream = await fetch(target, { method: "POST", headers: { "content-type": "application/json" }, body });
    const replies = (await upstream.json()) as Record<string, unknown> | Record<string, unknown>[];
    if (cuts.includes("after")) return request.socket.destroy();
    const changed = [replies].flat().map((reply) => {
      const call = calls.find(({ id }) => id === reply.id)!;
      const words = proxy.refuse(call);
      if (words !== null) return { jsonrpc: "2.0", id: call.id, error: { code: -32005, message: words } };
      return "result" in reply ? { ...reply, result: proxy.answer(call, reply.result) } : reply;
    });
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(Array.isArray(replies) ? changed : changed[0]));
    return undefined;
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const proxy: RpcProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v2/${key}`,
    key,
    calls: [],
    batches: [],
    cut: () => null,
    refuse: () => null,
    answer: (_call, result) => result,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return proxy;
}
