import { expect } from "vitest";
import type { JsonObject } from "../evaluate/order.ts";
import { capitalized, type Graph } from "../graph.ts";
import { inDev, inFull, inProduction, type Promised } from "./promise.ts";

/** Which function answers a route, by what the route is about. */
export function serverOf(routeKey: string): "uploads" | "downloads" | "tasks" {
  if (/ \/v1\/tasks\/\{task\}\/transfers(\/|$)/.test(routeKey)) return "uploads";
  return /^(POST .*\/download|PUT .*\/progress)$/.test(routeKey) ? "downloads" : "tasks";
}

/** The function behind each route of a deployment, by the route's key. */
export function serversIn(graph: Graph): Record<string, string> {
  const integrations = graph.all("aws:apigatewayv2/integration:Integration");
  const served = graph.all("aws:apigatewayv2/route:Route").map(({ inputs }) => {
    const integration = integrations.find(({ name }) => String(inputs.target).startsWith(`integrations/${name}-`));
    const arn = String(integration?.inputs.integrationUri);
    const lambda = ["uploads", "downloads", "tasks", "publisher", "sweeper"].find((name) =>
      arn.includes(`-${capitalized(name)}Function-`),
    );
    return [String(inputs.routeKey), lambda ?? arn] as const;
  });
  expect(new Set(served.map(([key]) => key)).size).toBe(served.length);
  return Object.fromEntries(served);
}

const ROUTES = [
  "DELETE /v1/tasks/{task}/transfers/{transfer}",
  "GET /docs",
  "GET /health",
  "GET /openapi.json",
  "GET /v1/tasks/{task}",
  "GET /v1/tasks/{task}/events",
  "GET /v1/tasks/{task}/notices/{notice}",
  "GET /v1/tasks/{task}/statements/{statement}",
  "GET /v1/tasks/{task}/transfers/{transfer}/parts",
  "POST /v1/tasks",
  "POST /v1/tasks/{task}/messages",
  "POST /v1/tasks/{task}/notices/{notice}/download",
  "POST /v1/tasks/{task}/receipts",
  "POST /v1/tasks/{task}/roster",
  "POST /v1/tasks/{task}/transfers",
  "POST /v1/tasks/{task}/transfers/{transfer}/finish",
  "POST /v1/tasks/{task}/transfers/{transfer}/parts",
  "POST /v1/tasks/{task}/withdrawals",
  "PUT /v1/tasks/{task}/notices/{notice}/progress",
];

function stageOf(graph: Graph): JsonObject {
  return graph.one("aws:apigatewayv2/stage:Stage").inputs;
}

export const apiPromises: readonly Promised[] = [
  inProduction("the API has these routes and no other, each with the function that may do what it does", (graph) => {
    expect(serversIn(graph)).toEqual(Object.fromEntries(ROUTES.map((key) => [key, serverOf(key)])));
  }),
  inProduction(
    "a route's resource is named by its operation, so that a deployment after a change keeps the others",
    (graph) => {
      const names = graph.all("aws:apigatewayv2/route:Route").map(({ name }) => name);
      for (const name of names) expect(name).toMatch(/^Route-[a-zA-Z]+$/);
    },
  ),
  inProduction("functions are called in payload format 2.0, by this API and nobody else", (graph) => {
    for (const { inputs } of graph.all("aws:apigatewayv2/integration:Integration"))
      expect(inputs).toMatchObject({ integrationType: "AWS_PROXY", payloadFormatVersion: "2.0" });
    const all = graph.all("aws:lambda/permission:Permission").map(({ inputs }) => inputs);
    const permissions = all.filter(({ principal }) => principal === "apigateway.amazonaws.com");
    expect(permissions).toHaveLength(3);
    for (const permission of permissions) {
      expect(permission.action).toBe("lambda:InvokeFunction");
      expect(permission.sourceArn).toMatch(/^arn:aws:execute-api:eu-central-1:123456789012:\w+\/\*$/);
    }
  }),
  inProduction("the API takes a hundred requests in a second, and two hundred at once", (graph) => {
    expect(stageOf(graph).defaultRouteSettings).toEqual({ throttlingRateLimit: 100, throttlingBurstLimit: 200 });
  }),
  inFull("the API's rate is what is configured", (graph) => {
    expect(stageOf(graph).defaultRouteSettings).toEqual({ throttlingRateLimit: 5, throttlingBurstLimit: 6 });
  }),
  inProduction("every request leaves a line of JSON, without its query, headers or anything signed", (graph) => {
    const { destinationArn, format } = stageOf(graph).accessLogSettings as { destinationArn: string; format: string };
    const logs = graph.one("aws:cloudwatch/logGroup:LogGroup", "ApiAccessLog").inputs;
    expect(destinationArn).toContain(String(logs.name));
    const variables = [...format.matchAll(/\$context\.([\w.]+)/g)].map((match) => match[1]!);
    expect(new Set(variables)).toEqual(new Set(LOGGED));
    const line = JSON.parse(format.replaceAll(/\$context\.status/g, "200")) as Record<string, unknown>;
    expect(line.status).toBe(200);
    expect(line.route).toBe("$context.routeKey");
  }),
  inProduction(
    "pages of exactly the configured origins may call the API, with the headers of a signed request",
    (graph) => {
      expect(graph.input("aws:apigatewayv2/api:Api", undefined, "corsConfiguration")).toEqual({
        allowOrigins: ["https://console.example.org", "https://lab.example.org"],
        allowMethods: ["GET", "POST", "PUT", "DELETE"],
        allowHeaders: ["content-type", "content-digest", "signature", "signature-input", "x-request-id"],
        exposeHeaders: ["retry-after", "x-request-id"],
        maxAge: 86_400,
      });
    },
  ),
  inDev("without configured origins no page may call the API", (graph) => {
    expect(graph.input("aws:apigatewayv2/api:Api", undefined, "corsConfiguration") ?? {}).toEqual({});
  }),
  inProduction(
    "without a domain there is no certificate and no record, and API Gateway's own name is open",
    (graph) => {
      expect(graph.all("aws:apigatewayv2/domainName:DomainName")).toEqual([]);
      expect(graph.all("aws:acm/certificate:Certificate")).toEqual([]);
      expect(graph.input("aws:apigatewayv2/api:Api", undefined, "disableExecuteApiEndpoint")).toBe(false);
      expect(graph.outputs.api).toBe("https://api.invalid");
    },
  ),
  inFull("with a domain the API has that name, over TLS 1.2, and no other", (graph) => {
    expect(graph.one("aws:apigatewayv2/domainName:DomainName").inputs).toMatchObject({
      domainName: "api.example.org",
      domainNameConfiguration: { securityPolicy: "TLS_1_2", endpointType: "REGIONAL" },
    });
    expect(graph.one("aws:apigatewayv2/apiMapping:ApiMapping").inputs).toMatchObject({ stage: "$default" });
    expect(graph.input("aws:apigatewayv2/api:Api", undefined, "disableExecuteApiEndpoint")).toBe(true);
    expect(graph.outputs.api).toBe("https://api.example.org");
  }),
];

const LOGGED = [
  "requestTime",
  "requestId",
  "httpMethod",
  "routeKey",
  "path",
  "status",
  "responseLength",
  "responseLatency",
  "integrationLatency",
  "error.message",
  "integrationErrorMessage",
  "identity.sourceIp",
  "identity.userAgent",
];
