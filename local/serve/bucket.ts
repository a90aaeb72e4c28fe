import { createHash, randomBytes } from "node:crypto";
import type { Config } from "../../functions/config.ts";
import type { Store } from "../../functions/store.ts";
import { WaybillError } from "../../lib/protocol/errors.ts";

/** Tried among what is short-lived anyway, so that a crash in between leaves nothing for long. */
const PLACE = "progress/check/";
/** The longest piece of a key of ours; servers over a file system take no longer ones. */
const LONGEST_NAME = 227;
const CREDENTIALS =
  /AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|Forbidden|AuthorizationHeaderMalformed|UserNotFound/;

/**
 * Tries what Waybill's safety rests on: a write under a condition, a part that must have its SHA-256, and a completion that
 * never replaces. @returns What is wrong, or null.
 */
export async function checkBucket(store: Store, config: Config): Promise<WaybillError | null> {
  const id = randomBytes(16).toString("hex");
  const [small, payload] = [PLACE + id.padEnd(LONGEST_NAME, "0"), PLACE + id];
  try {
    return (await checkConditions(store, small)) ?? (await checkParts(store, payload, config.fetch ?? fetch));
  } catch (error) {
    return explained(error, config);
  } finally {
    await store.delete([small, payload]).catch(() => undefined); // a day later it goes by itself
  }
}

async function checkConditions(store: Store, key: string): Promise<WaybillError | null> {
  const first = await store.putJson(key, { check: 1 }, { ifNoneMatch: true });
  if (first === null || (await store.putJson(key, { check: 2 }, { ifNoneMatch: true })) !== null)
    return broken("overwrites an object in spite of if-none-match");
  if ((await store.putJson(key, { check: 3 }, { ifMatch: '"00000000000000000000000000000000"' })) !== null)
    return broken("overwrites an object in spite of if-match");
  if ((await store.putJson(key, { check: 4 }, { ifMatch: first.etag })) === null)
    return broken("refuses a write with the right if-match");
  return null;
}

async function checkParts(store: Store, key: string, send: typeof fetch): Promise<WaybillError | null> {
  const body = randomBytes(64);
  const sha256 = createHash("sha256").update(body).digest("base64");
  for (const wanted of ["done", "exists"] as const) {
    const upload = await store.createUpload(key, "application/octet-stream");
    try {
      const { urls } = await store.presignParts(key, upload, [{ number: 1, length: body.length, sha256 }]);
      const { url, headers } = urls[0]!;
      if ((await put(url, headers, randomBytes(64), send)).ok)
        return broken("takes a part whose SHA-256 is not the signed one");
      const etag = (await put(url, headers, body, send)).headers.get("etag");
      if (etag === null) return broken("refuses a part with the signed SHA-256");
      const ending = await store.complete(key, upload, [{ number: 1, etag, sha256 }]);
      if (ending !== wanted)
        return broken(wanted === "done" ? "does not complete uploads" : "replaces a payload by another");
    } finally {
      await store.abort(key, upload);
    }
  }
  const found = await store.head(key);
  const composite = createHash("sha256").update(Buffer.from(sha256, "base64")).digest("base64");
  return found?.checksum === `${composite}-1` ? null : broken("does not tell the SHA-256 of what it holds");
}

async function put(
  url: string,
  headers: Record<string, string>,
  body: Uint8Array<ArrayBuffer>,
  send: typeof fetch,
): Promise<Response> {
  const { "content-length": _, ...sent } = headers; // fetch counts itself
  const response = await send(url, { method: "PUT", headers: sent, body, redirect: "manual" });
  await response.arrayBuffer();
  return response;
}

function broken(what: string): WaybillError {
  return new WaybillError(
    "BAD_SERVER",
    `The store ${what}: with it payloads would not be safe. Use another S3 server, or a newer release of it.`,
  );
}

function explained(error: unknown, { bucket, s3Endpoint }: Config): WaybillError {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : "no answer";
  const where = s3Endpoint === undefined ? "AWS" : new URL(s3Endpoint).host;
  const [, proxy] = /^NoAnswer: (.+) \(0\)$/.exec(cause) ?? [];
  if (proxy !== undefined)
    return new WaybillError("UNREACHABLE", `The S3 server at ${where} can't be reached. ${proxy}`);
  if (/NoAnswer/.test(cause))
    return new WaybillError(
      "UNREACHABLE",
      `No S3 server answers at ${where}. Check WAYBILL_S3_ENDPOINT, and that it runs.`,
    );
  if (/KeyTooLong/.test(cause)) return broken(`takes no names of ${LONGEST_NAME} characters`);
  if (/NoSuchBucket/.test(cause))
    return new WaybillError("USAGE", `There is no bucket ${bucket} at ${where}. Make it, or correct WAYBILL_BUCKET.`);
  if (CREDENTIALS.test(cause))
    return new WaybillError(
      "UNAUTHENTICATED",
      `The store at ${where} does not let us use the bucket ${bucket} (${cause}). Check the AWS_* credentials, their rights, and AWS_REGION.`,
    );
  return new WaybillError("UNAVAILABLE", `The bucket ${bucket} at ${where} can't be used (${cause}).`, {
    cause: error,
  });
}
