import { Hono } from "hono";
import { WaybillError } from "../lib/protocol/errors.ts";
import { nowOf, type PostingDeps } from "./deps.ts";
import { createDownloads } from "./downloads.ts";
import { noncesOf } from "./nonces.ts";
import { problemOf } from "./problem.ts";
import { createTasks } from "./tasks.ts";
import { createUploads } from "./uploads.ts";

/** All apps as one, for a server that runs them in one process. In the cloud each is a function with its own rights. */
export function createApi(deps: PostingDeps): Hono {
  const api = new Hono();
  api.notFound((c) => {
    const error = new WaybillError("NOT_FOUND", "There is nothing here. /openapi.json lists what there is.");
    return problemOf(c, error, nowOf(deps));
  });
  const shared = { ...deps, nonces: deps.nonces ?? noncesOf(deps) };
  for (const app of [createUploads(shared), createDownloads(shared), createTasks(shared)]) api.route("/", app);
  return api;
}
