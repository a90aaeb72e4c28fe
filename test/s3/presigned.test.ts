/** What Waybill relies on in an S3: presigned URLs, and what they bind. */
import { randomUUID } from "node:crypto";
import { GetObjectCommand, ListObjectsV2Command, ListPartsCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bytes, type RawOptions, raw, refusal, S3Probe, sha256, verdict } from "../support/s3.ts";
import { PAGE } from "../support/s3-bucket.ts";
import { Place } from "../support/s3-place.ts";

let place: Place;
let s3: Place["s3"];
let Bucket: string;

beforeAll(async () => {
  place = await Place.open();
  ({ s3, bucket: Bucket } = place);
});
afterAll(() => place?.close());

describe("a presigned part URL", () => {
  const body = bytes(1_000);
  const checksum = sha256(body);

  async function signedPart(): Promise<{ url: string; key: string; id: string; headers: Record<string, string> }> {
    const key = place.key();
    const id = await s3.begin(key);
    const headers = { "x-amz-checksum-sha256": checksum };
    const signed = { ...headers, "content-length": String(body.length) };
    const url = await s3.presign("PUT", key, { query: { partNumber: "1", uploadId: id }, headers: signed });
    return { url, key, id, headers };
  }

  it("takes the bytes that it was signed for", async () => {
    const { url, key, id, headers } = await signedPart();
    const response = await fetch(url, { method: "PUT", body, headers });
    expect(response.status).toBe(200);
    expect(response.headers.get("x-amz-checksum-sha256")).toBe(checksum);
    await s3.complete(key, id, [
      { PartNumber: 1, ETag: response.headers.get("etag") as string, ChecksumSHA256: checksum },
    ]);
    expect((await s3.read(key)).equals(body)).toBe(true);
  });

  it("binds part number, upload, method, length and checksum", async () => {
    const { url, key, headers } = await signedPart();
    const longer = bytes(1_001);
    const other = { "x-amz-checksum-sha256": sha256(longer) };
    const tries: [what: string, url: string, RequestInit][] = [
      ["number", url.replace("partNumber=1", "partNumber=2"), { body, headers }],
      ["upload", url.replace(/uploadId=[^&]+/, `uploadId=${await s3.begin(key)}`), { body, headers }],
      ["length", url, { body: longer, headers }],
      ["both", url, { body: longer, headers: other }],
      ["checksum", url, { body, headers: other }],
      ["no checksum", url, { body }],
      ["key", url.replace(encodeURIComponent(key).replaceAll("%2F", "/"), place.key()), { body, headers }],
    ];
    for (const [what, address, init] of tries) {
      const { status, code } = await verdict(await fetch(address, { method: "PUT", ...init }));
      const refused = [403, "SignatureDoesNotMatch"];
      const expected = what === "no checksum" ? place.expected("a signed header left out", refused) : refused;
      expect([what, status, code]).toEqual([what, ...(expected as unknown[])]);
    }
  });

  it("takes no body whose length isn't told", async () => {
    const { url, key, id, headers } = await signedPart();
    const answer = await raw(url, { method: "PUT", headers: { ...headers, "transfer-encoding": "chunked" }, body });
    expect([answer.status, answer.code]).toEqual(place.expected("a part in chunks", [403, "SignatureDoesNotMatch"]));
    const listed = await s3.client.send(new ListPartsCommand({ Bucket, Key: key, UploadId: id }));
    expect(listed.Parts ?? []).toEqual([]);
  });

  it("refuses other bytes of the same length", async () => {
    const { url, key, id, headers } = await signedPart();
    const response = await fetch(url, { method: "PUT", body: bytes(1_000, 2), headers });
    const { code, status } = await verdict(response);
    expect([code, status]).toEqual(place.expected("other bytes", ["BadDigest", 400]));
    const listed = await s3.client.send(new ListPartsCommand({ Bucket, Key: key, UploadId: id }));
    expect(listed.Parts ?? []).toEqual([]);
  });

  it("whose checksum stands in the query has none", async () => {
    const key = place.key();
    const id = await s3.begin(key);
    const query = { partNumber: "1", uploadId: id, "x-amz-checksum-sha256": checksum };
    const response = await fetch(await s3.presign("PUT", key, { query }), { method: "PUT", body });
    const { code, status } = await verdict(response);
    expect([code, status]).toEqual(place.expected("a part without its checksum", ["InvalidRequest", 400]));
  });

  it("lets no x-amz header in that was not signed", async () => {
    const { url, headers } = await signedPart();
    const response = await fetch(url, { method: "PUT", body, headers: { ...headers, "x-amz-meta-a": "b" } });
    const { status, code } = await verdict(response);
    expect([status, code]).toEqual(place.expected("a header that wasn't signed", [403, "AccessDenied"]));
  });
});

