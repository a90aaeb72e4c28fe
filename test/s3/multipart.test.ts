/** What Waybill relies on in an S3: multipart uploads. */
import {
  AbortMultipartUploadCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  type Part,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compositeChecksum } from "../../lib/protocol/manifest.ts";
import { bytes, type Listed, outcome, PART, refusal, sha256 } from "../support/s3.ts";
import { Place } from "../support/s3-place.ts";

let place: Place;
let s3: Place["s3"];
let Bucket: string;

beforeAll(async () => {
  place = await Place.open();
  ({ s3, bucket: Bucket } = place);
});
afterAll(() => place?.close());

describe("a multipart upload", () => {
  const bodies = [bytes(PART, 1), bytes(PART + 1, 2), bytes(3, 3)];
  const whole = Buffer.concat(bodies);
  const composite = compositeChecksum(bodies.map(sha256));

  it("becomes one object with the composite checksum of its parts", async () => {
    const key = place.key();
    const done = await s3.multipart(key, bodies);
    expect(done.ChecksumSHA256).toBe(composite);
    expect(done.ETag).toMatch(/^"[0-9a-f]{32}-3"$/);
    const head = await s3.client.send(new HeadObjectCommand({ Bucket, Key: key, ChecksumMode: "ENABLED" }));
    expect(head).toMatchObject({ ContentLength: whole.length, ChecksumSHA256: composite, ChecksumType: "COMPOSITE" });
    expect(head.ETag).toBe(done.ETag);
    expect((await s3.read(key)).equals(whole)).toBe(true);
    expect(
      (await s3.read(key, { Range: `bytes=${PART - 2}-${PART + 1}` })).equals(whole.subarray(PART - 2, PART + 2)),
    ).toBe(true);
    expect((await s3.read(key, { Range: "bytes=-5" })).equals(whole.subarray(-5))).toBe(true);
  });

  it("of one empty part is an empty object", async () => {
    const key = place.key();
    const done = await s3.multipart(key, [bytes(0)]);
    expect(done.ChecksumSHA256).toBe(compositeChecksum([sha256(bytes(0))]));
    expect(await s3.read(key)).toHaveLength(0);
  });

  it("takes no part without its checksum, nor with another's", async () => {
    const key = place.key();
    const UploadId = await s3.begin(key);
    const part = { Bucket, Key: key, UploadId, PartNumber: 1, Body: "hello" };
    const without = s3.client.send(new UploadPartCommand(part));
    const answer = await outcome(without, () => "stored");
    expect(answer).toEqual(place.expected("a part without its checksum", ["InvalidRequest", 400]));
    const wrong = s3.client.send(new UploadPartCommand({ ...part, ChecksumSHA256: sha256(Buffer.from("hallo")) }));
    expect(await refusal(wrong)).toEqual(place.expected("other bytes", ["BadDigest", 400]));
    const listed = await s3.client.send(new ListPartsCommand({ Bucket, Key: key, UploadId }));
    expect(listed.Parts ?? []).toEqual([]);
  });

  it("is completed only by a list that agrees with what is stored", async () => {
    const key = place.key();
    const id = await s3.begin(key);
    const one = await s3.part(key, id, 1, bodies[0] as Buffer);
    const two = await s3.part(key, id, 2, bodies[2] as Buffer);
    const small = await s3.part(key, id, 3, bodies[2] as Buffer);
    const { ChecksumSHA256: _, ...unchecked } = one;
    const tries: [name: string, code: string, parts: Partial<Listed>[]][] = [
      ["Complete without a checksum", "InvalidRequest", [unchecked, two]],
      ["Complete with another checksum", "InvalidPart", [{ ...one, ChecksumSHA256: two.ChecksumSHA256 }, two]],
      ["Complete with another ETag", "InvalidPart", [{ ...one, ETag: two.ETag }, two]],
      ["Complete with a part that isn't there", "InvalidPart", [one, { ...two, PartNumber: 4 }]],
      ["Complete out of order", "InvalidPartOrder", [two, one]],
      ["Complete with a small part in the middle", "EntityTooSmall", [one, two, small]],
    ];
    for (const [name, code, parts] of tries) {
      const answer = await outcome(s3.complete(key, id, parts), () => "completed");
      expect([name, answer]).toEqual([name, place.expected(name, [code, 400])]);
      if (answer === "completed") return; // and what there is then, the difference's reason tells
    }
    expect(await refusal(s3.read(key))).toEqual(["NoSuchKey", 404]);
    await s3.complete(key, id, [one, two]);
    expect(await s3.read(key)).toHaveLength(PART + 3);
  });

  it("is over once it is completed or aborted", async () => {
    const key = place.key();
    const done = await s3.begin(key);
    const parts = [await s3.part(key, done, 1, bytes(4))];
    await s3.complete(key, done, parts);
    const aborted = await s3.begin(key);
    await s3.part(key, aborted, 1, bytes(5));
    await s3.client.send(new AbortMultipartUploadCommand({ Bucket, Key: key, UploadId: aborted }));
    expect(await refusal(s3.part(key, aborted, 2, bytes(4)))).toEqual(["NoSuchUpload", 404]);
    const late = await outcome(s3.complete(key, aborted, parts), () => "completed");
    expect(late).toEqual(place.expected("Complete of an aborted upload", ["NoSuchUpload", 404]));
    expect(await refusal(s3.part(key, done, 2, bytes(4)))).toEqual(["NoSuchUpload", 404]);
    const unknown = await outcome(s3.complete(place.key(), aborted, parts), () => "completed");
    expect(unknown).toEqual(["NoSuchUpload", 404]);
    const list = s3.client.send(new ListPartsCommand({ Bucket, Key: key, UploadId: aborted }));
    expect(await refusal(list)).toEqual(["NoSuchUpload", 404]);
    expect((await s3.read(key)).equals(bytes(4))).toBe(true);
  });

  it("belongs to its key", async () => {
    const id = await s3.begin(place.key());
    expect(await refusal(s3.part(place.key(), id, 1, bytes(4)))).toEqual(["NoSuchUpload", 404]);
  });

  it("may be aborted again, which tells that it isn't there", async () => {
    const [key, id] = [place.key(), "3ZSdYHyOGuf4.not-an-upload"];
    const again = outcome(
      s3.client.send(new AbortMultipartUploadCommand({ Bucket, Key: key, UploadId: id })),
      () => "ok",
    );
    expect(await again).toEqual(place.expected("Abort of an unknown upload", ["NoSuchUpload", 404]));
  });

  it("has parts up to number 10,000", async () => {
    const key = place.key();
    const id = await s3.begin(key);
    const last = await s3.part(key, id, 10_000, bytes(3));
    const more = await outcome(s3.part(key, id, 10_001, bytes(3)), () => "stored");
    expect(more).toEqual(place.expected("part 10,001", ["InvalidArgument", 400]));
    expect((await s3.complete(key, id, [last])).ChecksumSHA256).toBe(compositeChecksum([last.ChecksumSHA256]));
    expect(await s3.read(key)).toHaveLength(3);
  });

  it("does not replace an object when it must not", async () => {
    const key = place.key();
    await s3.put(key, "first");
    const id = await s3.begin(key);
    const parts = [await s3.part(key, id, 1, bytes(4))];
    const refused = s3.complete(key, id, parts, { IfNoneMatch: "*" });
    expect(await refusal(refused)).toEqual(["PreconditionFailed", 412]);
    expect((await s3.read(key)).toString()).toBe("first");
    await s3.client.send(new AbortMultipartUploadCommand({ Bucket, Key: key, UploadId: id }));
  });

  it("that is completed at the same time as others creates the object once", async () => {
    const key = place.key();
    const attempts = await Promise.all(
      [1, 2, 3].map(async (seed) => {
        const id = await s3.begin(key);
        return { id, body: bytes(4, seed), parts: [await s3.part(key, id, 1, bytes(4, seed))] };
      }),
    );
    const ends = await Promise.allSettled(
      attempts.map(({ id, parts }) => s3.complete(key, id, parts, { IfNoneMatch: "*" })),
    );
    const winners = attempts.filter((_, index) => ends[index]?.status === "fulfilled");
    expect(winners).toHaveLength(1);
    expect((await s3.read(key)).equals(winners[0]?.body as Buffer)).toBe(true);
    for (const end of ends)
      if (end.status === "rejected") expect([409, 412]).toContain(end.reason.$metadata.httpStatusCode);
  });

  it("keeps the last upload of a part", async () => {
    const key = place.key();
    const id = await s3.begin(key);
    const old = await s3.part(key, id, 1, bytes(4, 1));
    const fresh = await s3.part(key, id, 1, bytes(5, 2));
    await s3.part(key, id, 1, bytes(5, 2));
    expect(await refusal(s3.complete(key, id, [old]))).toEqual(["InvalidPart", 400]);
    await s3.complete(key, id, [fresh]);
    expect((await s3.read(key)).equals(bytes(5, 2))).toBe(true);
  });

  it("lists more than a thousand parts page by page, with their checksums", async () => {
    const key = place.key();
    const id = await s3.begin(key);
    const numbers = Array.from({ length: 1_005 }, (_, index) => index * 3 + 1);
    const waiting = numbers.slice();
    const work = async (): Promise<void> => {
      for (let number = waiting.pop(); number !== undefined; number = waiting.pop()) {
        await s3.part(key, id, number, bytes(number % 7, number));
      }
    };
    await Promise.all([work(), work(), work(), work()]);
    const input = { Bucket, Key: key, UploadId: id };
    const all: Part[] = [];
    for (let marker: string | undefined, pages = 1; ; pages++) {
      const page = await s3.client.send(new ListPartsCommand({ ...input, PartNumberMarker: marker }));
      if (pages === 1) expect(page.Parts?.length).toBe(place.expected("parts in a page", 1_000));
      all.push(...(page.Parts ?? []));
      expect(page.ChecksumAlgorithm).toBe("SHA256");
      if (!page.IsTruncated) break;
      marker = page.NextPartNumberMarker;
      expect(Number(marker)).toBe(all.at(-1)?.PartNumber);
    }
    expect(all.map(({ PartNumber, Size, ChecksumSHA256 }) => ({ PartNumber, Size, ChecksumSHA256 }))).toEqual(
      numbers.map((number) => ({
        PartNumber: number,
        Size: number % 7,
        ChecksumSHA256: sha256(bytes(number % 7, number)),
      })),
    );
    await s3.client.send(new AbortMultipartUploadCommand({ Bucket, Key: key, UploadId: id }));
  });

  it("is found by listing the open ones", async () => {
    const prefix = `${place.key()}/`;
    const ids = await Promise.all(["b", "a", "c"].map((name) => s3.begin(prefix + name)));
    const list = async (more: object): Promise<(readonly [string, string])[]> => {
      const input = { Bucket, Prefix: prefix, ...more };
      const { Uploads = [] } = await s3.client.send(new ListMultipartUploadsCommand(input));
      return Uploads.map(({ Key, UploadId }) => [Key as string, UploadId as string]);
    };
    const open = (name: string, i: number): readonly [string, string] => [prefix + name, ids[i] as string];
    const [a, b, c] = [open("a", 1), open("b", 0), open("c", 2)];
    expect(await list({})).toEqual(place.expected("open uploads under a folder", [a, b, c]));
    expect(await list({ MaxUploads: 2 })).toEqual(place.expected("open uploads under a folder", [a, b]));
    const after = { KeyMarker: `${prefix}b` };
    expect(await list(after)).toEqual(place.expected("open uploads under a folder", [c]));
    const behind = await outcome(list({ ...after, UploadIdMarker: ids[0] }), (found) => found);
    expect(behind).toEqual(place.expected("open uploads behind an upload", [c]));
    await s3.client.send(new AbortMultipartUploadCommand({ Bucket, Key: `${prefix}a`, UploadId: ids[1] }));
    expect(await list({})).toEqual(place.expected("open uploads under a folder", [b, c]));
  });
});
