import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, it } from "vitest";
import { NodeTransport } from "../lib/transfer/node-http.ts";

const server = createServer((request, response) => {
  request.resume().once("end", () => response.end());
});
afterEach(() => void server.close());

it("an answer that is not read leaves its connection to the next request", async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const sockets = new Set<unknown>();
  server.on("connection", (socket) => sockets.add(socket));
  const transport = new NodeTransport();
  const { signal } = new AbortController();
  for (let part = 0; part < 3; part++) {
    const body = new Uint8Array(100_000);
    const url = `http://127.0.0.1:${port}/part`;
    const response = await transport.request({ method: "PUT", url, headers: {}, body, signal });
    expect(response.status).toBe(200);
    response.discard();
    await new Promise(setImmediate); // the connection is free one turn later
  }
  expect(sockets.size).toBe(1);
  transport.close();
});
