import { createHash } from "node:crypto";
import { parseXML, XmlNode } from "@aws-sdk/xml-builder";
import * as z from "zod/mini";
import { AwsFault, unavailable } from "./aws.ts";
import { type CredentialSource, type Credentials, credentialsFrom } from "./credentials.ts";
import { type BucketPlace, bucketUrl } from "./endpoint.ts";
import { type Answer, type Ask, type Exchange, escapeUri, Signed } from "./signed.ts";

/** What one DeleteObjects may name, and one page of a listing tell. */
const MAX_KEYS = 1_000;
/** Deleted at the same time, by a store that wants them one by one. */
const DELETED_AT_ONCE = 50;
/** S3 answers 409 to one of two writers at the same instant and says: start again. */
const CONFLICT_RETRIES = 4;
/** Of the documents that S3 is sent. */
const XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/";
/** Said of a request that came to the wrong region, or to a bucket that isn't there: an operator's mistake. */
const MISPLACED =
  /^(PermanentRedirect|TemporaryRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraintException)$/;

export interface StoreConfig extends BucketPlace {
  /** Without them, the environment's, or what the SDK finds (role, profile). */
  readonly s3Credentials?: Credentials;
  /** How requests get to the store where they don't go straight on. */
  readonly exchange?: Exchange;
}

/** Writes only if nothing is there, or only over exactly that version. */
export type Condition = { readonly ifNoneMatch: true } | { readonly ifMatch: string };

export interface ListOptions {
  /** Only keys behind this one. */
  readonly startAfter?: string;
  /** Default 1,000. */
  readonly limit?: number;
}

export interface ListedObject {
  readonly key: string;
  readonly size: number;
  /** By the store's clock; of a payload perhaps the beginning of its upload. */
  readonly modified: Date;
}

const listed = z.object({ Key: z.string(), Size: z.string(), LastModified: z.string() });
/** In XML a list of one looks like what it holds. */
const listing = z.object({
  ListBucketResult: z.object({
    IsTruncated: z.optional(z.string()),
    Contents: z.optional(z.union([z.array(listed), listed])),
  }),
});
const deleted = z.object({ DeleteResult: z.union([z.object({ Error: z.optional(z.unknown()) }), z.string()]) });

/**
 * The bucket's small objects, without the S3 SDK: a function that has nothing to do with uploads bundles, starts and runs
 * lighter so, and the SDK's middleware was most of the publisher's work. Every fault is a WaybillError UNAVAILABLE that names
 * neither key nor URL; what a caller must tell apart (missing, condition failed) is a value.
 */
export class Objects {
  protected readonly place: BucketPlace;
  protected readonly credentials: CredentialSource;
  protected readonly signed: Signed;

  constructor(config: StoreConfig) {
    this.place = config;
    this.credentials = credentialsFrom(config.s3Credentials);
    const { credentials } = this;
    this.signed = new Signed({
      endpoint: bucketUrl(config),
      service: "s3",
      region: config.region,
      credentials,
      codeOf,
      exchange: config.exchange,
    });
  }

  /** The JSON under a key with its version, or null when there is none. The value of what is no JSON is undefined. */
  async getJson(key: string): Promise<{ value: unknown; etag: string } | null> {
    const found = await this.#get(key);
    return found && { value: readJson(found.bytes), etag: found.etag };
  }

  /** Writes JSON; null when the condition failed (after a lost answer also by our own write: read it and compare). */
  putJson(key: string, value: unknown, condition?: Condition): Promise<{ etag: string } | null> {
    return this.putBytes(key, new TextEncoder().encode(JSON.stringify(value)), "application/json", condition);
  }

  async getBytes(key: string): Promise<Uint8Array | null> {
    return (await this.#get(key))?.bytes ?? null;
  }

  /** As `putJson`, with any bytes. */
  async putBytes(
    key: string,
    bytes: Uint8Array,
    contentType: string,
    condition?: Condition,
  ): Promise<{ etag: string } | null> {
    const headers = { "content-type": contentType, ...(condition && headersOf(condition)) };
    for (let attempt = 0; ; attempt++) {
      const answer = await this.ask({ method: "PUT", path: pathOf(key), headers, body: bytes });
      const version = versionIn(answer);
      if (version !== null) return { etag: version };
      if (condition && (answer.status === 412 || answer.code === "NoSuchKey")) return null; // if-match on a missing object
      if (!condition || answer.status !== 409 || attempt === CONFLICT_RETRIES) throw faultIn(answer);
      await new Promise((resolve) => setTimeout(resolve, 20 * 2 ** attempt * (1 + Math.random())));
    }
  }

  /** Objects under a prefix in the order of their keys' bytes. */
  async list(prefix: string, { startAfter, limit = MAX_KEYS }: ListOptions = {}): Promise<ListedObject[]> {
    const found: ListedObject[] = [];
    let after = startAfter;
    for (;;) {
      const page = await this.#listPage(prefix, after, Math.min(MAX_KEYS, limit - found.length));
      found.push(...page.entries);
      after = found.at(-1)?.key;
      if (!page.more || page.entries.length === 0 || found.length >= limit) return found;
    }
  }

  /** Deletes objects; a missing one is no fault. After an error any of them may be gone, and any may be there. */
  async delete(keys: string | readonly string[]): Promise<void> {
    if (typeof keys === "string" || keys.length === 1) return this.#delete(String(keys));
    for (let i = 0; i < keys.length; i += MAX_KEYS) await this.#deleteAll(keys.slice(i, i + MAX_KEYS));
  }

  /** Milliseconds since 1970 by the store's own clock, as its answers told it. */
  now(): number {
    return this.signed.now().getTime();
  }

  close(): void {
    this.signed.close();
  }

  /** The answer to a request, whatever it is. @throws WaybillError UNAVAILABLE if there is none. */
  protected async ask(ask: Ask): Promise<Answer> {
    try {
      return await this.signed.send(ask);
    } catch (error) {
      throw unavailable("store", error);
    }
  }

  async #get(key: string): Promise<{ bytes: Uint8Array; etag: string } | null> {
    const answer = await this.ask({ method: "GET", path: pathOf(key) });
    const etag = versionIn(answer);
    if (etag !== null) return { bytes: answer.bytes, etag };
    if (isMissing(answer)) return null;
    throw faultIn(answer);
  }

