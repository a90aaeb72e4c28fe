import { createHash } from "node:crypto";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { S3Client } from "@aws-sdk/client-s3";
import { afterEach, describe, expect, it, vi } from "vitest";
import { quietSdk } from "../functions/aws.ts";
import { AwsJson } from "../functions/aws-json.ts";
import { credentialsFrom } from "../functions/credentials.ts";
import { bucketUrl } from "../functions/endpoint.ts";
import { Payloads } from "../functions/payloads.ts";
import { Store } from "../functions/store.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import { compositeChecksum } from "../lib/protocol/manifest.ts";
import { startStore } from "../local/store/store.ts";
import { Faulty } from "./support/faulty.ts";

// Requests to AWS without its SDK are as patient, and as careful, as with it.

interface Asked {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
}

const closers: (() => unknown)[] = [];
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const close of closers.splice(0)) await close();
});

/** A server that answers as it is told to, and what it was asked. */
async function answering(answer: (response: ServerResponse, nth: number) => void) {
  const asked: Asked[] = [];
  const server = createServer((message, response) => {
    asked.push({ method: message.method ?? "", url: message.url ?? "", headers: message.headers });
    message.resume().once("end", () => answer(response, asked.length));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(() => {
    server.close();
    server.closeAllConnections();
  });
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

const s3Credentials = { accessKeyId: "id", secretAccessKey: "secret" };

function bucketAt(s3Endpoint: string, over: object = {}): Payloads {
  const store = new Payloads({ bucket: "bucket", region: "eu-west-1", s3Endpoint, s3Credentials, ...over });
  closers.push(() => store.close());
  return store;
}

const errorOf = (code: string): string =>
  `<?xml version="1.0"?><Error><Code>${code}</Code><Message>m</Message></Error>`;

async function failure(call: Promise<unknown>): Promise<WaybillError> {
  const error = await call.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(WaybillError);
  return error as WaybillError;
}

describe("a request", () => {
  it("whose answer is larger than any that we ask for is cut off: it would take all memory", async () => {
    const sent: number[] = [];
    const server = await answering((response) => {
      const chunk = Buffer.alloc(2 ** 20);
      let count = 0;
      const more = (): void => {
        sent.push(count);
        while (!response.destroyed && count++ < 512)
          if (!response.write(chunk)) return void response.once("drain", more);
        response.end();
      };
      more();
    });
    expect((await failure(bucketAt(server.origin).getBytes("k"))).code).toBe("UNAVAILABLE");
    expect(Math.max(...sent)).toBeLessThan(256);
  });

  it.each([
    [503, "SlowDown"],
    [503, "ServiceUnavailable"],
    [500, "InternalError"],
    [502, ""],
    [504, ""],
    [400, "RequestTimeout"],
    [429, "TooManyRequests"],
  ])("that is answered %d %s is made again", async (status, code) => {
    const server = await answering((response, nth) =>
      nth < 3 ? response.writeHead(status).end(errorOf(code)) : response.writeHead(200, { etag: '"1"' }).end("[1]"),
    );
    expect(await bucketAt(server.origin).getJson("k")).toEqual({ value: [1], etag: '"1"' });
    expect(server.asked).toHaveLength(3);
  });

  it.each([
    [403, "AccessDenied"],
    [400, "InvalidRequest"],
    [501, "NotImplemented"],
    [405, "MethodNotAllowed"],
  ])("that is answered %d %s is not", async (status, code) => {
    const server = await answering((response) => response.writeHead(status).end(errorOf(code)));
    const { code: ours, cause } = await failure(bucketAt(server.origin).getJson("k"));
    expect(ours).toBe("UNAVAILABLE");
    expect(String(cause)).toContain(`${code} (${status})`);
    expect(server.asked).toHaveLength(1);
  });

  it("is made again over a new connection when the old one was reset", async () => {
    const server = await answering((response, nth) => {
      if (nth < 3) response.socket!.resetAndDestroy();
      else response.writeHead(200, { etag: '"1"' }).end("1");
    });
    expect((await bucketAt(server.origin).getJson("k"))?.value).toBe(1);
    expect(server.asked).toHaveLength(3);
  });

  it("ends in time with a typed error when nobody ever answers", async () => {
    const server = await answering(() => {});
    const begun = performance.now();
    expect((await failure(bucketAt(server.origin).putJson("k", 1))).code).toBe("UNAVAILABLE");
    expect(performance.now() - begun).toBeLessThan(60_000); // 8 s on a machine with nothing else to do
    expect(server.asked.length).toBeGreaterThan(1);
  });

  it("is not made ever so often while the service is down", async () => {
    const server = await answering((response) => response.writeHead(500).end());
    const store = bucketAt(server.origin);
    const calls = Array.from({ length: 100 }, (_, i) => failure(store.getJson(`k${i}`)));
    await Promise.all(calls);
    expect(server.asked.length).toBeLessThanOrEqual(200); // the first try of each, and a hundred more
  });

  it("that is refused for its time is signed by the service's clock, from then on, URLs too", async () => {
    const ahead = 40 * 60_000;
    const times: number[] = [];
    const server = await answering((response, nth) => {
      times.push(timeOf(server.asked[nth - 1]!.headers["x-amz-date"]));
      response.setHeader("date", new Date(Date.now() + ahead).toUTCString());
      if (nth === 1) response.writeHead(403).end(errorOf("RequestTimeTooSkewed"));
      else response.writeHead(200, { etag: '"1"' }).end("1");
    });
    const store = bucketAt(server.origin);
    expect((await store.getJson("k"))?.value).toBe(1);
    await store.getJson("k");
    const off = times.map((time) => Math.round(Math.abs(time - Date.now()) / 60_000));
    expect(off).toEqual([0, 40, 40]);
    expect(Math.abs(store.now() - Date.now() - ahead)).toBeLessThan(60_000);
    const { url } = await store.presignGet("k", '"1"');
    expect(Math.abs(timeOf(new URL(url).searchParams.get("X-Amz-Date")!) - Date.now() - ahead)).toBeLessThan(60_000);
  });

  it("that is answered well, or refused for something else, changes no clock, whatever date stands there", async () => {
    const ahead = 40 * 60_000;
    const server = await answering((response, nth) => {
      response.setHeader("date", new Date(Date.now() + ahead).toUTCString());
      if (nth === 1) response.writeHead(403).end(errorOf("AccessDenied"));
      else response.writeHead(200, { etag: '"1"' }).end("1");
    });
    const store = bucketAt(server.origin);
    await failure(store.getJson("k"));
    expect((await store.getJson("k"))?.value).toBe(1);
    expect(Math.abs(store.now() - Date.now())).toBeLessThan(60_000);
  });

  it("whose signature is simply wrong is not made again", async () => {
    const server = await answering((response) => response.writeHead(403).end(errorOf("SignatureDoesNotMatch")));
    await failure(bucketAt(server.origin).getJson("k"));
    expect(server.asked).toHaveLength(1);
  });

  it("to a bucket in another region goes nowhere else, and the operator is told where it is", async () => {
    const elsewhere = await answering((response) => response.writeHead(200).end("1"));
    const server = await answering((response) =>
      response
        .writeHead(301, { location: `${elsewhere.origin}/bucket/k`, "x-amz-bucket-region": "eu-central-1" })
        .end(errorOf("PermanentRedirect")),
    );
    const { code, cause, message } = await failure(bucketAt(server.origin).getJson("k"));
    expect(code).toBe("UNAVAILABLE");
    expect(String(cause)).toContain("PermanentRedirect: the bucket is in eu-central-1");
    expect(message).not.toContain("eu-central-1");
    expect(elsewhere.asked).toEqual([]);
    expect(server.asked).toHaveLength(1);
  });

  it("carries a role's newest credentials, with their token", async () => {
    vi.stubEnv("AWS_ACCESS_KEY_ID", "first");
    vi.stubEnv("AWS_SECRET_ACCESS_KEY", "secret");
    vi.stubEnv("AWS_SESSION_TOKEN", "token-1");
    const server = await answering((response) => response.writeHead(200, { etag: '"1"' }).end("1"));
    const store = new Payloads({ bucket: "bucket", region: "eu-west-1", s3Endpoint: server.origin });
    closers.push(() => store.close());
    await store.getJson("k");
    vi.stubEnv("AWS_ACCESS_KEY_ID", "second");
    vi.stubEnv("AWS_SESSION_TOKEN", "token-2");
    await store.getJson("k");
    const tokens = server.asked.map(({ headers }) => headers["x-amz-security-token"]);
    expect(tokens).toEqual(["token-1", "token-2"]);
    expect(server.asked[1]!.headers.authorization).toContain("Credential=second/");
    expect((await store.presignGet("k", '"1"')).url).toContain("X-Amz-Security-Token=token-2");
  });
});

/** "20261122T190000Z" */
function timeOf(text: unknown): number {
  const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(String(text))!.map(Number);
  return Date.UTC(y!, mo! - 1, d, h, mi, s);
}

describe("an answer", () => {
  it.each([
    ["no XML", "<html"],
    ["other XML", "<Nothing/>"],
    ["nothing", ""],
    ["a listing of what has no key", "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>"],
  ])("to a listing that is %s is no empty listing", async (_what, body) => {
    const server = await answering((response) => response.writeHead(200).end(body));
    expect((await failure(bucketAt(server.origin).list("p/"))).code).toBe("UNAVAILABLE");
  });

  it("may list nothing, one object or several", async () => {
    const contents = (key: string) =>
      `<Contents><Key>${key}</Key><Size>3</Size><LastModified>2026-11-22T19:00:00.000Z</LastModified></Contents>`;
    for (const keys of [[], ["p/a"], ["p/a", "p/b&amp;c"]]) {
      const body = `<ListBucketResult><IsTruncated>false</IsTruncated>${keys.map(contents).join("")}</ListBucketResult>`;
      const server = await answering((response) => response.writeHead(200).end(body));
      const found = await bucketAt(server.origin).list("p/");
      expect(found.map(({ key, size }) => [key, size])).toEqual(keys.map((key) => [key.replace("&amp;", "&"), 3]));
    }
  });
});

describe("an upload", () => {
  const store = (s3Endpoint: string): Store => {
    const made = new Store({ bucket: "bucket", region: "eu-west-1", s3Endpoint, s3Credentials });
    closers.push(() => made.close());
    return made;
  };

  it("is created so that every part must carry its SHA-256, and not without an id", async () => {
    const answers = ["<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>", "<X/>"];
    const server = await answering((response, nth) => response.writeHead(200).end(answers[nth - 1]));
    const bucket = store(server.origin);
    expect(await bucket.createUpload("p/x", "text/plain")).toBe("u");
    expect(server.asked[0]).toMatchObject({
      method: "POST",
      url: "/bucket/p/x?uploads=",
      headers: {
        "content-type": "text/plain",
        "content-length": "0",
        "x-amz-checksum-algorithm": "SHA256",
        "x-amz-checksum-type": "COMPOSITE",
      },
    });
    expect((await failure(bucket.createUpload("p/x", "text/plain"))).code).toBe("UNAVAILABLE");
  });

  it("has no parts, one or several, page after page", async () => {
    const part = (n: number) =>
      `<Part><PartNumber>${n}</PartNumber><Size>5</Size><ETag>"e"</ETag><ChecksumSHA256>s</ChecksumSHA256></Part>`;
    const page = (parts: string, next = "") => `<ListPartsResult><Bucket>b</Bucket>${next}${parts}</ListPartsResult>`;
    const more = "<IsTruncated>true</IsTruncated><NextPartNumberMarker>2</NextPartNumberMarker>";
    const answers = [page(""), page(part(1)), page(part(1) + part(2), more), page(part(3))];
    const server = await answering((response, nth) => response.writeHead(200).end(answers[nth - 1]));
    const bucket = store(server.origin);
    const listed: number[][] = [];
    for (let i = 0; i < 3; i++)
      listed.push((await bucket.listParts("p/x", "u"))!.map(({ number, length }) => number * length));
    expect(listed).toEqual([[], [5], [5, 10, 15]]);
    const { pathname, searchParams } = new URL(server.asked.at(-1)!.url, "http://store");
    expect([pathname, searchParams.get("uploadId"), searchParams.get("part-number-marker")]).toEqual([
      ...["/bucket/p/x", "u", "2"],
    ]);
  });

  it("is completed with every part's checksum, if nothing is there", async () => {
    const sha256 = createHash("sha256").digest("base64");
    const bodies: string[] = [];
    const server = createServer(async (message, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of message) chunks.push(chunk as Buffer);
      bodies.push(Buffer.concat(chunks).toString(), JSON.stringify(message.headers));
      const told = `<ETag>"e"</ETag><ChecksumSHA256>${compositeChecksum([sha256])}</ChecksumSHA256>`;
      response.end(`  <?xml version="1.0"?>\n  <CompleteMultipartUploadResult>${told}</CompleteMultipartUploadResult>`);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    closers.push(() => server.close());
    const bucket = store(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    expect(await bucket.complete("p/x", "u", [{ number: 1, etag: '"e"', sha256 }])).toBe("done");
    for (const element of ["<PartNumber>1</PartNumber>", `<ChecksumSHA256>${sha256}</ChecksumSHA256>`])
      expect(bodies[0]).toContain(element);
    expect(JSON.parse(bodies[1]!)).toMatchObject({ "if-none-match": "*", "x-amz-checksum-type": "COMPOSITE" });
  });

  it.each([
    [200, errorOf("InternalError"), "unknown"],
    [200, "", "unknown"],
    [200, errorOf("InvalidPart"), "invalid"],
    [412, errorOf("PreconditionFailed"), "exists"],
    [409, errorOf("ConditionalRequestConflict"), "busy"],
    [404, errorOf("NoSuchUpload"), "gone"],
    [400, errorOf("InvalidPart"), "invalid"],
    [500, "", "unknown"],
  ])("whose Complete is answered %d %s is %s", async (status, body, completion) => {
    const server = await answering((response) => response.writeHead(status).end(body));
    expect(await store(server.origin).complete("p/x", "u", [])).toBe(completion);
  });

  it("whose Complete is forbidden is an error, not an answer", async () => {
    const server = await answering((response) => response.writeHead(403).end(errorOf("AccessDenied")));
    expect((await failure(store(server.origin).complete("p/x", "u", []))).code).toBe("UNAVAILABLE");
  });
});

describe("a payload", () => {
  it("is looked at with its checksum, and missing without an error", async () => {
    const s3 = await startStore({ minPartSize: 1 });
    closers.push(() => s3.stop());
    const { bucket, region, endpoint, credentials } = s3;
    const store = new Payloads({ bucket, region, s3Endpoint: endpoint, s3Credentials: credentials });
    closers.push(() => store.close());
    const written = await store.putBytes("p/x", new Uint8Array(7), "application/octet-stream");
    expect(await store.head("p/x")).toEqual({ size: 7, etag: written!.etag, checksum: "" });
    expect(await store.head("p/y")).toBeNull();
    const { url, headers } = await store.presignGet("p/x", written!.etag);
    expect((await fetch(url, { headers })).status).toBe(200);
    expect(await store.origin()).toBe(endpoint);
  });

  it("is looked at again when the first look was lost", async () => {
    const s3 = await startStore({ minPartSize: 1 });
    closers.push(() => s3.stop());
    const front = await Faulty.start(s3.endpoint);
    closers.push(() => front.stop());
    const { bucket, region, credentials } = s3;
    const store = new Payloads({ bucket, region, s3Endpoint: front.origin, s3Credentials: credentials });
    closers.push(() => store.close());
    await store.putBytes("p/x", new Uint8Array(7), "application/octet-stream");
    front.break("HEAD", /p/, { status: 503, body: "" }, 2);
    expect(await store.head("p/x")).toMatchObject({ size: 7 });
  });
});

describe("a bucket's address", () => {
  it.each([
    ["bucket", "us-east-1"],
    ["bucket", "eu-central-1"],
    ["bucket", "ap-southeast-7"],
    ["bucket", "cn-north-1"],
    ["bucket", "us-gov-west-1"],
    ["with.dots.in-it", "eu-west-1"],
  ])("of %s in %s is the SDK's", async (bucket, region) => {
    quietSdk();
    const client = new S3Client({ region, credentials: s3Credentials });
    const theirs = client.config.endpointProvider({ Bucket: bucket, Region: region });
    expect(bucketUrl({ bucket, region }).href).toBe(theirs.url.href);
    client.destroy();
  });

  it("at another server is in the path", () => {
    const place = { bucket: "b", region: "r" };
    expect(bucketUrl({ ...place, s3Endpoint: "http://127.0.0.1:9000" }).href).toBe("http://127.0.0.1:9000/b");
    expect(bucketUrl({ ...place, s3Endpoint: "https://s3.example.org/" }).href).toBe("https://s3.example.org/b");
  });
});

describe("credentials", () => {
  it("that are nowhere are looked for as the SDK does, and their lack is UNAVAILABLE", async () => {
    for (const name of ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]) vi.stubEnv(name, "");
    vi.stubEnv("AWS_PROFILE", "there-is-none");
    vi.stubEnv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent");
    vi.stubEnv("AWS_CONFIG_FILE", "/nonexistent");
    vi.stubEnv("AWS_EC2_METADATA_DISABLED", "true");
    await expect(credentialsFrom()()).rejects.toThrow();
    const server = await answering((response) => response.end("1"));
    const { s3Credentials: _none, ...rest } = { bucket: "bucket", region: "eu-west-1", s3Credentials };
    const store = new Payloads({ ...rest, s3Endpoint: server.origin });
    closers.push(() => store.close());
    expect((await failure(store.getJson("k"))).code).toBe("UNAVAILABLE");
    expect(server.asked).toEqual([]);
  });
});

describe("a service with AWS's JSON protocol", () => {
  const open = (origin: string) => {
    const service = new AwsJson(
      "sqs",
      { name: "AmazonSQS", version: "1.0" },
      { endpoint: new URL(origin), region: "eu-west-1", credentials: credentialsFrom(s3Credentials), timeout: 3_000 },
    );
    closers.push(() => service.close());
    return service;
  };

  it("is asked with its target, and answers JSON", async () => {
    const server = await answering((response) => response.end('{"MessageId":"1"}'));
    expect(await open(server.origin).call("SendMessage", { MessageBody: "ring" })).toEqual({ MessageId: "1" });
    expect(server.asked[0]).toMatchObject({
      method: "POST",
      url: "/",
      headers: { "x-amz-target": "AmazonSQS.SendMessage", "content-type": "application/x-amz-json-1.0" },
    });
  });

  it.each([
    ["com.amazonaws.sqs#QueueDoesNotExist", {}, "QueueDoesNotExist"],
    ["NotFoundException", {}, "NotFoundException"],
    ["x", { "x-amzn-errortype": "AccessDeniedException:http://internal.amazon.com/" }, "AccessDeniedException"],
  ])("says what was wrong: %s %o", async (type, headers, name) => {
    const server = await answering((response) =>
      response.writeHead(400, headers).end(JSON.stringify({ __type: type })),
    );
    await expect(open(server.origin).call("SendMessage", {})).rejects.toMatchObject({ name });
  });

  it("that throttles is asked again", async () => {
    const server = await answering((response, nth) =>
      nth === 1 ? response.writeHead(400).end('{"__type":"ThrottlingException"}') : response.end("{}"),
    );
    await open(server.origin).call("SendMessage", {});
    expect(server.asked).toHaveLength(2);
  });
});
