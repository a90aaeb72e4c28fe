import { handler as downloads } from "../../functions/downloads.ts";
import type { LambdaHandler } from "../../functions/lambda.ts";
import { handler as tasks } from "../../functions/tasks.ts";
import { handler as uploads } from "../../functions/uploads.ts";
import type { Drive } from "./api.ts";

// The ways on which a request reaches the functions.

/** Over a socket, to a server at another origin than the configured one. */
export function overHttp(origin: string): Drive {
  return async (request) => {
    const { pathname, search } = new URL(request.url);
    const body = await request.arrayBuffer();
    const { method, headers } = request;
    return fetch(`${origin}${pathname}${search}`, { method, headers, ...(body.byteLength > 0 && { body }) });
  };
}

/** Through the Lambda handlers, each behind the routes that are its own, as an HTTP API calls them (payload version 2.0). */
export const throughLambda: Drive = async (request) => {
  const handler = handlerFor(request.method, new URL(request.url).pathname);
  const { statusCode, headers, body, isBase64Encoded } = (await handler(await eventOf(request), CONTEXT)) as {
    statusCode: number;
    headers: Record<string, string>;
    body: string;
    isBase64Encoded: boolean;
  };
  return new Response(isBase64Encoded ? Buffer.from(body, "base64") : body, { status: statusCode, headers });
};

const CONTEXT = {} as Parameters<LambdaHandler>[1];

function handlerFor(method: string, path: string): LambdaHandler {
  if (/^\/v1\/tasks\/[^/]+\/transfers(\/|$)/.test(path)) return uploads;
  return method === "POST" && path.endsWith("/download") ? downloads : tasks;
}

/** The event as API Gateway makes it: lower-cased headers, the path and query as sent, the body in base64. */
export async function eventOf(request: Request): Promise<Parameters<LambdaHandler>[0]> {
  const { pathname, search, host } = new URL(request.url);
  const bytes = Buffer.from(await request.arrayBuffer());
  const headers: Record<string, string> = {
    ...Object.fromEntries(request.headers),
    host,
    "content-length": String(bytes.length),
    "user-agent": "test",
    "x-amzn-trace-id": "Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e",
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-port": "443",
    "x-forwarded-proto": "https",
  };
  const now = new Date();
  return {
    version: "2.0",
    routeKey: "$default",
    rawPath: pathname,
    rawQueryString: search.slice(1),
    headers,
    ...(search && { queryStringParameters: Object.fromEntries(new URLSearchParams(search)) }),
    requestContext: {
      accountId: "123456789012",
      apiId: "r3pmxmplak",
      domainName: "r3pmxmplak.execute-api.eu-west-1.amazonaws.com",
      domainPrefix: "r3pmxmplak",
      http: { method: request.method, path: pathname, protocol: "HTTP/1.1", sourceIp: "127.0.0.1", userAgent: "test" },
      requestId: "JKJaXmPLvHcESHA=",
      routeKey: "$default",
      stage: "$default",
      time: now.toUTCString(),
      timeEpoch: now.getTime(),
      authentication: null,
      authorizer: {} as never,
    },
    body: bytes.length > 0 ? bytes.toString("base64") : null,
    isBase64Encoded: bytes.length > 0,
  } as unknown as Parameters<LambdaHandler>[0];
}
