import { once } from "node:events";
import { createServer, type IncomingMessage, request as onwardRequest, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";

/** An answer, or what is to be taken for one. Headers keep their order, their case and their repetitions. */
export interface Answer {
  readonly status: number;
  readonly reason: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
}

/** What becomes of one request; without an answer its connection is left as it is. */
export type Fault = (exchange: Exchange) => Promise<void> | void;

/** Of the hop alone; the body goes on with its length. */
const HOP_HEADERS = /^(connection|keep-alive|transfer-encoding|content-length|upgrade|proxy-.*)$/i;

/** One request that stands between two parties, and the socket on which its answer is written byte by byte. */
export class Exchange {
  readonly proxy: FaultProxy;
  readonly #message: IncomingMessage;
  #body: Promise<Buffer> | undefined;

  constructor(proxy: FaultProxy, message: IncomingMessage) {
    this.proxy = proxy;
    this.#message = message;
  }

  get method(): string {
    return this.#message.method ?? "";
  }

  /** Path and query. */
  get target(): string {
    return this.#message.url ?? "";
  }

  get headers(): IncomingMessage["headers"] {
    return this.#message.headers;
  }

  get socket(): Socket {
    return this.#message.socket;
  }

  body(): Promise<Buffer> {
    this.#body ??= this.#read();
    return this.#body;
  }

  /** Only the next few bytes of the body, the rest stays in the line. */
  async beginBody(): Promise<void> {
    if (this.headers["content-length"] === undefined || this.#body) return;
    await Promise.race([once(this.#message, "readable"), once(this.#message, "end")]);
  }

  /** Has it carried out, perhaps with another body or target. */
  async forward(edited: { target?: string; body?: Buffer; headers?: readonly string[] } = {}): Promise<Answer> {
    const body = edited.body ?? (await this.body());
    const { hostname, port } = new URL(this.proxy.target);
    const onward = onwardRequest({
      ...{ hostname, port, method: this.method, path: edited.target ?? this.target, agent: false, setHost: false },
      headers: edited.headers ?? onwardHeaders(this.#message.rawHeaders, body.length),
    });
    onward.end(body);
    const [answer] = (await once(onward, "response")) as [IncomingMessage];
    const chunks: Buffer[] = [];
    for await (const chunk of answer) chunks.push(chunk as Buffer);
    const headers = pairsOf(answer.rawHeaders);
    const made = { status: answer.statusCode ?? 0, reason: answer.statusMessage ?? "", body: Buffer.concat(chunks) };
    const length = this.method === "HEAD" ? answer.headers["content-length"] : String(made.body.length);
    const kept = headers.filter(([name]) => !HOP_HEADERS.test(name));
    if (length === undefined || made.status === 204 || made.status === 304) return { ...made, headers: kept };
    return { ...made, headers: [...kept, ["content-length", length]] };
  }

  /** The raw headers as they came, for a fault to change one. */
  async rawHeaders(): Promise<string[]> {
    return onwardHeaders(this.#message.rawHeaders, (await this.body()).length);
  }

  async write(bytes: string | Uint8Array): Promise<void> {
    if (this.socket.destroyed) return;
    await new Promise<void>((resolve) => this.socket.write(bytes, () => resolve()));
  }

  /** As a server would, but for what a fault has made of it. */
  answer(answer: Answer): Promise<void> {
    return this.write(serialized(answer));
  }

  /** A TCP reset, which throws away what is on its way. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  /** An orderly end behind what was written. */
  end(): void {
    this.socket.end();
  }

  async #read(): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for await (const chunk of this.#message) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks);
  }
}

export function headOf({ status, reason, headers }: Answer, version = "1.1"): string {
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/${version} ${status} ${reason}\r\n${lines.join("")}\r\n`;
}

export function serialized(answer: Answer): Buffer {
  return Buffer.concat([Buffer.from(headOf(answer), "latin1"), answer.body]);
}

/** The same answer with headers put in another's place, or (null) taken out. */
export function withHeaders(answer: Answer, changes: Readonly<Record<string, string | null>>): Answer {
  const kept = answer.headers.filter(([name]) => changes[name.toLowerCase()] === undefined);
  const put = Object.entries(changes).flatMap(([name, value]) => (value === null ? [] : [[name, value] as const]));
  return { ...answer, headers: [...kept, ...put] };
}

export function withBody(answer: Answer, body: string | Buffer): Answer {
  const bytes = Buffer.from(body as Buffer);
  return withHeaders({ ...answer, body: bytes }, { "content-length": String(bytes.length) });
}

/**
 * A real server in front of another that passes each request on, or does to it what a test wants. Everything is written on the
 * raw socket, so that nothing is too wrong to be said.
 */
export class FaultProxy {
  /** Where requests go on to: may be told later, when who listens there has begun. */
  target = "";
  origin = "";
  /** Asked for each request; null lets it pass. */
  rule: (exchange: Exchange) => Promise<Fault | null> = async () => null;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor() {
    this.#server = createServer({ requestTimeout: 0, headersTimeout: 0 }, (message) => this.#take(message));
    this.#server.on("checkContinue", (message) => {
      message.socket.write("HTTP/1.1 100 Continue\r\n\r\n");
      this.#take(message);
    });
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => {});
      socket.once("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("clientError", (_error, socket) => socket.destroy());
  }

  static async start(): Promise<FaultProxy> {
    const proxy = new FaultProxy();
    await proxy.#listen(0);
    proxy.origin = `http://127.0.0.1:${(proxy.#server.address() as AddressInfo).port}`;
    return proxy;
  }

  /** For so many milliseconds nobody listens here, and what was open is reset. */
  async refuse(milliseconds: number): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await closed;
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    await this.#listen(Number(new URL(this.origin).port));
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #listen(port: number): Promise<void> {
    this.#server.listen(port, "127.0.0.1");
    await once(this.#server, "listening");
  }

  #take(message: IncomingMessage): void {
    message.on("error", () => {});
    // Whoever asked may have gone, and whom we ask may be going: the one who asked sees an end.
    this.#run(new Exchange(this, message)).catch(() => message.socket.destroy());
  }

  async #run(exchange: Exchange): Promise<void> {
    const fault = await this.rule(exchange);
    if (fault) return fault(exchange);
    await exchange.answer(await exchange.forward());
    if (/\bclose\b/i.test(exchange.headers.connection ?? "")) exchange.end();
  }
}

function pairsOf(raw: readonly string[]): [string, string][] {
  return Array.from({ length: raw.length / 2 }, (_, i) => [raw[2 * i]!, raw[2 * i + 1]!]);
}

function onwardHeaders(raw: readonly string[], length: number): string[] {
  const kept = pairsOf(raw).filter(([name]) => !HOP_HEADERS.test(name) && name.toLowerCase() !== "expect");
  const framed = raw.some((text, i) => i % 2 === 0 && /^(content-length|transfer-encoding)$/i.test(text));
  return [...kept, ...(framed ? [["content-length", String(length)] as const] : []), ["connection", "close"]].flat();
}
