import { once } from "node:events";
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";

/** What a client asked. */
export interface Asked {
  readonly method: string;
  /** With its query. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** An honest answer. */
export interface Honest {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** Answers a request as it likes; `honest` asks the functions. False: it has no lie for that. */
export type Lie = (asked: Asked, response: ServerResponse, honest: () => Promise<Honest>) => Promise<boolean> | boolean;

/** Functions in the hands of somebody hostile: a real server, with the honest ones behind it. */
export class HostileServer {
  readonly origin: string;
  /** Where the honest functions are. */
  behind = "";
  /** By the account that asks, so that many can be lied to at the same time. */
  readonly lies = new Map<string, Lie>();
  /** Everything that was asked, newest last. */
  readonly asked: Asked[] = [];
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.origin = originOf(server);
    server.on("request", (message, response) => {
      this.#answer(message, response).catch(() => response.destroy());
    });
  }

  static async start(): Promise<HostileServer> {
    return new HostileServer(await listening());
  }

  async stop(): Promise<void> {
    await ended(this.#server);
  }

  async #answer(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of message) chunks.push(chunk as Buffer);
    const { method = "", url: target = "", headers } = message;
    const asked = { method, target, headers, body: Buffer.concat(chunks) };
    this.asked.push(asked);
    const honest = (): Promise<Honest> => this.#ask(asked);
    const lie = this.lies.get(accountOf(headers));
    if (lie && (await lie(asked, response, honest))) return;
    const { status, headers: head, text } = await honest();
    response.writeHead(status, Object.fromEntries(head)).end(text);
  }

  async #ask({ method, target, headers, body }: Asked): Promise<Honest> {
    const passed = Object.entries(headers).filter(
      ([name]) => !/^(host|connection|content-length|accept-encoding)$/.test(name),
    );
    const answer = await fetch(`${this.behind}${target}`, {
      method,
      headers: passed.map(([name, value]) => [name, String(value)] as [string, string]),
      ...(body.length > 0 && { body }),
    });
    const text = await answer.text();
    const head = new Headers(answer.headers);
    for (const name of ["content-length", "transfer-encoding", "connection", "keep-alive"]) head.delete(name);
    return { status: answer.status, headers: head, text };
  }
}

/** Who signed a request, or says so. */
export function accountOf(headers: IncomingHttpHeaders): string {
  return /keyid="erc8128:\d+:(0x\w+)"/.exec(String(headers["signature-input"]))?.[1] ?? "";
}

/** Where nobody should ever come. */
export class Trap {
  readonly origin: string;
  /** What came all the same. */
  readonly caught: string[] = [];
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.origin = originOf(server);
    server.on("request", ({ method, url }, response) => {
      this.caught.push(`${method} ${url}`);
      response.writeHead(200, { "content-type": "application/json" }).end("{}");
    });
  }

  static async start(): Promise<Trap> {
    return new Trap(await listening());
  }

  stop(): Promise<void> {
    return ended(this.#server);
  }
}

async function listening(): Promise<Server> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

function originOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function ended(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

// ---- lies

/** Bends the JSON of the honest answer to requests whose path ends so. */
export function bending(path: RegExp, bend: (answer: Record<string, unknown>) => unknown): Lie {
  return async ({ target }, response, honest) => {
    if (!path.test(target)) return false;
    const { status, text } = await honest();
    const answer = JSON.parse(text) as Record<string, unknown>;
    json(response, status < 300 ? bend(answer) : answer, status);
    return true;
  };
}

/** Bends the text of the honest answer. */
export function rewriting(path: RegExp, rewrite: (text: string) => string): Lie {
  return async ({ target }, response, honest) => {
    if (!path.test(target)) return false;
    const { status, text } = await honest();
    response.writeHead(status, { "content-type": "application/json" }).end(rewrite(text));
    return true;
  };
}

/** Writes the answer itself. */
export function answering(path: RegExp, write: (response: ServerResponse) => unknown): Lie {
  return ({ target }, response) => {
    if (!path.test(target)) return false;
    write(response);
    return true;
  };
}

export function json(response: ServerResponse, value: unknown, status = 200): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
}
