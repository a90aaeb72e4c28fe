import { S3Error } from "./errors.ts";
import type { Reply } from "./reply.ts";

const METHODS = "GET, PUT, HEAD";
/** What a page in a browser sends along with a presigned URL. */
const REQUEST_HEADERS = ["content-type", "if-match", "range", "x-amz-checksum-sha256"];
const EXPOSED =
  "ETag, Accept-Ranges, Content-Range, Content-Length, x-amz-checksum-sha256, x-amz-checksum-type, x-amz-request-id";
const MAX_AGE_S = 3_000;

type Headers = Readonly<Record<string, string | undefined>>;

/** Which pages may use the store: a list of origins, in which "*" stands for all. */
export class Cors {
  readonly #origins: readonly string[];

  constructor(origins: readonly string[]) {
    this.#origins = origins;
  }

  /** What every answer to a page carries. */
  headers({ origin }: Headers): Record<string, string> {
    const allowed = this.allowed(origin);
    if (allowed === undefined) return {};
    return { "access-control-allow-origin": allowed, "access-control-expose-headers": EXPOSED, vary: "Origin" };
  }

  /** The answer to a browser that asks beforehand, which it does unsigned. */
  preflight(headers: Headers): Reply {
    const method = headers["access-control-request-method"];
    const asked = headers["access-control-request-headers"]?.toLowerCase().split(/, */) ?? [];
    const fits = METHODS.split(", ").includes(method ?? "") && asked.every((name) => REQUEST_HEADERS.includes(name));
    if (this.allowed(headers.origin) === undefined || !fits) throw new S3Error("AccessForbidden");
    return {
      status: 200,
      headers: {
        "access-control-allow-methods": METHODS,
        "access-control-allow-headers": REQUEST_HEADERS.join(", "),
        "access-control-max-age": String(MAX_AGE_S),
      },
    };
  }

  private allowed(origin: string | undefined): string | undefined {
    if (origin === undefined) return undefined;
    if (this.#origins.includes("*")) return "*";
    return this.#origins.includes(origin) ? origin : undefined;
  }
}
