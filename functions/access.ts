import { randomBytes } from "node:crypto";
import { statusOf, WaybillError } from "../lib/protocol/errors.ts";
import { nowOf, type Deps as Using } from "./deps.ts";
import { type Facts, Log } from "./log.ts";
import type { Service } from "./metric-names.ts";
import { type Metrics, uncounted } from "./metrics.ts";
import type { Objects } from "./objects.ts";
import { problemOf, shownOf } from "./problem.ts";
import type { Route } from "./routes.ts";

type Deps = Using<Objects>;

/** A client's own name for its call, with all of the call's tries. It isn't signed, so it is good for finding lines only. */
export const REQUEST_ID_HEADER = "x-request-id";

/** What a request is found to be about while it is served. */
export type Found = Facts & { readonly requestId: string };

/** Answers requests in any case, counts refusals, and writes the one line that the log has of each request. */
export class Access {
  readonly metrics: Metrics;
  readonly #log: Log;
  readonly #deps: Deps;

  constructor(deps: Deps, service: Service) {
    this.#deps = deps;
    this.#log = new Log(service, deps.log);
    this.metrics = deps.metricsOf?.(service) ?? uncounted;
  }

  /** The answer of `work`, or the problem that it meets. What `work` writes into `found` goes into the log's line. */
  async answer(
    request: Request,
    route: Pick<Route, "method" | "path"> | null,
    work: (found: Found) => Promise<Response>,
  ): Promise<Response> {
    const begun = performance.now();
    const found: Found = { requestId: requestIdOf(request.headers) };
    const response = await work(found).catch((error: unknown) => this.#refuse(error, found));
    response.headers.set(REQUEST_ID_HEADER, found.requestId);
    const ms = Math.round(performance.now() - begun);
    const pattern = route && `${route.method} ${route.path}`;
    this.#log.info("request", { ...found, ...(pattern && { route: pattern }), status: response.status, ms });
    return response;
  }

  #refuse(error: unknown, found: Found): Response {
    const shown = shownOf(error);
    found.code = shown.code;
    this.metrics.count("Refusals", 1, shown.code);
    if (statusOf(shown.code) >= 500) this.#log.failure("a request failed", error, found);
    return problemOf(shown, found.requestId, nowOf(this.#deps));
  }
}

/** Answers what no route is for. */
export function notFound(access: Access, request: Request): Promise<Response> {
  return access.answer(request, null, async () => {
    throw new WaybillError("NOT_FOUND", "There is nothing here. /openapi.json lists what there is.");
  });
}

/** The caller's, if it is one, else a new one: nothing else of that header goes anywhere. */
function requestIdOf(headers: Headers): string {
  const given = headers.get(REQUEST_ID_HEADER) ?? "";
  return /^[0-9a-f]{32}$/.test(given) ? given : randomBytes(16).toString("hex");
}
