import { Hono } from "hono";
import { cors } from "hono/cors";
import { API_CORS } from "../functions/cors.ts";
import type { Mounted } from "./server.ts";

/** In seconds, as on AWS. */
const MAX_AGE_S = 86_400;

/** Lets pages of exactly these origins use it from a browser; without any it is left as it is. */
export function allowing(app: Mounted, origins: readonly string[]): Mounted {
  if (origins.length === 0) return app;
  const { methods, headers, exposed } = API_CORS;
  const lists = { allowMethods: [...methods], allowHeaders: [...headers], exposeHeaders: [...exposed] };
  return new Hono()
    .use(cors({ origin: [...origins], ...lists, maxAge: MAX_AGE_S }))
    .all("*", ({ req }) => app.fetch(req.raw));
}
