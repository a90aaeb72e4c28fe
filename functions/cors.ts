import * as z from "zod/mini";
import { WaybillError } from "../lib/protocol/errors.ts";

// What a page in a browser may do, wherever the API runs and whoever stands before the bucket.

/** Of the API. The headers are those that a client sets; `exposed` are those that it reads. */
export const API_CORS = {
  methods: ["GET", "POST", "PUT", "DELETE"],
  headers: ["content-type", "content-digest", "signature", "signature-input", "x-request-id"],
  exposed: ["retry-after", "x-request-id"],
} as const;

/** Of the bucket, for who sends and fetches parts by presigned URLs. */
export const BUCKET_CORS = {
  methods: ["GET", "HEAD", "PUT"],
  headers: ["range", "if-match", "content-type", "x-amz-checksum-sha256"],
  exposed: ["ETag", "Content-Range", "Content-Length", "x-amz-checksum-sha256", "x-amz-checksum-type"],
} as const;

/** Exact origins, with commas. No wildcard: a page that can use a member's key in a browser is named, or it can't. */
export const pageOrigins: z.ZodMiniType<string[], string> = z.pipe(
  z.pipe(
    z.string(),
    z.transform((text) => text.split(",").map((part) => part.trim())),
  ),
  z.array(z.string().check(z.regex(/^https?:\/\/[a-z0-9.-]+(:[0-9]{1,5})?$/))),
);

/** Those of the environment; none: no browser may. @throws WaybillError USAGE, without the value. */
export function originsFromEnv(env: Readonly<Record<string, string | undefined>>): readonly string[] {
  if (env.WAYBILL_ORIGINS === undefined) return [];
  const parsed = pageOrigins.safeParse(env.WAYBILL_ORIGINS);
  if (parsed.success) return parsed.data;
  throw new WaybillError(
    "USAGE",
    "WAYBILL_ORIGINS must be origins of web pages such as https://app.example.org, with commas between them.",
  );
}