describe("a presigned GET URL", () => {
  it("binds the version that it was signed for, and leaves the range open", async () => {
    const key = place.key();
    const etag = await s3.put(key, "0123456789");
    const url = await s3.presign("GET", key, { headers: { "if-match": etag } });
    const found = await fetch(url, { headers: { "if-match": etag, range: "bytes=2-4" } });
    expect([found.status, found.headers.get("content-range"), await found.text()]).toEqual([
      206,
      "bytes 2-4/10",
      "234",
    ]);
    const refused = [403, "SignatureDoesNotMatch"];
    for (const match of ['"0123"', "*", undefined]) {
      const { status, code } = await verdict(await fetch(url, { headers: match ? { "if-match": match } : {} }));
      expect([status, code]).toEqual(match ? refused : place.expected("a signed header left out", refused));
    }
    const replaced = await s3.put(key, "abcdefghij");
    expect(replaced).not.toBe(etag);
    const stale = await fetch(url, { headers: { "if-match": etag } });
    expect(await verdict(stale)).toMatchObject({ status: 412, code: "PreconditionFailed" });
  });

  it("says so when it has expired", async () => {
    const key = place.key();
    await s3.put(key, "x");
    const url = await s3.presign("GET", key, { expiresIn: 60, signingDate: new Date(Date.now() - 120_000) });
    const told = await verdict(await fetch(url));
    // The code alone is that of a real refusal; the client reads the sentence.
    expect(told).toMatchObject({ status: 403, code: "AccessDenied" });
    expect(told.message).toMatch(/^Request has expired\b/);
  });

  it("says so of a part, too, before it takes any of it", async () => {
    const key = place.key();
    const id = await s3.begin(key);
    const headers = { "x-amz-checksum-sha256": sha256(bytes(9)) };
    const query = { partNumber: "1", uploadId: id };
    const signed = { query, headers, expiresIn: 60, signingDate: new Date(Date.now() - 120_000) };
    const late = await fetch(await s3.presign("PUT", key, signed), { method: "PUT", headers, body: bytes(9) });
    expect((await verdict(late)).message).toMatch(/^Request has expired\b/);
    const listed = await s3.client.send(new ListPartsCommand({ Bucket, Key: key, UploadId: id }));
    expect(listed.Parts ?? []).toEqual([]);
  });

  it("is for reading, and for its host, path and query", async () => {
    const [key, other] = [place.key(), place.key()];
    for (const name of [key, other]) await s3.put(name, "x");
    const url = await s3.presign("GET", key);
    expect((await raw(url)).status).toBe(200);
    const tries: [string, RawOptions][] = [
      [url, { method: "PUT", body: bytes(1) }],
      [url, { method: "DELETE" }],
      [url.replace(key, other), {}],
      [`${url}&response-content-type=text%2Fhtml`, {}],
      [url, { headers: { host: "other.example" } }],
    ];
    for (const [address, init] of tries)
      expect(await raw(address, init)).toMatchObject({ status: 403, code: "SignatureDoesNotMatch" });
    expect((await s3.read(key)).toString()).toBe("x");
  });

  it("can't be made to live longer", async () => {
    const url = await s3.presign("GET", place.key(), { expiresIn: 60 });
    const longer = await fetch(url.replace("X-Amz-Expires=60", "X-Amz-Expires=600"));
    expect(await verdict(longer)).toMatchObject({ status: 403, code: "SignatureDoesNotMatch" });
    const tooLong = await fetch(url.replace("X-Amz-Expires=60", "X-Amz-Expires=604801"));
    expect(await verdict(tooLong)).toMatchObject({ status: 400, code: "AuthorizationQueryParametersError" });
  });
});

