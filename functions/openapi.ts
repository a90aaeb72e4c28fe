import * as z from "zod/mini";
import * as wire from "../lib/protocol/wire.ts";
import { REQUEST_ID_HEADER } from "./access.ts";
import * as served from "./routes.ts";
import { parametersOf, type Route, routes } from "./routes.ts";

type Json = Record<string, unknown>;

const ID = { type: "string", pattern: "^0x[0-9a-f]{64}$" };
/** What no function needs to know of its routes: what each is for, and the schema of its answer. */
const descriptions: Readonly<Record<string, Description>> = {
  openTask: about(served.openTask, wire.openAnswer, "Relays the owner's signed Open."),
  changeRoster: about(served.changeRoster, wire.statementAnswer, "Relays the owner's signed Admit or Expel."),
  readTask: about(
    served.readTask,
    wire.taskAnswer,
    "The task's owner, members and newest event, as of the newest block with confirmations on top.",
  ),
  readEvents: about(
    served.readEvents,
    wire.eventsAnswer,
    "The task's events after an event (after, block), or before one (before, block), or without a cursor the newest one.",
  ),
  postMessage: about(served.postMessage, wire.statementAnswer, "Relays the caller's signed Message."),
  postReceipt: about(served.postReceipt, wire.statementAnswer, "Relays the caller's signed Receipt."),
  postWithdrawal: about(
    served.postWithdrawal,
    wire.statementAnswer,
    "Relays the caller's signed Withdraw of a notice of its own.",
  ),
  readStatement: about(
    served.readStatement,
    wire.statementStateAnswer,
    "What became of the caller's statement (the owner: any): pending, settled, or refused with the contract's reason.",
  ),
  begin: about(
    served.begin,
    wire.beginAnswer,
    "Begins or joins the caller's transfer; answers its plan and the first part URLs.",
  ),
  signParts: about(
    served.signParts,
    wire.partsAnswer,
    "Upload URLs for parts of the caller's transfer. Each takes exactly the named bytes.",
  ),
  listParts: about(
    served.listParts,
    wire.storedPartsAnswer,
    "The parts of the caller's transfer that the store holds.",
  ),
  finish: about(
    served.finish,
    wire.finishAnswer,
    "Completes the caller's transfer under its manifest, publishes notices over it, or both.",
  ),
  abort: about(served.abort, wire.abortAnswer, "Aborts the caller's unfinished transfer."),
  readNotice: about(
    served.readNotice,
    wire.noticeAnswer,
    "A notice, its manifest and the state of every recipient; for its sender, its recipients and the owner.",
  ),
  download: about(
    served.download,
    wire.downloadAnswer,
    "The manifest and a GET URL of the payload, for the notice's recipients.",
  ),
  reportProgress: about(
    served.reportProgress,
    wire.progressAnswer,
    "How far the caller's download is, for the notice's sender to see: at most once in two seconds.",
  ),
};

interface Description {
  readonly answer: z.ZodMiniType;
  readonly summary: string;
}

/** @typeParam A - what the route says that it answers, which the schema must be. */
function about<A extends z.ZodMiniType>(
  _route: Route<z.ZodMiniType, z.ZodMiniType, A>,
  answer: A,
  summary: string,
): Description {
  return { answer, summary };
}

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
    components: { schemas: { Problem: schemaOf(wire.problem) }, securitySchemes: { erc8128: SIGNATURE } },
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
  const { answer, summary } = descriptions[name]!;
  return {
    operationId: name,
    summary,
    description: WHO[route.who],
    parameters: [...parametersOf(route.path).map(pathParameter), ...queryParameters(route.query), REQUEST_ID],
    ...(route.body && { requestBody: { required: true, content: json(schemaOf(route.body)) } }),
    responses: {
      ...Object.fromEntries(
        route.status.map((status) => [status, { description: "Done.", content: json(schemaOf(answer)) }]),
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
