import { timingSafeEqual } from "node:crypto";
import { SignatureV4 } from "@smithy/signature-v4";
import { Sha256 } from "../../functions/sha256.ts";
import { S3Error } from "./errors.ts";
import type { S3Request } from "./request.ts";

const ALGORITHM = "AWS4-HMAC-SHA256";
/** How far S3 lets a client's clock be from its own. */
const MAX_SKEW_MS = 15 * 60_000;
/** S3's longest life of a presigned URL. */
const MAX_EXPIRES_S = 7 * 24 * 3_600;
const NOT_SIGNED = "There were headers present in the request which were not signed";

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** What every request carries that is signed with temporary ones. */
  readonly sessionToken?: string;
}

/** What a request says about its own signature, from its header or its query. */
interface Claim {
  readonly credential: string;
  readonly date: string;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
  /** Seconds, for a presigned URL. */
  readonly expires?: number;
}

type Unsigned = Parameters<SignatureV4["presign"]>[0];

/**
 * Checks AWS Signature Version 4: the request is built again from what was received, signed again with the secret, and the
 * two signatures are compared. So whatever the client signed is bound, and a header that it did not sign can't be believed.
 */
export class Authenticator {
  readonly #credentials: Credentials;
  readonly #region: string;
  readonly #now: () => number;
  readonly #signer: SignatureV4;

