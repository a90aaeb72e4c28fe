import { createReadStream } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { expect, it } from "vitest";
import { sourceOf } from "../lib/transfer/source.ts";

const buffer = (): Uint8Array => new Uint8Array(16);

it("a stream that fails before or while it is read is a typed error, and ends no process", async () => {
  const source = await sourceOf(createReadStream("/no/such/file"));
  await delay(50); // the stream has failed by now, and nobody has read it
  const reader = await source.open();
  await expect(reader.next(16, buffer)).rejects.toMatchObject({ code: "SOURCE_MISSING", cause: { code: "ENOENT" } });

  async function* breaking(): AsyncGenerator<Uint8Array> {
    yield new Uint8Array(8);
    throw new Error("the disk is gone");
  }
  const half = await (await sourceOf(breaking())).open();
  await expect(half.next(16, buffer)).rejects.toMatchObject({
    code: "SOURCE_MISSING",
    message: expect.stringContaining("the disk is gone"),
  });
});
