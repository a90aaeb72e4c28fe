import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A signed request to one of AWS's services, taken apart. The signature itself is not checked here. */
export interface AwsCall {
  readonly service: string;
  readonly accessKey: string;
  readonly method: string;
  readonly url: URL;
  /** What X-Amz-Target says after the dot, for services that speak JSON. */
  readonly operation: string;
  readonly body: Buffer;
  readonly headers: IncomingMessage["headers"];
}

export interface AwsAnswer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

/** Answers for a service; null is "I don't know this request". */
export type AwsService = (call: AwsCall) => AwsAnswer | null;

/**
 * Stands where AWS's endpoints would be, for those services that it was given. Whatever else is asked for is answered with
 * an error and remembered: a test that ends with something in `unknown` has proved less than it says.
 */
export class AwsStandIn {
  /** Every request, as "service operation". */
  readonly calls: string[] = [];
  readonly unknown: string[] = [];
  readonly #services = new Map<string, AwsService>();
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  static async start(): Promise<AwsStandIn> {
    const standIn = new AwsStandIn();
    await new Promise<void>((resolve) => standIn.#server.listen(0, "127.0.0.1", resolve));
    return standIn;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** From now on a service is answered for. */
  add(service: string, answer: AwsService): void {
    this.#services.set(service, answer);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const call = callOf(request, Buffer.concat(chunks));
    const name = `${call.service} ${call.operation || `${call.method} ${call.url.pathname}${call.url.search}`}`;
    this.calls.push(name);
    const answer = this.#answer(call) ?? null;
    if (answer === null) this.unknown.push(name);
    const { status = 200, headers = {}, body = "" } = answer ?? unknownOperation;
    response.writeHead(status, headers).end(body);
  }

  #answer(call: AwsCall): AwsAnswer | null {
    try {
      return this.#services.get(call.service)?.(call) ?? null;
    } catch (error) {
      if (error instanceof AwsError) return jsonError(error);
      throw error;
    }
  }
}

/** What a service refuses with. */
export class AwsError extends Error {
  readonly status: number;

  constructor(name: string, message: string, status = 400) {
    super(message);
    this.name = name;
    this.status = status;
  }
}

export function json(answer: object, status = 200): AwsAnswer {
  return { status, headers: { "content-type": "application/x-amz-json-1.1" }, body: JSON.stringify(answer) };
}

function jsonError({ name, message, status }: AwsError): AwsAnswer {
  return json({ __type: name, message }, status);
}

/** The JSON of a request, as an object. */
export function inputOf({ body }: AwsCall): Readonly<Record<string, unknown>> {
  return JSON.parse(body.toString() || "{}") as Record<string, unknown>;
}

const unknownOperation: AwsAnswer = json({ __type: "UnknownOperationException", message: "nobody answers this" }, 501);

function callOf(request: IncomingMessage, body: Buffer): AwsCall {
  const { headers, method = "" } = request;
  const scope = /Credential=([^/,\s]+)\/\d{8}\/[^/]+\/([^/]+)\/aws4_request/.exec(headers.authorization ?? "");
  return {
    service: scope?.[2] ?? "unsigned",
    accessKey: scope?.[1] ?? "",
    method,
    url: new URL(request.url ?? "/", "http://aws.invalid"),
    operation: String(headers["x-amz-target"] ?? "").replace(/^.*\./, ""),
    body,
    headers,
  };
}
