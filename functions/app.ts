import type { Context } from "hono";
import { Hono } from "hono/tiny";
import type * as z from "zod/mini";
import { WaybillError } from "../lib/protocol/errors.ts";
import type { Address, Hex } from "../lib/protocol/hex.ts";
import type { SignedRequest } from "../lib/protocol/httpsig.ts";
import { id32, wireText } from "../lib/protocol/requests.ts";
import { Access, type Found, notFound } from "./access.ts";
import { authorityOf, type Claim, readClaim, verifyClaim } from "./auth.ts";
import { readBody } from "./body.ts";
import { nowOf, type Deps as Using } from "./deps.ts";
import { Glance } from "./glance.ts";
import { parseJson } from "./json.ts";
import { limitIn, overLimit } from "./limit.ts";
import type { Facts } from "./log.ts";
import type { Service } from "./metric-names.ts";
import type { Metrics } from "./metrics.ts";
import { type Nonces, noncesOf } from "./nonces.ts";
import type { Objects } from "./objects.ts";
import { Reads } from "./reads.ts";
import { checkOperator, type Standing, standingIn, wasKnown } from "./roles.ts";
import { limitOf, needsNonce, parametersOf, type Route } from "./routes.ts";

type Deps = Using<Objects>;

/** A request that passed authentication, its role and the replay guard. */
export interface Call<Body, Query> {
  readonly account: Address;
  /** The ids of the path. */
  readonly ids: Readonly<Record<string, Hex>>;
  readonly body: Body;
  readonly query: Query;
  /** The chain, for as long as the request takes. */
  readonly chain: Glance;
  /** The caller in the task of the path; null only where there is no task yet. */
  readonly standing: Standing | null;
  /** 32 hex digits, by which the caller and the log name this request. */
  readonly requestId: string;
  /** Aborted when the caller is gone. */
  readonly signal: AbortSignal;
}

/** What a handler answers; the status is the route's first unless it says otherwise. */
export interface Reply<Answer> {
  readonly answer: Answer;
  readonly status?: number;
  /** What the log says beside the ids of the path. */
  readonly about?: Facts;
}

/**
 * Asks the chain for what the handler will want of it, so that it travels in one batch with the caller's standing; only for
 * who had one the last time. What it brings is for a handler alone: there is none before the standing is known.
 */
export type Ahead<Body, Query> = (
  call: Pick<Call<Body, Query>, "account" | "ids" | "body" | "query" | "chain" | "signal">,
) => unknown;

/** Refuses by what costs nothing, when the signature is proved and before anybody is asked anything. */
export type Early = (call: Pick<Call<unknown, unknown>, "account" | "ids">) => void;

/** What serves a route. */
interface Served<Body, Query, Answer> {
  readonly handle: (call: Call<Body, Query>) => Promise<Reply<Answer>>;
  readonly ahead: Ahead<Body, Query>;
  readonly early: Early;
}

/** One app: routes of the table, bound to what serves them. */
export class App {
  readonly hono: Hono;
  readonly #access: Access;
  readonly #deps: Deps;
  readonly #nonces: Nonces;
  readonly #reads: Reads;

