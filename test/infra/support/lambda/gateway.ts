import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type Arrival, httpEvent } from "./events.ts";
import type { DeployedFunction } from "./function.ts";
import { LambdaError } from "./instance.ts";

/** What an HTTP API takes, and what a function may be handed and may answer. */
const MAX_REQUEST = 10 * 2 ** 20;
const MAX_PAYLOAD = 6 * 2 ** 20;

/** A route of the API, and the function behind it. */
export interface GatewayRoute {
  /** "POST /v1/tasks/{task}" */
  readonly key: string;
  readonly target: DeployedFunction;
  /** Milliseconds that the API waits for the function. */
  readonly timeout: number;
}

export interface GatewayCors {
  readonly allowOrigins: readonly string[];
  readonly allowMethods: readonly string[];
  readonly allowHeaders: readonly string[];
  readonly exposeHeaders: readonly string[];
  readonly maxAge: number;
}

export interface GatewayApi {
  readonly id: string;
  readonly account: string;
  readonly routes: readonly GatewayRoute[];
  readonly cors: GatewayCors | undefined;
}

interface FunctionAnswer {
  readonly statusCode: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly cookies?: readonly string[];
  readonly body?: string;
  readonly isBase64Encoded?: boolean;
}

/** API Gateway's HTTP API (version 2): routes by the most specific path, CORS of its own, Lambda behind. */
export class Gateway {
  readonly #server: Server;
  #api: GatewayApi | undefined;
  #routes: readonly Matcher[] = [];

  private constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  /** It listens before anything is deployed: the deployment is told where. */
  static async start(): Promise<Gateway> {
    const gateway = new Gateway();
    await new Promise<void>((resolve) => gateway.#server.listen(0, "127.0.0.1", resolve));
    return gateway;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  mount(api: GatewayApi): void {
    this.#api = api;
    this.#routes = api.routes.map((route) => new Matcher(route)).sort((a, b) => b.rank - a.rank);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const cors = corsHeaders(this.#api?.cors, request);
    if (this.#api?.cors && isPreflight(request)) {
      response.writeHead(204, cors && preflightHeaders(this.#api.cors, cors)).end();
      return;
    }
    const { status, headers, body } = await this.#answer(request, Buffer.concat(chunks));
    response.writeHead(status, { ...headers, ...cors, "apigw-requestid": "stand-in" }).end(body);
  }

  async #answer(request: IncomingMessage, body: Buffer): Promise<Reply> {
    const path = (request.url ?? "").split("?", 1)[0]!;
    const matcher = this.#routes.find((one) => one.match(request.method ?? "", path));
    if (!this.#api || !matcher) return said(404, "Not Found");
    if (body.length > MAX_REQUEST) return said(413, "Request Entity Too Large");
    const { key, target, timeout } = matcher.route;
    const { id: apiId, account } = this.#api;
    const arrival: Arrival = { apiId, account, routeKey: key, parameters: matcher.match(request.method ?? "", path)! };
    const event = httpEvent(request, body, arrival);
    if (JSON.stringify(event).length > MAX_PAYLOAD) return said(413, "Request Entity Too Large");
    return within(timeout, target.invoke(event)).then(replyOf, failed);
  }
}

interface Reply {
  readonly status: number;
  readonly headers: Record<string, string | string[]>;
  readonly body: string | Buffer;
}

class TimedOut extends Error {}

async function within<T>(milliseconds: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TimedOut()), milliseconds);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

function replyOf(answer: unknown): Reply {
  const text = JSON.stringify(answer ?? null);
  if (text.length > MAX_PAYLOAD) return said(500, "Internal Server Error");
  const json = { "content-type": "application/json" };
  if (answer === null || typeof answer !== "object" || !("statusCode" in answer))
    return { status: 200, headers: json, body: text };
  const { statusCode, headers = {}, cookies, body = "", isBase64Encoded = false } = answer as FunctionAnswer;
  const own = Object.entries(headers).filter(([name]) => !name.toLowerCase().startsWith("access-control-"));
  return {
    status: statusCode,
    headers: { ...json, ...Object.fromEntries(own), ...(cookies && { "set-cookie": [...cookies] }) },
    body: isBase64Encoded ? Buffer.from(body, "base64") : body,
  };
}

function failed(error: unknown): Reply {
  if (error instanceof TimedOut) return said(503, "Service Unavailable");
  if (!(error instanceof LambdaError)) throw error;
  if (error.name === "TooManyRequestsException") return said(503, "Service Unavailable");
  return said(500, "Internal Server Error");
}

function said(status: number, message: string): Reply {
  return { status, headers: { "content-type": "application/json" }, body: JSON.stringify({ message }) };
}

/** A route's pattern: of two that fit, the one with more fixed segments wins, and a greedy one comes last. */
class Matcher {
  readonly route: GatewayRoute;
  readonly rank: number;
  readonly #method: string;
  readonly #pattern: RegExp;

  constructor(route: GatewayRoute) {
    this.route = route;
    const [method = "", path = ""] = route.key.split(" ");
    const segments = path.split("/");
    const fixed = segments.filter((one) => !one.startsWith("{")).length;
    this.rank = (path.includes("+}") ? 0 : 1_000) + fixed * 2 + (method === "ANY" ? 0 : 1);
    this.#method = method;
    this.#pattern = new RegExp(`^${segments.map(segmentPattern).join("/")}$`);
  }

  match(method: string, path: string): Record<string, string> | null {
    if (this.#method !== "ANY" && this.#method !== method) return null;
    const found = this.#pattern.exec(path);
    return found && { ...found.groups };
  }
}

function segmentPattern(segment: string): string {
  const [, name, greedy] = /^\{(\w+)(\+?)\}$/.exec(segment) ?? [];
  if (name === undefined) return segment.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return `(?<${name}>${greedy ? ".+" : "[^/]+"})`;
}

function isPreflight({ method, headers }: IncomingMessage): boolean {
  return method === "OPTIONS" && headers["access-control-request-method"] !== undefined;
}

function corsHeaders(cors: GatewayCors | undefined, { headers }: IncomingMessage): Record<string, string> | undefined {
  const { origin } = headers;
  if (!cors || origin === undefined) return undefined;
  const all = cors.allowOrigins.includes("*");
  if (!all && !cors.allowOrigins.includes(origin)) return undefined;
  const exposed = cors.exposeHeaders.join(",");
  return {
    "access-control-allow-origin": all ? "*" : origin,
    ...(exposed !== "" && { "access-control-expose-headers": exposed }),
  };
}

function preflightHeaders(cors: GatewayCors, allowed: Record<string, string>): Record<string, string> {
  return {
    ...allowed,
    "access-control-allow-methods": cors.allowMethods.join(","),
    "access-control-allow-headers": cors.allowHeaders.join(","),
    "access-control-max-age": String(cors.maxAge),
  };
}