  async #delete(key: string): Promise<void> {
    const answer = await this.ask({ method: "DELETE", path: pathOf(key) });
    if (answer.status >= 300 && !isMissing(answer)) throw faultIn(answer);
  }

  /** Not every S3-compatible store takes DeleteObjects. */
  async #deleteAll(keys: readonly string[]): Promise<void> {
    if (keys.length === 0 || (await this.#deletesTogether(keys))) return;
    for (let i = 0; i < keys.length; i += DELETED_AT_ONCE)
      await Promise.all(keys.slice(i, i + DELETED_AT_ONCE).map((key) => this.#delete(key)));
  }

  async #deletesTogether(keys: readonly string[]): Promise<boolean> {
    const objects = keys.map((key) => new XmlNode("Object", [XmlNode.of("Key", key)]));
    const request = new XmlNode("Delete", [...objects, XmlNode.of("Quiet", "true")]).addAttribute("xmlns", XMLNS);
    const body = new TextEncoder().encode(request.toString());
    const headers = {
      "content-type": "application/xml",
      "x-amz-checksum-sha256": createHash("sha256").update(body).digest("base64"),
    };
    try {
      const answer = await this.signed.send({ method: "POST", path: "", query: { delete: "" }, headers, body });
      const result = answer.status === 200 ? deleted.safeParse(readXml(answer.bytes)).data?.DeleteResult : undefined;
      return result !== undefined && (typeof result === "string" || result.Error === undefined);
    } catch {
      return false;
    }
  }

  async #listPage(
    prefix: string,
    after: string | undefined,
    limit: number,
  ): Promise<{ entries: ListedObject[]; more: boolean }> {
    const start: Record<string, string> = after === undefined ? {} : { "start-after": after };
    const query = { "list-type": "2", "max-keys": String(limit), prefix, ...start };
    const answer = await this.ask({ method: "GET", path: "", query });
    if (answer.status !== 200) throw faultIn(answer);
    const { Contents = [], IsTruncated } = this.read(answer, listing).ListBucketResult;
    const entries = [Contents].flat().map(({ Key, Size, LastModified }) => ({
      key: Key,
      size: Number(Size),
      modified: new Date(LastModified),
    }));
    return { entries, more: IsTruncated === "true" };
  }

  /** @throws WaybillError UNAVAILABLE when the store's answer is not what S3's would be. */
  protected read<T extends z.ZodMiniType>(answer: Answer, schema: T): z.output<T> {
    const parsed = schema.safeParse(readXml(answer.bytes));
    if (!parsed.success) throw unavailable("store", new AwsFault("MalformedAnswer", answer.status));
    return parsed.data;
  }
}

/** A key as it is sent. */
export function pathOf(key: string): string {
  return `/${key.split("/").map(escapeUri).join("/")}`;
}

/** A missing bucket is an operator's fault, not a missing object. A HEAD can't say which. */
export function isMissing({ status, code }: Answer): boolean {
  return status === 404 && code !== "NoSuchBucket";
}

/** Of an object that was read or written. A 200 without one is somebody else's: nothing was stored, and what came is no object. */
function versionIn({ status, headers }: Answer): string | null {
  return status === 200 && headers.etag ? headers.etag : null;
}

/** What callers are told; the log learns which region the bucket is in. */
export function faultIn({ status, code, headers }: Answer): Error {
  const region = headers["x-amz-bucket-region"];
  const elsewhere =
    (status < 400 || MISPLACED.test(code)) && typeof region === "string" && /^[\w-]{1,40}$/.test(region);
  return unavailable(
    "store",
    new AwsFault(elsewhere ? `${code || "Redirect"}: the bucket is in ${region}` : code, status),
  );
}

function headersOf(condition: Condition): Record<string, string> {
  return "ifMatch" in condition ? { "if-match": condition.ifMatch } : { "if-none-match": "*" };
}

/** S3's own word in its error document; "" if it is none. */
function codeOf({ bytes }: { readonly bytes: Uint8Array }): string {
  const parsed = errorDocument.safeParse(readXml(bytes));
  return parsed.success ? parsed.data.Error.Code : "";
}

const errorDocument = z.object({ Error: z.object({ Code: z.string().check(z.regex(/^\w{1,80}$/)) }) });

/** Somebody else's bytes under a key of ours: no later request would find better ones, so it's no fault of the store. */
function readJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

/** Undefined when it is no XML. */
function readXml(bytes: Uint8Array): unknown {
  try {
    return parseXML(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}
