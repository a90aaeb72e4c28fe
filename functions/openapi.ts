import * as z from "zod/mini";
import { problem } from "../lib/protocol/wire.ts";
import { REQUEST_ID_HEADER } from "./access.ts";
import { parametersOf, type Route, routes } from "./routes.ts";

type Json = Record<string, unknown>;

const ID = { type: "string", pattern: "^0x[0-9a-f]{64}$" };
const WHO = {
  operator: "An owner that this API is configured for.",
  owner: "The task's owner.",
  member: "An active member of the task.",
  reader: "An active member of the task, or its owner.",
};

/** The API in OpenAPI 3.1, written from the very schemas that the functions check with. */
export function openapi(config: { readonly apiOrigin?: string } = {}): Json {
  const paths: Record<string, Json> = {
    "/health": { get: open("health", "Answers when the API runs.", { type: "object" }) },
    "/openapi.json": { get: open("openapi", "This document.", { type: "object" }) },
  };
  for (const [name, route] of Object.entries(routes))
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation(name, route) };
  return {
    openapi: "3.1.0",
    info: { title: "Waybill", version: "1", description: "Large payloads between the members of a task." },
    ...(config.apiOrigin !== undefined && { servers: [{ url: config.apiOrigin }] }),
    security: [{ erc8128: [] }],
    paths,
    components: { schemas: { Problem: schemaOf(problem) }, securitySchemes: { erc8128: SIGNATURE } },
  };
}

const SIGNATURE = {
  type: "apiKey",
  in: "header",
  name: "Signature",
  description:
    'ERC-8128: an RFC 9421 HTTP message signature with label "eth" by an Ethereum account (EIP-191) over @authority, @method, ' +
    "@path, and @query and content-digest where there are any; good for at most 60 s; with a nonce for all but GET and PUT.",
};

const REQUEST_ID = {
  name: REQUEST_ID_HEADER,
  in: "header",
  required: false,
  description: "The caller's name for this call, kept over its tries; without one we choose. The answer repeats it.",
  schema: { type: "string", pattern: "^[0-9a-f]{32}$" },
};

function operation(name: string, route: Route): Json {
  return {
    operationId: name,
    summary: route.summary,
    description: WHO[route.who],
    parameters: [...parametersOf(route.path).map(pathParameter), ...queryParameters(route.query), REQUEST_ID],
    ...(route.body && { requestBody: { required: true, content: json(schemaOf(route.body)) } }),
    responses: {
      ...Object.fromEntries(
        route.status.map((status) => [status, { description: "Done.", content: json(schemaOf(route.answer)) }]),
      ),
      default: {
        description: "What was wrong, with a stable code.",
        content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
      },
    },
  };
}

function open(name: string, summary: string, schema: Json): Json {
  const responses = { 200: { description: "Done.", content: json(schema) } };
  return { operationId: name, summary, security: [], responses };
}

function pathParameter(name: string): Json {
  return { name, in: "path", required: true, schema: ID };
}

/** Alternatives of a query become optional parameters: OpenAPI can't say which go together. */
function queryParameters(query: z.ZodMiniType | undefined): Json[] {
  if (query === undefined) return [];
  const { anyOf = [] } = schemaOf(query) as { anyOf?: { properties?: Json }[] };
  const properties = Object.assign({}, ...anyOf.map((choice) => choice.properties ?? {})) as Json;
  return Object.entries(properties).map(([name, schema]) => ({ name, in: "query", required: false, schema }));
}

function json(schema: Json): Json {
  return { "application/json": { schema } };
}

/** As it is on the wire: bitmaps are hex there, and bigints only inside. */
function schemaOf(schema: z.ZodMiniType): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: "input" }) as Json;
  return rest;
}
