import { once } from "node:events";
import { createServer, request as forward } from "node:http";
import { createServer as createSecure } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import { CERTIFICATE, KEY } from "./certificate.ts";

/** A proxy that leads every name to this machine. */
export interface TestProxy {
  readonly port: number;
  /** What it was asked for, with the credentials that came along. */
  readonly asked: string[];
  stop(): Promise<void>;
}

/** @param refusal What it answers to CONNECT instead of a tunnel. */
export async function startProxy({ secure = false, refusal = "" } = {}): Promise<TestProxy> {
  const server = secure ? createSecure({ cert: CERTIFICATE, key: KEY }) : createServer();
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => sockets.add(socket));
  server.on("request", (message, response) => {
    asked.push(`${message.method} ${message.url} ${message.headers["proxy-authorization"] ?? "-"}`);
    const { port, pathname, search } = new URL(message.url ?? "");
    const onward = forward({ host: "127.0.0.1", port, path: `${pathname}${search}`, headers: message.headers });
    onward.on("response", (answer) => {
      answer.pipe(response.writeHead(answer.statusCode ?? 500, answer.headers));
      answer.on("close", () => answer.complete || response.destroy());
      answer.on("error", () => {});
    });
    message.pipe(onward);
  });
  server.on("connect", (message, socket: Socket) => {
    asked.push(`CONNECT ${message.url} ${message.headers["proxy-authorization"] ?? "-"}`);
    if (refusal) return void socket.end(refusal);
    const onward = connect(Number(message.url?.split(":").at(-1)), "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 Connection established\r\nProxy-Agent: test\r\n\r\n");
      onward.pipe(socket).pipe(onward);
    });
    sockets.add(onward);
    for (const end of [onward, socket]) end.on("error", () => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const stop = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  };
  return { port: (server.address() as AddressInfo).port, asked, stop };
}