  constructor(deps: Deps, service: Service) {
    this.#deps = deps;
    this.#access = new Access(deps, service);
    this.#nonces = deps.nonces ?? noncesOf(deps);
    this.#reads = new Reads(deps.config.caps, () => nowOf(deps));
    this.hono = new Hono();
    this.hono.notFound((c) => notFound(this.#access, c.req.raw));
    this.hono.onError((error, c) => this.#access.answer(c.req.raw, null, () => Promise.reject(error)));
  }

  /** Where this app counts. */
  get metrics(): Metrics {
    return this.#access.metrics;
  }

  /** Serves a route. */
  serve<B extends z.ZodMiniType, Q extends z.ZodMiniType, A extends z.ZodMiniType>(
    route: Route<B, Q, A>,
    handle: (call: Call<z.output<B>, z.output<Q>>) => Promise<Reply<z.output<A>>>,
    ahead: Ahead<z.output<B>, z.output<Q>> = () => {},
    early: Early = () => {},
  ): this {
    this.hono.on(route.method, route.path.replaceAll(/\{(\w+)\}/g, ":$1"), (c) =>
      this.#access.answer(c.req.raw, route, (found) => this.#respond(c, route, { handle, ahead, early }, found)),
    );
    return this;
  }

  /** Parse, window, recover, role on chain, nonce; only then the handler. */
  async #respond<B extends z.ZodMiniType, Q extends z.ZodMiniType, A extends z.ZodMiniType>(
    c: Context,
    route: Route<B, Q, A>,
    { handle, ahead, early }: Served<z.output<B>, z.output<Q>, z.output<A>>,
    found: Found,
  ): Promise<Response> {
    const { claim, request } = await this.#authenticate(c, limitOf(route));
    found.account = claim.account;
    const countBytes = route.method === "GET" ? this.#reads.begin(claim.account) : undefined;
    if (needsNonce(route) && claim.params.nonce === undefined) throw noNonce();
    const ids = readIds(c, route.path);
    Object.assign(found, ids);
    const body = readWith(route.body, request.body) as z.output<B>;
    const query = readQuery(route.query, c) as z.output<Q>;
    const { account } = claim;
    early({ account, ids });
    const asked = { account, ids, body, query, chain: new Glance(this.#deps.chain), signal: c.req.raw.signal };
    if (ids.task && wasKnown(this.#deps.chain, ids.task, account)) Promise.resolve(ahead(asked)).catch(() => undefined); // whoever needs it asks again, and hears of it
    const standing = await this.#role(route, account, ids);
    if (needsNonce(route)) await this.#claim(claim, route.statements?.(body) ?? 0);
    const call = { ...asked, standing, requestId: found.requestId };
    const { answer, status = route.status[0]!, about } = await ours(handle(call));
    const text = wireText(answer);
    const bytes = Buffer.byteLength(text);
    countBytes?.(bytes);
    Object.assign(found, about, { bytes });
    return new Response(text, {
      status,
      headers: { "content-type": "application/json", "cache-control": "no-store" },
    });
  }

  async #authenticate(c: Context, limit: number): Promise<{ claim: Claim; request: SignedRequest }> {
    const { config } = this.#deps;
    const { headers } = c.req.raw;
    const claim = readClaim(headers, config, nowOf(this.#deps));
    const { pathname, search } = new URL(c.req.url);
    const request: SignedRequest = {
      method: c.req.method,
      authority: authorityOf(config),
      path: pathname,
      query: search,
      body: await readBody(c.req.raw, limit),
    };
    verifyClaim(claim, request, headers);
    return { claim, request };
  }

  async #role(route: Route, account: Address, ids: Readonly<Record<string, Hex>>): Promise<Standing | null> {
    const { chain, config } = this.#deps;
    if (route.who !== "operator") return ours(standingIn(chain, config, ids.task!, account, route.who));
    checkOperator(config, account);
    return null;
  }

  async #claim({ account, params }: Claim, statements: number): Promise<void> {
    if (params.nonce !== undefined) await this.#nonces.claim(account, params.created, params.nonce, statements);
  }
}

function readIds(c: Context, path: string): Record<string, Hex> {
  const entries = parametersOf(path).map((name) => {
    const id = id32.safeParse(c.req.param(name));
    if (!id.success)
      throw new WaybillError("BAD_REQUEST", `The ${name} in the path must be 0x and 64 lower-case hex digits.`);
    return [name, id.data] as const;
  });
  return Object.fromEntries(entries);
}

function readWith(schema: z.ZodMiniType | undefined, bytes: Uint8Array): unknown {
  if (schema === undefined) return undefined;
  return checked(schema, parseJson(bytes), "body");
}

function readQuery(schema: z.ZodMiniType | undefined, c: Context): unknown {
  const values = c.req.queries();
  if (Object.values(values).some((list) => list.length > 1))
    throw new WaybillError("BAD_REQUEST", "The query names something twice.");
  const query = Object.fromEntries(Object.entries(values).map(([name, list]) => [name, list[0]]));
  if (schema !== undefined) return checked(schema, query, "query");
  if (Object.keys(query).length > 0) throw new WaybillError("BAD_REQUEST", "This request takes no query.");
  return undefined;
}

function checked(schema: z.ZodMiniType, value: unknown, what: string): unknown {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const where = issue.path.length === 0 ? "" : ` at ${issue.path.join(".")}`;
  const message = `The ${what} has not the agreed shape${where.slice(0, 80)}. See /openapi.json.`;
  const limit = limitIn(issue);
  throw limit ? overLimit("BAD_REQUEST", message, limit) : new WaybillError("BAD_REQUEST", message);
}

/**
 * Once the caller is verified, a wrong chain or an unbelievable answer is the operator's RPC node's, and for the caller
 * it is an API that can't serve now.
 */
async function ours<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const its = error instanceof WaybillError && ["WRONG_CHAIN", "BAD_SERVER"].includes(error.code);
    if (!its) throw error;
    throw new WaybillError("UNAVAILABLE", "The API can't read its chain at the moment. Try again.", { cause: error });
  }
}

function noNonce(): WaybillError {
  return new WaybillError("UNAUTHENTICATED", "A request that writes or issues URLs must be signed with a nonce.");
}
