import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { getRequestListener } from "@hono/node-server";
import type { Hono } from "hono";

export interface Server {
  /** http://127.0.0.1:<port> */
  readonly origin: string;
  /** Requests are refused (503) until an app is mounted: the app needs to know the origin first. */
  mount(app: Hono): void;
  /** Ends open connections too; a long poll must not hold anybody up. */
  stop(): Promise<void>;
}

/** One HTTP server on loopback for the functions' apps, on a free port unless one is named. */
export async function startServer(port = 0): Promise<Server> {
  let handle: (request: Request) => Response | Promise<Response> = () => new Response(null, { status: 503 });
  const server = createServer(getRequestListener((request) => handle(request)));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(port, "127.0.0.1", () => resolve());
  });
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    mount: (app) => {
      handle = (request) => app.fetch(request);
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
