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
    "The task's events after an event (after, block; both 0 for the first), or before one (before, block), or without a cursor " +
      "the newest one: with `confirmations` on top, at most 500.",
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
    "Begins or joins the caller's transfer; answers its plan, which counts whatever was asked for, and URLs of the named parts. " +
      "open: send parts; stored: finish; finished: with its manifest and notices.",
  ),
  signParts: about(
    served.signParts,
    wire.partsAnswer,
    "Upload URLs for parts of the caller's transfer: to PUT exactly the named bytes, with the answered headers.",
  ),
  listParts: about(
    served.listParts,
    wire.storedPartsAnswer,
    "The parts of the caller's transfer that the store holds.",
  ),
  finish: about(
    served.finish,
    wire.finishAnswer,
    "Completes the caller's transfer under its manifest, publishes notices over it, or both. completing: repeat it in two seconds.",
  ),
  abort: about(served.abort, wire.abortAnswer, "Aborts the caller's unfinished transfer."),
  readNotice: about(
    served.readNotice,
    wire.noticeAnswer,
    "A notice and the state of every recipient, with manifest=true its manifest, too; for its sender, its recipients and the owner.",
  ),
  download: about(
    served.download,
    wire.downloadAnswer,
    "The manifest and a GET URL of the payload, for the notice's recipients. One Range per part verifies each by itself.",
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
    "/docs": { get: open("docs", "This document for people's eyes.", { type: "string" }, "text/html") },
  };
  for (const [name, route] of Object.entries(routes))
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation(name, route) };
  return {
    openapi: "3.1.0",
    info: { title: "Waybill", version: "1", description: ABOUT },
    ...(config.apiOrigin !== undefined && { servers: [{ url: config.apiOrigin }] }),
    security: [{ erc8128: [] }],
    paths,
    components: { schemas: { Problem: schemaOf(wire.problem) }, securitySchemes: { erc8128: SIGNATURE } },
  };
}

const ABOUT =
  "Large payloads between the members of a task. Ids, accounts and signatures are lower-case hex with 0x; bytes and their digests " +
  "in JSON are base64 with padding. Times of statements and of the chain are seconds; durations are milliseconds. Every call may be " +
  "repeated, signed anew. Redirects are never answered. docs/api.md has every call of a transfer with real numbers.";

const SIGNATURE = {
  type: "apiKey",
  in: "header",
  name: "Signature",
  description:
    'ERC-8128: an RFC 9421 HTTP message signature with label "eth" by an Ethereum account (EIP-191) over @authority, @method, ' +
    "@path, and @query and content-digest where there are any, in this order and no others. Parameters, in this order: created, " +
    "expires (at most 60 s later), nonce (16 random bytes in base64url without padding; for all but GET and PUT), keyid " +
    '("erc8128:<chainId>:<lower-case account>"). The signed text has a line `"name": value` for each component (@query with its ' +
    '"?") and a last one `"@signature-params": (...);created=...`, "\\n" between them and none at the end. Signature is ' +
    "`eth=:<base64 of the 65 bytes r, s, v>:`, Signature-Input `eth=(...);created=...`, Content-Digest `sha-256=:<base64>:`.",
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

function open(name: string, summary: string, schema: Json, type = "application/json"): Json {
  const responses = { 200: { description: "Done.", content: { [type]: { schema } } } };
  return { operationId: name, summary, security: [], responses };
}

function pathParameter(name: string): Json {
  return { name, in: "path", required: true, schema: ID };
}

/** Alternatives of a query become optional parameters: OpenAPI can't say which go together. */
function queryParameters(query: z.ZodMiniType | undefined): Json[] {
  if (query === undefined) return [];
  const schema = schemaOf(query) as { anyOf?: { properties?: Json }[] };
  const { anyOf = [schema as { properties?: Json }] } = schema;
  const properties = Object.assign({}, ...anyOf.map((choice) => choice.properties ?? {})) as Json;
  return Object.entries(properties).map(([name, schema]) => ({ name, in: "query", required: false, schema }));
}

function json(schema: Json): Json {
  return { "application/json": { schema } };
}

/** As it is on the wire: bitmaps are hex there, and bigints only inside. */
function schemaOf(schema: z.ZodMiniType): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: "input" }) as Json;
  return explained(rest);
}

/** What a field's type and name leave open. Two things of one name are told apart by their types. */
const NOTES: Readonly<Record<string, (schema: Json) => string | null>> = {
  transfer: () => "keccak256 of the tag's UTF-8.",
  manifest: ({ pattern, enum: choices }) => {
    if (choices !== undefined) return "Whether the manifest is wanted, too: of 10,000 parts it is a megabyte.";
    return String(pattern).startsWith("^0x")
      ? "SHA-256 of the manifest's bytes."
      : "Base64 of the manifest's exact bytes (RFC 8785).";
  },
  recipients: ({ type, items }) => {
    if (type === "string") return "Bitmap: bit i is the member with index 104 * page + i.";
    return (items as Json).type === "string" ? "The recipients' accounts, in the order of their bits." : null;
  },
  page: () => "A member's index divided by 104.",
  deadline: () => "Seconds of the chain's time.",
  timestamp: () => "Seconds of the chain's time.",
  head: () => "A block of the chain, by whose timestamp deadlines are judged.",
  roster: () =>
    "The roster's version: 1 after the opening, one more with each change. A change names the one that it changes.",
  size: ({ anyOf }) => (anyOf ? "Bytes; null while it isn't known." : "Bytes."),
  partSize: () => "Bytes of each part but the last. No bytes are one empty part.",
  sha256: () => "Base64 of the part's SHA-256.",
  headers: () => "To be sent with the URL exactly so: they are signed.",
  url: () => "Presigned: a secret, good for expiresIn. No signature of the caller's goes with it.",
  expiresIn: () => "Milliseconds from the answer.",
  poll: () => "Milliseconds to wait before the next call if there were no events; 0 where the call itself waits.",
  next: () => "Where to read on in the same direction.",
  prevBlock: () => "The block of the event before, 0 for the first.",
  hash: () => "The block's hash, so that an event which a reorganisation replaced is told: CONFLICT.",
  name: ({ pattern }) => (pattern ? "The kind of message: at most 31 bytes of UTF-8, padded with zeros to 32." : null),
  salt: () => "32 bytes of the author's choice.",
  outcome: () => "In the signed statement: VERIFIED 1, CORRUPT 2, TOO_LARGE 3, REFUSED 4.",
};

function explained(schema: Json): Json {
  const properties = Object.entries((schema.properties ?? {}) as Record<string, Json>).map(([name, field]) => {
    const note = NOTES[name]?.(field) ?? null;
    return [name, { ...explained(field), ...(note !== null && { description: note }) }] as const;
  });
  const choices = (list: unknown): Json[] => (list as Json[]).map(explained);
  return {
    ...schema,
    ...(properties.length > 0 && { properties: Object.fromEntries(properties) }),
    ...(schema.items !== undefined && { items: explained(schema.items as Json) }),
    ...(schema.anyOf !== undefined && { anyOf: choices(schema.anyOf) }),
    ...(schema.oneOf !== undefined && { oneOf: choices(schema.oneOf) }),
  };
}
