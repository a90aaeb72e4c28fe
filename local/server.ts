import { readFile } from "node:fs/promises";
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import https from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { WaybillError } from "../lib/protocol/errors.ts";
import { allowing } from "./cors.ts";
import { Shedding } from "./shedding.ts";

/** Where a server listens. */
export interface Place {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 0: a free one. */
  readonly port?: number;
}

/** PEM files of a server that speaks TLS itself. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

/** What became of one request. */
export interface Exchange {
  readonly method: string;
  readonly url: string;
  readonly status: number;
  readonly seconds: number;
}

export interface ServerOptions extends Place {
  readonly tls?: TlsFiles;
  /** Connections at a time; more are closed at once. Default: as many as the system gives. */
  readonly maxConnections?: number;
  /** Exact origins of web pages that may use it from a browser. Default: none. */
  readonly origins?: readonly string[];
  /** Told of every request when it is over. */
  readonly onExchange?: (exchange: Exchange) => void;
}

/** What answers requests: a Hono app is one. */
export interface Mounted {
  fetch(request: Request): Response | Promise<Response>;
}

export interface Server {
  /** http://127.0.0.1:<port> */
  readonly origin: string;
  /** Requests that are being answered. */
  readonly running: number;
  /** Requests are refused (503) until an app is mounted: the app needs to know the origin first. */
  mount(app: Mounted): void;
  /** From now on /health answers 503, and long polls end with what there is; connections are taken still. */
  announce(): void;
  /** Takes no more connections, and ends those there are when their requests are answered. @returns How many it cut off after `limit` milliseconds. */
  drain(limit: number): Promise<number>;
  /** Ends open connections too; a long poll must not hold anybody up. */
  stop(): Promise<void>;
  /** Reads the TLS files again. @throws WaybillError USAGE; the old ones are kept then. */
  renew(): Promise<void>;
}

/** A client that sends less than a header in this time, or less than a request, has gone or means no good. */
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 60_000;
/** Proxies keep idle connections for a minute: whoever closes first, it should not be us while a request is on its way. */
const KEEP_ALIVE_MS = 75_000;
const SWEEP_CONNECTIONS_MS = 2_000;
const MAX_HEADERS = 16 * 1024;
const HANDSHAKE_TIMEOUT_MS = 10_000;

/**
 * One HTTP server for the functions' apps. Bodies are cut off by the apps, each route at its own limit.
 * @throws WaybillError USAGE when it can't listen there, or the TLS files are none.
 */
export async function startServer(options: ServerOptions = {}): Promise<Server> {
  const server = await newServer(options.tls);
  server.maxConnections = options.maxConnections ?? Number.POSITIVE_INFINITY;
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  const desk = new Desk(options);
  server.on("request", desk.listener);
  server.on(server instanceof https.Server ? "secureConnection" : "connection", (socket: Socket) =>
    desk.welcome(socket),
  );
  const origin = await listen(server, options);
  const stop = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return {
    origin,
    get running() {
      return desk.running;
    },
    mount: (app) => desk.mount(app),
    announce: () => desk.announce(),
    stop,
    drain: (limit) => drain(server, desk, limit),
    renew: async () => {
      if (options.tls && server instanceof https.Server) await renew(server, options.tls);
    },
  };
}

async function newServer(tls: TlsFiles | undefined): Promise<http.Server | https.Server> {
  const limits = {
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: SWEEP_CONNECTIONS_MS,
    maxHeaderSize: MAX_HEADERS,
  };
  if (tls === undefined) return http.createServer(limits);
  try {
    return https.createServer({
      ...limits,
      ...(await pemOf(tls)),
      minVersion: "TLSv1.2",
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    });
  } catch (cause) {
    throw cause instanceof WaybillError ? cause : badTls(cause);
  }
}

async function renew(server: https.Server, files: TlsFiles): Promise<void> {
  const pem = await pemOf(files);
  try {
    server.setSecureContext(pem);
  } catch (cause) {
    throw badTls(cause);
  }
}

async function pemOf({ cert, key }: TlsFiles): Promise<{ cert: string; key: string }> {
  const read = (file: string): Promise<string> =>
    readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
      throw new WaybillError("USAGE", `The TLS file ${file} can't be read (${error.code}).`);
    });
  return { cert: await read(cert), key: await read(key) };
}

