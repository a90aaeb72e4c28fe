import { once } from "node:events";
import { type AddressInfo, createServer as createTcp, type Server, type Socket } from "node:net";
import { createServer as createTls } from "node:tls";
import { CERTIFICATE, KEY } from "./certificate.ts";

/** What a server does with its nth connection. */
export type Script = (socket: Socket, nth: number) => void;

/** A server that says byte by byte what a test wants, however wrong. */
export class WireServer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** The request heads that came, of all connections. */
  readonly heads: string[] = [];
  connections = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(script: Script, { secure = false, host = "127.0.0.1" } = {}): Promise<WireServer> {
    const take = (socket: Socket): void => made.#take(socket, script);
    const server = secure ? createTls({ cert: CERTIFICATE, key: KEY }, take) : createTcp(take);
    const made = new WireServer(server);
    server.listen(0, host);
    await once(server, "listening");
    return made;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #take(socket: Socket, script: Script): void {
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", () => {});
    socket.setNoDelay(true);
    script(socket, ++this.connections);
  }

  /** Calls back with each request's head as soon as it is whole; bodies of a Content-Length are passed over. */
  onRequest(socket: Socket, answer: (head: string, body: Promise<Buffer>) => void): void {
    let bytes = Buffer.alloc(0);
    let want: { length: number; resolve: (body: Buffer) => void } | null = null;
    socket.on("data", (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      for (;;) {
        if (want) {
          if (bytes.length < want.length) return;
          want.resolve(bytes.subarray(0, want.length));
          bytes = bytes.subarray(want.length);
          want = null;
        }
        const end = bytes.indexOf("\r\n\r\n");
        if (end < 0) return;
        const head = bytes.toString("latin1", 0, end + 4);
        bytes = bytes.subarray(end + 4);
        this.heads.push(head);
        const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
        const body = new Promise<Buffer>((resolve) => {
          want = { length, resolve };
        });
        answer(head, body);
      }
    });
  }
}

/** Answers every request with the same bytes. */
export function answering(reply: string | Uint8Array, then: (socket: Socket) => void = () => {}): Script {
  return (socket) =>
    socket.once("data", function answer() {
      socket.write(reply, () => then(socket));
      socket.once("data", answer);
    });
}

/** `length` bytes with their head. */
export function whole(body: string, status = "200 OK"): string {
  return `HTTP/1.1 ${status}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}
