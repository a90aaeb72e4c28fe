import { once } from "node:events";
import { request as forward } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { CERTIFICATE, KEY } from "./certificate.ts";

/** A reverse proxy with a certificate of a private authority, for the name store.test, which no resolver knows. */
export interface Front {
  /** https://store.test:port */
  readonly origin: string;
  /** Requests that came by. */
  readonly count: number;
  stop(): Promise<void>;
}

/**
 * @param target Where requests go on, under the target's own name unless the front keeps its own; may be told later.
 * @param rewrite Pieces of answers to be replaced: what lies behind is named by what lies before it.
 */
export async function startFront(
  target: () => string,
  rewrite: () => readonly [string, string][] = () => [],
  keepsHost = false,
): Promise<Front> {
  let count = 0;
  const server: Server = createServer({ cert: CERTIFICATE, key: KEY }, (message, response) => {
    count += 1;
    const { hostname, port, host } = new URL(target());
    const headers = { ...message.headers, ...(!keepsHost && { host }) };
    const onward = forward({ hostname, port, path: message.url, method: message.method, headers });
    onward.on("error", () => response.destroy());
    onward.on("response", async (answer) => {
      const head = { ...answer.headers };
      if (rewrite().length === 0) return void answer.pipe(response.writeHead(answer.statusCode ?? 502, head));
      const chunks: Buffer[] = [];
      for await (const chunk of answer) chunks.push(chunk as Buffer);
      let text = Buffer.concat(chunks).toString();
      for (const [from, to] of rewrite()) text = text.replaceAll(from, to);
      delete head["content-length"];
      delete head["transfer-encoding"];
      return void response.writeHead(answer.statusCode ?? 502, head).end(text);
    });
    message.pipe(onward);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    origin: `https://store.test:${(server.address() as AddressInfo).port}`,
    get count() {
      return count;
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
