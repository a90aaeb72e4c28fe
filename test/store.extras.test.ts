/** What our store has beyond what Waybill relies on today: for the tools of others, and for parts that don't travel again. */
import { GetObjectAttributesCommand, GetObjectCommand, UploadPartCopyCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compositeChecksum } from "../lib/protocol/manifest.ts";
import { bytes, PART, refusal, sha256 } from "./support/s3.ts";
import { Place } from "./support/s3-place.ts";

let place: Place;
let s3: Place["s3"];
let Bucket: string;

beforeAll(async () => {
  place = await Place.open();
  ({ s3, bucket: Bucket } = place);
});
afterAll(() => place?.close());

describe("an object of parts", () => {
  const bodies = [bytes(PART, 1), bytes(PART + 1, 2), bytes(3, 3)];
  const whole = Buffer.concat(bodies);
  const composite = compositeChecksum(bodies.map(sha256));

  it("shows its attributes without the mark and its parts with their checksums", async () => {
    const key = place.key();
    const { ETag } = await s3.multipart(key, bodies);
    const names = ["ETag", "Checksum", "ObjectParts", "ObjectSize"] as const;
    const input = { Bucket, Key: key, ObjectAttributes: [...names] };
    const found = await s3.client.send(new GetObjectAttributesCommand(input));
    expect(found.ETag).toBe(ETag?.replaceAll('"', ""));
    expect(found.Checksum?.ChecksumSHA256).toBe(composite.split("-")[0]);
    expect(found.ObjectSize).toBe(whole.length);
    expect(found.ObjectParts?.TotalPartsCount).toBe(3);
    expect(found.ObjectParts?.Parts).toEqual(
      bodies.map((body, index) => ({ PartNumber: index + 1, Size: body.length, ChecksumSHA256: sha256(body) })),
    );
    const second = await s3.client.send(
      new GetObjectAttributesCommand({ ...input, PartNumberMarker: "1", MaxParts: 1 }),
    );
    expect(second.ObjectParts?.Parts?.map(({ PartNumber }) => PartNumber)).toEqual([2]);
    expect(second.ObjectParts?.IsTruncated).toBe(true);
  });

  it("gives a part by its number with that part's checksum", async () => {
    const key = place.key();
    await s3.multipart(key, bodies);
    const input = { Bucket, Key: key, PartNumber: 2, ChecksumMode: "ENABLED" } as const;
    const found = await s3.client.send(new GetObjectCommand(input));
    expect(found).toMatchObject({
      ContentLength: PART + 1,
      PartsCount: 3,
      ChecksumSHA256: sha256(bodies[1] as Buffer),
    });
    expect(Buffer.from((await found.Body?.transformToByteArray()) ?? []).equals(bodies[1] as Buffer)).toBe(true);
    expect((await refusal(s3.read(key, { PartNumber: 4 })))[1]).toBe(416);
  });

  it("is copied into parts of another, whole or a range, with their checksums", async () => {
    const [source, key] = [place.key(), place.key()];
    await s3.multipart(source, bodies);
    const id = await s3.begin(key);
    const to = { Bucket, Key: key, UploadId: id, CopySource: `${Bucket}/${source}` };
    const range = `bytes=${PART - 10}-${2 * PART}`;
    const one = await s3.client.send(new UploadPartCopyCommand({ ...to, PartNumber: 1, CopySourceRange: range }));
    const two = await s3.client.send(new UploadPartCopyCommand({ ...to, PartNumber: 2 }));
    const slice = whole.subarray(PART - 10, 2 * PART + 1);
    expect(one.CopyPartResult?.ChecksumSHA256).toBe(sha256(slice));
    const parts = [one, two].map(({ CopyPartResult: result }, index) => {
      return { PartNumber: index + 1, ETag: result?.ETag as string, ChecksumSHA256: result?.ChecksumSHA256 as string };
    });
    await s3.complete(key, id, parts);
    expect((await s3.read(key)).equals(Buffer.concat([slice, whole]))).toBe(true);
  });
});