function badTls(cause: unknown): WaybillError {
  return new WaybillError("USAGE", "The TLS files are no PEM certificate and its key.", { cause });
}

async function listen(server: http.Server, { host = "127.0.0.1", port = 0 }: Place): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", ({ code = "unknown" }: NodeJS.ErrnoException) =>
      reject(new WaybillError("USAGE", `Nothing can listen on ${host}:${port} (${code}). Choose another port.`)),
    );
    server.listen(port, host, () => resolve());
  });
  const { address, family, port: chosen } = server.address() as AddressInfo;
  const scheme = server instanceof https.Server ? "https" : "http";
  return `${scheme}://${family === "IPv6" ? `[${address}]` : address}:${chosen}`;
}

async function drain(server: http.Server, desk: Desk, limit: number): Promise<number> {
  desk.announce();
  desk.closeConnections();
  let cut = 0;
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  const timer = setTimeout(() => {
    cut = desk.running;
    server.closeAllConnections();
  }, limit);
  await closed;
  clearTimeout(timer);
  return cut;
}

/** Takes requests in, and knows which are running. */
class Desk {
  readonly #options: Pick<ServerOptions, "onExchange" | "origins">;
  readonly #answers = new Set<ServerResponse>();
  readonly #polls = new Set<AbortController>();
  /** Connections, and how many requests on each are being answered. */
  readonly #sockets = new Map<Socket, number>();
  #app: Mounted | null = null;
  #leaving = false;
  #closing = false;

  constructor(options: Pick<ServerOptions, "onExchange" | "origins">) {
    this.#options = options;
  }

  get running(): number {
    return this.#answers.size;
  }

  get listener(): (request: IncomingMessage, response: ServerResponse) => void {
    const answer = getRequestListener((request) => this.#answer(request));
    return (request, response) => {
      this.#note(request, response);
      void answer(request, response);
    };
  }

  mount(app: Mounted): void {
    this.#app = allowing(new Shedding(app), this.#options.origins ?? []);
  }

  announce(): void {
    this.#leaving = true;
    for (const poll of this.#polls) poll.abort();
  }

  welcome(socket: Socket): void {
    if (this.#closing) socket.destroySoon(); // its handshake was under way
    this.#sockets.set(socket, 0);
    socket.once("close", () => this.#sockets.delete(socket));
  }

  /**
   * Each connection ends with the answer that it waits for; Node's own `close` leaves those on which nothing was ever asked, and
   * those whose answer is on its way just now.
   */
  closeConnections(): void {
    this.#closing = true;
    for (const answer of this.#answers) if (!answer.headersSent) answer.setHeader("connection", "close");
    for (const [socket, running] of this.#sockets) if (running === 0) socket.destroySoon();
  }

  #note({ method = "", url = "", socket }: IncomingMessage, response: ServerResponse): void {
    const begun = performance.now();
    this.#answers.add(response);
    this.#sockets.set(socket, (this.#sockets.get(socket) ?? 0) + 1);
    if (this.#closing) response.setHeader("connection", "close");
    response.once("close", () => {
      this.#answers.delete(response);
      this.#finished(socket);
      this.#options.onExchange?.({
        method,
        url,
        status: response.statusCode,
        seconds: (performance.now() - begun) / 1000,
      });
    });
  }

  #finished(socket: Socket): void {
    const left = (this.#sockets.get(socket) ?? 1) - 1;
    if (!socket.destroyed) this.#sockets.set(socket, left);
    if (this.#closing && left === 0) socket.destroySoon();
  }

  #answer(request: Request): Response | Promise<Response> {
    if (this.#app === null) return new Response(null, { status: 503 });
    const { pathname } = new URL(request.url);
    if (this.#leaving && pathname === "/health")
      return Response.json({ ok: false, state: "draining" }, { status: 503 });
    const mayWait = request.method === "GET" && pathname.endsWith("/events");
    return mayWait ? this.#poll(this.#app, request) : this.#app.fetch(request);
  }

  /** What waits for news ends when its caller goes or we do. */
  async #poll(app: Mounted, { url, headers, signal }: Request): Promise<Response> {
    const poll = new AbortController();
    if (this.#leaving) poll.abort();
    signal.addEventListener("abort", () => poll.abort(), { once: true });
    this.#polls.add(poll);
    try {
      return await app.fetch(new Request(url, { headers, signal: poll.signal }));
    } finally {
      this.#polls.delete(poll);
    }
  }
}
