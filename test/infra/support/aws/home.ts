import { createHash } from "node:crypto";
import { XMLParser } from "fast-xml-parser";
import { type AwsAnswer, type AwsCall, AwsError, type AwsStandIn, inputOf, json } from "./server.ts";

const XML = { "content-type": "application/xml" };
const S3 = "http://s3.amazonaws.com/doc/2006-03-01/";

/** What sst itself keeps in an account: parameters with its passphrases, and a bucket with state, secrets and locks. */
export class SstHome {
  readonly parameters = new Map<string, Readonly<Record<string, unknown>>>();
  /** By "bucket/key". */
  readonly objects = new Map<string, Buffer>();
  readonly #buckets = new Set<string>();
  readonly #account: string;

  constructor(aws: AwsStandIn, account: string) {
    this.#account = account;
    aws.add("ssm", (call) => this.#parameterStore(call));
    aws.add("sts", (call) => this.#identity(call));
    aws.add("ecr", (call) => this.#registry(call));
    aws.add("s3", (call) => this.#bucket(call));
  }

  /** The text of one of sst's own objects, in whatever bucket it took for them. */
  text(key: string): string | null {
    const found = [...this.objects].find(([path]) => path.slice(path.indexOf("/") + 1) === key);
    return found?.[1].toString() ?? null;
  }

  /** The keys of sst's own objects below a prefix. */
  keys(prefix: string): string[] {
    return [...this.objects.keys()]
      .map((path) => path.slice(path.indexOf("/") + 1))
      .filter((key) => key.startsWith(prefix));
  }

  #parameterStore(call: AwsCall): AwsAnswer | null {
    const input = inputOf(call);
    const name = String(input.Name);
    switch (call.operation) {
      case "GetParameter": {
        const found = this.parameters.get(name);
        if (!found) throw new AwsError("ParameterNotFound", `no ${name}`);
        return json({ Parameter: found });
      }
      case "PutParameter":
        if (this.parameters.has(name) && input.Overwrite !== true) throw new AwsError("ParameterAlreadyExists", name);
        this.parameters.set(name, { Name: name, Value: input.Value, Type: input.Type, Version: 1 });
        return json({ Version: 1, Tier: "Standard" });
      default:
        return null;
    }
  }

  #identity({ body }: AwsCall): AwsAnswer | null {
    if (new URLSearchParams(body.toString()).get("Action") !== "GetCallerIdentity") return null;
    const who = `<Arn>arn:aws:iam::${this.#account}:user/operator</Arn><UserId>operator</UserId><Account>${this.#account}</Account>`;
    const namespace = "https://sts.amazonaws.com/doc/2011-06-15/";
    return {
      headers: XML,
      body: `<GetCallerIdentityResponse xmlns="${namespace}"><GetCallerIdentityResult>${who}</GetCallerIdentityResult></GetCallerIdentityResponse>`,
    };
  }

  #registry({ operation }: AwsCall): AwsAnswer | null {
    if (operation !== "CreateRepository") return null;
    const repositoryUri = `${this.#account}.dkr.ecr.invalid/sst-asset`;
    return json({ repository: { repositoryName: "sst-asset", registryId: this.#account, repositoryUri } });
  }

  #bucket(call: AwsCall): AwsAnswer | null {
    const [, bucket = "", ...rest] = call.url.pathname.split("/");
    const key = decodeURIComponent(rest.join("/"));
    return key === "" ? this.#wholeBucket(call, bucket) : this.#object(call, bucket, key);
  }

  #wholeBucket({ method, url, body }: AwsCall, bucket: string): AwsAnswer | null {
    if (method === "PUT" && url.search === "") {
      this.#buckets.add(bucket);
      return { headers: { location: `/${bucket}` } };
    }
    if (!this.#buckets.has(bucket)) return null;
    if (method === "PUT" && ["notification", "policy", "versioning"].some((name) => url.searchParams.has(name)))
      return {};
    if (method === "GET" && url.searchParams.get("list-type") === "2") return this.#listing(bucket, url.searchParams);
    if (method === "POST" && url.searchParams.has("delete")) return this.#deletion(bucket, body);
    return null;
  }

  #deletion(bucket: string, body: Buffer): AwsAnswer {
    const read = new XMLParser({ isArray: (name) => name === "Object", parseTagValue: false });
    const { Delete } = read.parse(body) as { Delete: { Object: { Key: string }[] } };
    for (const { Key } of Delete.Object) this.objects.delete(`${bucket}/${Key}`);
    return { headers: XML, body: `<DeleteResult xmlns="${S3}"></DeleteResult>` };
  }

  #listing(bucket: string, query: URLSearchParams): AwsAnswer {
    const prefix = `${bucket}/${query.get("prefix") ?? ""}`;
    const found = [...this.objects].filter(([path]) => path.startsWith(prefix));
    const rows = found.map(([path, bytes]) => {
      const key = path.slice(bucket.length + 1);
      return `<Contents><Key>${key}</Key><Size>${bytes.length}</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>`;
    });
    const count = `<Name>${bucket}</Name><KeyCount>${rows.length}</KeyCount><IsTruncated>false</IsTruncated>`;
    return { headers: XML, body: `<ListBucketResult xmlns="${S3}">${count}${rows.join("")}</ListBucketResult>` };
  }

  #object({ method, url, body, headers }: AwsCall, bucket: string, key: string): AwsAnswer | null {
    const path = `${bucket}/${key}`;
    const operation = url.searchParams.get("x-id") ?? method;
    if (!this.#buckets.has(bucket)) return s3Error(404, "NoSuchBucket");
    if (method === "PUT") {
      if (headers["if-none-match"] === "*" && this.objects.has(path)) return s3Error(412, "PreconditionFailed");
      this.objects.set(path, bodyOf(headers, body));
      return { headers: { etag: `"${createHash("md5").update(body).digest("hex")}"` } };
    }
    if (method === "DELETE") {
      this.objects.delete(path);
      return { status: 204 };
    }
    if (method !== "GET" || operation !== "GetObject") return null;
    const found = this.objects.get(path);
    if (!found) return s3Error(404, "NoSuchKey");
    return { headers: { "content-type": "application/octet-stream" }, body: found };
  }
}

/** SDKs may send a body in signed chunks: `size;chunk-signature=…`, the bytes, and so on until an empty one. */
function bodyOf(headers: AwsCall["headers"], body: Buffer): Buffer {
  if (!String(headers["x-amz-content-sha256"]).startsWith("STREAMING-")) return body;
  const chunks: Buffer[] = [];
  for (let at = 0; ; ) {
    const line = body.indexOf("\r\n", at);
    const size = Number.parseInt(body.subarray(at, line).toString(), 16);
    if (!(size > 0)) return Buffer.concat(chunks);
    chunks.push(body.subarray(line + 2, line + 2 + size));
    at = line + 2 + size + 2;
  }
}

function s3Error(status: number, code: string): AwsAnswer {
  return { status, headers: XML, body: `<Error><Code>${code}</Code><Message>${code}</Message></Error>` };
}