describe("a stranger", () => {
  it("gets nothing without a signature", async () => {
    const key = place.key();
    await s3.put(key, "secret");
    const address = `${s3.target.endpoint}/${Bucket}/${key}`;
    for (const method of ["GET", "PUT", "DELETE"]) {
      const { status, code } = await verdict(await fetch(address, { method }));
      expect([method, status, code]).toEqual([method, 403, "AccessDenied"]);
    }
    expect((await s3.read(key)).toString()).toBe("secret");
  });

  it("gets nothing with another's secret, or an unknown key id", async () => {
    const { credentials } = s3.target;
    const forger = new S3Probe({ ...s3.target, credentials: { ...credentials, secretAccessKey: "guess" } });
    const unknown = new S3Probe({ ...s3.target, credentials: { ...credentials, accessKeyId: "AKIANOBODY0000000000" } });
    const get = new GetObjectCommand({ Bucket, Key: place.key() });
    expect(await refusal(forger.client.send(get))).toEqual(["SignatureDoesNotMatch", 403]);
    const told = await refusal(unknown.client.send(get));
    expect(told).toEqual(place.expected("an unknown access key", ["InvalidAccessKeyId", 403]));
    forger.close();
    unknown.close();
  });

  it("finds no bucket that isn't there", async () => {
    const elsewhere = new S3Probe({ ...s3.target, bucket: `waybill-test-${randomUUID()}` });
    const list = elsewhere.client.send(new ListObjectsV2Command({ Bucket: elsewhere.target.bucket }));
    expect(await refusal(list)).toEqual(["NoSuchBucket", 404]);
    elsewhere.close();
  });
});

describe("a clock that is wrong", () => {
  it.each([-16, 16])("by %i minutes is told so", async (minutes) => {
    const off = new S3Probe({ ...s3.target }, minutes * 60_000);
    const told = await refusal(off.client.send(new ListObjectsV2Command({ Bucket })));
    expect(told).toEqual(["RequestTimeTooSkewed", 403]);
    off.close();
  });

  it("can be corrected by the date of any answer", async () => {
    const { headers } = await fetch(s3.target.endpoint);
    expect(Math.abs(Date.parse(headers.get("date") ?? "") - Date.now())).toBeLessThan(60_000);
  });
});

describe("a page in a browser", () => {
  const asked = { "access-control-request-method": "PUT", "access-control-request-headers": "x-amz-checksum-sha256" };
  const preflight = (url: string, more: object = {}): Promise<Response> =>
    fetch(url, { method: "OPTIONS", headers: { origin: PAGE, ...asked, ...more } });
  const allowed = (answer: Response): boolean[] => [
    answer.ok,
    ["*", PAGE].includes(answer.headers.get("access-control-allow-origin") ?? ""),
    /\*|PUT/.test(answer.headers.get("access-control-allow-methods") ?? ""),
    /\*|x-amz-checksum-sha256/i.test(answer.headers.get("access-control-allow-headers") ?? ""),
  ];

  it("may send parts and read ranges", async () => {
    const key = place.key();
    const etag = await s3.put(key, "0123456789");
    const put = await s3.presign("PUT", key);
    expect(allowed(await preflight(put))).toEqual([true, true, true, true]);
    const ask = { "access-control-request-method": "GET", "access-control-request-headers": "if-match,range" };
    const get = await s3.presign("GET", key, { headers: { "if-match": etag } });
    expect((await preflight(get, ask)).ok).toBe(true);
    const found = await fetch(get, { headers: { origin: PAGE, range: "bytes=0-1", "if-match": etag } });
    expect(["*", PAGE]).toContain(found.headers.get("access-control-allow-origin"));
    expect(found.headers.get("access-control-expose-headers")).toMatch(/\*|Content-Range/i);
    expect(await found.text()).toBe("01");
  });

  it("may read why it was refused", async () => {
    const url = (await s3.presign("GET", place.key())).replace(/X-Amz-Signature=.{8}/, "X-Amz-Signature=00000000");
    const refused = await fetch(url, { headers: { origin: PAGE } });
    expect(refused.status).toBe(403);
    const origin = refused.headers.get("access-control-allow-origin");
    expect(["*", PAGE].includes(origin ?? "")).toBe(place.expected("refusals that a page may read", true));
  });
});
