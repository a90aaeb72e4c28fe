import { mkdtemp, rm } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { prefixes } from "../../../infra/rights.ts";
import { Authenticator, type Credentials } from "../../../local/store/auth.ts";
import { Buckets } from "../../../local/store/buckets.ts";
import { Cors } from "../../../local/store/cors.ts";
import { Disk } from "../../../local/store/disk.ts";
import { S3Error } from "../../../local/store/errors.ts";
import type { S3Request } from "../../../local/store/request.ts";
import { routeOf } from "../../../local/store/route.ts";
import { type RequestLog, S3Server } from "../../../local/store/server.ts";
import { decide, type Request, type Statement } from "./policy.ts";
import { asksOfBucket } from "./requests.ts";

/** Who may come to the bucket, and what the role behind the credentials allows. */
export interface Principal {
  readonly name: string;
  readonly credentials: Credentials;
  readonly statements: readonly Statement[];
}

export interface BucketOptions {
  readonly name: string;
  readonly region: string;
  /** The bucket's own policy. */
  readonly policy: readonly Statement[];
  readonly principals: readonly Principal[];
  readonly corsOrigins: readonly string[];
  /** Who was not let in to do what. */
  readonly onDenied: (denial: string) => void;
  readonly onRequest?: (entry: RequestLog) => void;
}

/** Our own store as the deployed bucket: signatures are checked as always, and then the role's policy and the bucket's. */
export class GuardedBucket {
  readonly endpoint: string;
  readonly name: string;
  readonly #server: S3Server;
  readonly #folder: string;

  private constructor(name: string, server: S3Server, folder: string) {
    this.name = name;
    this.#server = server;
    this.#folder = folder;
    this.endpoint = `http://127.0.0.1:${(server.server.address() as AddressInfo).port}`;
  }

  static async start(options: BucketOptions): Promise<GuardedBucket> {
    const folder = await mkdtemp(join(tmpdir(), "waybill-bucket-"));
    const buckets = new Buckets(new Disk(folder));
    await buckets.load();
    await buckets.create(options.name);
    const server = new S3Server({
      buckets,
      authenticator: new Guard(options, (key) => buckets.get(options.name).find(key) !== undefined),
      cors: new Cors(options.corsOrigins),
      minPartSize: 5 * 2 ** 20,
      now: Date.now,
      ...(options.onRequest && { onRequest: options.onRequest }),
    });
    await new Promise<void>((resolve, reject) => server.server.once("error", reject).listen(0, "127.0.0.1", resolve));
    return new GuardedBucket(options.name, server, folder);
  }

  async stop(): Promise<void> {
    await this.#server.close();
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

class Guard extends Authenticator {
  readonly #options: BucketOptions;
  readonly #has: (key: string) => boolean;
  readonly #known: ReadonlyMap<string, { readonly principal: Principal; readonly authenticator: Authenticator }>;

  constructor(options: BucketOptions, has: (key: string) => boolean) {
    super({ accessKeyId: "nobody", secretAccessKey: "nobody" }, options.region, Date.now);
    this.#options = options;
    this.#has = has;
    const known = options.principals.map((principal) => {
      const authenticator = new Authenticator(principal.credentials, options.region, Date.now);
      return [principal.credentials.accessKeyId, { principal, authenticator }] as const;
    });
    this.#known = new Map(known);
  }

  override async verify(request: S3Request): Promise<void> {
    const found = this.#known.get(accessKeyOf(request));
    if (!found) throw new S3Error("InvalidAccessKeyId");
    await found.authenticator.verify(request);
    const refused = this.#wanted(request).find((choice) => !choice.some((one) => this.#allowed(found.principal, one)));
    if (!refused) return;
    this.#options.onDenied(
      `${found.principal.name}: ${refused[0]!.action} ${request.key || request.query.get("prefix")}`,
    );
    throw new S3Error("AccessDenied");
  }

  /** IAM's own rule: a Deny of either policy wins, and the role's must allow it. */
  #allowed({ statements }: Principal, wish: Request): boolean {
    return decide([...statements, ...this.#options.policy], wish) === "allowed";
  }

  /** What a request needs: of each choice, something that is allowed. */
  #wanted(request: S3Request): Request[][] {
    const arn = `arn:aws:s3:::${this.#options.name}`;
    const facts = { "s3:signatureAge": String(ageOf(request)) };
    if (routeOf(request).name === "DeleteObjects") {
      // Its keys are in the body, which nobody has read yet: that keys of some prefix may go is all that can be told.
      const any = prefixes.map((prefix) => `${arn}/${prefix}/x`);
      return [any.map((resource) => ({ action: "s3:DeleteObject", resource, context: facts }))];
    }
    const { method, path, headers } = request;
    const url = new URL(path, "http://bucket");
    for (const [key, values] of request.query.all) for (const value of values) url.searchParams.append(key, value);
    const status = this.#has(request.key) ? 200 : 404;
    const asked = asksOfBucket({ by: "", host: "", method, url, headers, status }, arn);
    return asked.map((one) => [{ ...one, context: { ...one.context, ...facts } }]);
  }
}

/** Milliseconds since a request was signed. */
function ageOf({ headers, query }: S3Request): number {
  const signed = query.get("X-Amz-Date") ?? headers["x-amz-date"] ?? "";
  const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(signed) ?? [];
  return Date.now() - Date.parse(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`);
}

function accessKeyOf({ headers, query }: S3Request): string {
  const inHeader = /Credential=([^/,\s]+)\//.exec(headers.authorization ?? "")?.[1];
  return inHeader ?? query.get("X-Amz-Credential")?.split("/")[0] ?? "";
}
