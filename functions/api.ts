import { Hono } from "hono/tiny";
import { Access, notFound } from "./access.ts";
import type { PostingDeps } from "./deps.ts";
import { createDownloads } from "./downloads.ts";
import { noncesOf } from "./nonces.ts";
import { createTasks } from "./tasks.ts";
import { createUploads } from "./uploads.ts";

/** All apps as one, for a server that runs them in one process. In the cloud each is a function with its own rights. */
export function createApi(deps: PostingDeps): Hono {
  const api = new Hono();
  const access = new Access(deps, "tasks"); // as in the cloud, where what no other function is for goes to that one
  api.notFound((c) => notFound(access, c.req.raw));
  const shared = { ...deps, nonces: deps.nonces ?? noncesOf(deps) };
  for (const app of [createUploads(shared), createDownloads(shared), createTasks(shared)]) api.route("/", app);
  return api;
}