  constructor(credentials: Credentials, region: string, now: () => number) {
    this.#credentials = credentials;
    this.#region = region;
    this.#now = now;
    // S3's paths are signed as they are, not escaped a second time.
    this.#signer = new SignatureV4({
      credentials: { accessKeyId: credentials.accessKeyId, secretAccessKey: credentials.secretAccessKey },
      region,
      service: "s3",
      sha256: Sha256,
      uriEscapePath: false,
      applyChecksum: false,
    });
  }

  /** @throws S3Error when the request is not signed as S3 wants it. */
  async verify(request: S3Request): Promise<void> {
    const claim = readClaim(request);
    this.checkScope(claim);
    const signed = parseDate(claim.date);
    this.checkTime(claim, signed);
    checkToken(request, this.#credentials);
    checkSignedHeaders(request, claim);
    const expected =
      claim.expires === undefined
        ? await this.sign(request, claim, signed)
        : await this.presign(request, claim, signed);
    if (!sameSignature(expected, claim.signature)) throw new S3Error("SignatureDoesNotMatch");
  }

  private checkScope({ credential, date, expires }: Claim): void {
    const [accessKeyId, day, region, service, kind, ...more] = credential.split("/");
    const malformed = expires === undefined ? "AuthorizationHeaderMalformed" : "AuthorizationQueryParametersError";
    if (kind !== "aws4_request" || service !== "s3" || more.length > 0) throw new S3Error(malformed);
    if (accessKeyId !== this.#credentials.accessKeyId) throw new S3Error("InvalidAccessKeyId");
    if (region !== this.#region) throw new S3Error(malformed, `The region is wrong; expecting '${this.#region}'`);
    if (day !== date.slice(0, 8)) throw new S3Error(malformed, "The credential's date is not the request's.");
  }

  private checkTime({ expires }: Claim, signed: Date): void {
    const age = this.#now() - signed.getTime();
    if (expires === undefined) {
      if (Math.abs(age) > MAX_SKEW_MS) throw new S3Error("RequestTimeTooSkewed");
      return;
    }
    if (age < -MAX_SKEW_MS) throw new S3Error("AccessDenied", "Request is not yet valid");
    if (age > expires * 1_000) throw new S3Error("AccessDenied", "Request has expired");
  }

  private async sign(request: S3Request, claim: Claim, signingDate: Date): Promise<string> {
    const signable = new Set(claim.signedHeaders);
    const unsigned = rebuild(request, pick(request.headers, signable));
    const { headers } = await this.#signer.sign(unsigned, { signingDate, signableHeaders: signable });
    return /Signature=([0-9a-f]{64})$/.exec(headers.authorization ?? "")?.[1] ?? "";
  }

  private async presign(request: S3Request, claim: Claim, signingDate: Date): Promise<string> {
    const signable = new Set(claim.signedHeaders);
    const unsigned = rebuild(request, pick(request.headers, signable));
    hoistedPayloadHash(unsigned);
    const options = {
      signingDate,
      expiresIn: claim.expires ?? 0,
      signableHeaders: signable,
      unhoistableHeaders: signable,
    };
    const { query } = await this.#signer.presign(unsigned, options);
    const signature = query?.["X-Amz-Signature"];
    return typeof signature === "string" ? signature : "";
  }
}

function readClaim(request: S3Request): Claim {
  const { authorization } = request.headers;
  const presigned = request.query.has("X-Amz-Algorithm") || request.query.has("X-Amz-Signature");
  if (authorization !== undefined && presigned) {
    throw new S3Error("InvalidArgument", "Only one auth mechanism allowed");
  }
  if (presigned) return readQueryClaim(request);
  if (authorization === undefined) throw new S3Error("AccessDenied");
  return readHeaderClaim(request, authorization);
}

function readHeaderClaim(request: S3Request, authorization: string): Claim {
  const shape = /^AWS4-HMAC-SHA256 +Credential=([^,\s]+), *SignedHeaders=([^,\s]+), *Signature=([0-9a-f]{64})$/;
  const [, credential, signedHeaders, signature] = shape.exec(authorization) ?? [];
  if (!credential || !signedHeaders || !signature) throw new S3Error("AuthorizationHeaderMalformed");
  const date = request.headers["x-amz-date"];
  if (date === undefined) throw new S3Error("AccessDenied", "AWS authentication requires a valid x-amz-date header");
  if (request.headers["x-amz-content-sha256"] === undefined) {
    throw new S3Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256");
  }
  return { credential, date, signedHeaders: signedHeaders.split(";"), signature };
}

function readQueryClaim({ query }: S3Request): Claim {
  const needed = (name: string): string => {
    const [value, ...more] = query.all.get(name) ?? [];
    if (value && more.length === 0) return value;
    throw new S3Error("AuthorizationQueryParametersError", `Query-string authentication requires ${name} once.`);
  };
  if (needed("X-Amz-Algorithm") !== ALGORITHM) throw new S3Error("AuthorizationQueryParametersError");
  const expires = needed("X-Amz-Expires");
  if (!/^\d{1,6}$/.test(expires) || Number(expires) > MAX_EXPIRES_S) {
    throw new S3Error("AuthorizationQueryParametersError", "X-Amz-Expires must be less than a week (in seconds)");
  }
  return {
    credential: needed("X-Amz-Credential"),
    date: needed("X-Amz-Date"),
    signedHeaders: needed("X-Amz-SignedHeaders").split(";"),
    signature: needed("X-Amz-Signature"),
    expires: Number(expires),
  };
}

/** For long-lived credentials no token was ever issued. */
function checkToken({ headers, query }: S3Request, { sessionToken }: Credentials): void {
  const token = headers["x-amz-security-token"] ?? query.get("X-Amz-Security-Token");
  if (token !== sessionToken) throw new S3Error("InvalidToken");
}

/** The host, and every x-amz header that came, must be among the signed; every signed one must have come. */
function checkSignedHeaders({ headers }: S3Request, { signedHeaders }: Claim): void {
  const signed = new Set(signedHeaders);
  const open = Object.keys(headers).filter((name) => name.startsWith("x-amz-") && !signed.has(name));
  if (!signed.has("host") || open.length > 0) throw new S3Error("AccessDenied", NOT_SIGNED);
  if (signedHeaders.some((name) => !Object.hasOwn(headers, name))) throw new S3Error("SignatureDoesNotMatch");
}

function parseDate(text: string): Date {
  const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text) ?? [];
  const date = new Date(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`);
  if (Number.isNaN(date.getTime())) throw new S3Error("AccessDenied", "X-Amz-Date must be in the form of ISO 8601");
  return date;
}

function pick(headers: Readonly<Record<string, string>>, names: ReadonlySet<string>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => names.has(name)));
}

/** The query without the parameters that signing itself adds. */
const ADDED = new Set([
  "X-Amz-Algorithm",
  "X-Amz-Credential",
  "X-Amz-Date",
  "X-Amz-Expires",
  "X-Amz-SignedHeaders",
  "X-Amz-Signature",
]);

function rebuild({ method, path, query }: S3Request, headers: Record<string, string>): Unsigned {
  const entries = [...query.all].filter(([name]) => !ADDED.has(name)).map(([name, values]) => [name, [...values]]);
  // A body that is neither text nor bytes: a presigned URL's payload is unsigned, and the signer must not hash one.
  return { protocol: "http:", hostname: "", method, path, headers, query: Object.fromEntries(entries), body: {} };
}

/** A presigned URL may name its payload hash in the query; the signer wants it as a header, which it hoists again. */
function hoistedPayloadHash(request: Unsigned): void {
  const name = Object.keys(request.query ?? {}).find((name) => name.toLowerCase() === "x-amz-content-sha256");
  const value = name === undefined ? undefined : request.query?.[name];
  if (name === undefined || !Array.isArray(value) || value.length !== 1) return;
  delete request.query?.[name];
  request.headers[name] = value[0] as string;
}

function sameSignature(expected: string, given: string): boolean {
  const [a, b] = [Buffer.from(expected), Buffer.from(given)];
  return a.length === b.length && a.length > 0 && timingSafeEqual(a, b);
}
