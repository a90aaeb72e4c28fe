import { randomUUID } from "node:crypto";
import type { FunctionName } from "./bundle.ts";
import type { Instance } from "./instance.ts";

/** An event of API Gateway's HTTP API (payload version 2.0). */
export interface HttpEvent {
  readonly rawPath: string;
}

interface HttpAnswer {
  readonly statusCode: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly isBase64Encoded?: boolean;
}

/** What a function gets for a request. */
export async function eventOf(request: Request): Promise<HttpEvent> {
  const { pathname, search, host } = new URL(request.url);
  const body = await request.text();
  const headers = { host, ...Object.fromEntries(request.headers) };
  const http = { method: request.method, path: pathname, protocol: "HTTP/1.1", sourceIp: "192.0.2.7", userAgent: "" };
  const event = {
    ...{ version: "2.0", routeKey: "$default", rawPath: pathname, rawQueryString: search.slice(1), headers },
    requestContext: {
      ...{ accountId: "1", apiId: "a", domainName: host, domainPrefix: "a", http, requestId: randomUUID() },
      ...{ routeKey: "$default", stage: "$default", time: new Date().toUTCString(), timeEpoch: Date.now() },
    },
    ...(body !== "" && { body }),
    isBase64Encoded: false,
  };
  return event;
}

/** The function that serves a path. */
export function servedBy(path: string): FunctionName {
  if (path.endsWith("/download") || path.endsWith("/progress")) return "downloads";
  return path.includes("/transfers") ? "uploads" : "tasks";
}

/** `fetch` by way of the functions. */
export function fetchOf(instances: Readonly<Record<FunctionName, Instance>>): typeof fetch {
  return async (input, init) => {
    const event = await eventOf(new Request(input, init));
    const { answers } = await instances[servedBy(event.rawPath)].run([event]);
    const { statusCode, headers = {}, body = "", isBase64Encoded } = answers[0] as HttpAnswer;
    return new Response(isBase64Encoded ? Buffer.from(body, "base64") : body, { status: statusCode, headers });
  };
}

/** The event of the one request that `call` makes, which is not answered. */
export async function eventIn(call: (send: typeof fetch) => Promise<unknown>): Promise<HttpEvent> {
  let event: HttpEvent | null = null;
  const send: typeof fetch = async (input, init) => {
    event = await eventOf(new Request(input, init));
    return new Response("{}");
  };
  await call(send).catch(() => undefined); // "{}" is no answer
  if (!event) throw new Error("There was no request.");
  return event;
}

/** @throws Error unless all were served. */
export function checkServed(answers: readonly unknown[]): void {
  const bad = (answers as readonly HttpAnswer[]).find(({ statusCode }) => statusCode >= 300);
  if (bad) throw new Error(`A function answered ${bad.statusCode}: ${(bad.body ?? "").slice(0, 300)}`);
}
