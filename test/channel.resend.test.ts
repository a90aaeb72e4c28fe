import { createHash, randomBytes } from "node:crypto";
import { expect, it } from "vitest";
import { transferId } from "../lib/protocol/manifest.ts";
import { type Cast, coded, rejection, Scene, watching } from "./support/members.ts";

/** Says once, instead of the server, that the store has not these parts as they should be. */
function notStored(parts: readonly number[]): typeof fetch {
  let said = false;
  return async (input, init) => {
    if (said || !String(input).endsWith("/finish")) return fetch(input, init);
    said = true;
    const problem = { code: "NOT_STORED", detail: "The store lacks parts.", parts };
    return new Response(JSON.stringify(problem), { status: 409 });
  };
}

it("parts that finish calls wrong are sent again, though the store lists them; a stream must be sent anew", async () => {
  const scene = await Scene.start();
  try {
    const cast = await scene.cast(2);
    const [target, me] = [cast.accounts[1]!, cast.process(1)];
    const dataStream = randomBytes(11 * 2 ** 20);
    const options = { target, dataStream, tag: "parts", partSize: 5 * 2 ** 20 };
    const [sent, [, data]] = await Promise.all([
      cast.process(0, { fetch: notStored([2]) }).channel.sendStream(options),
      me.channel.receiveStream({ source: cast.accounts[0]! }),
    ]);
    expect(sent).toBe(target);
    expect(Buffer.compare(data, dataStream)).toBe(0);
    expect(cast.uploads).toBe(3 + 1);
    const stream = cast.process(0, { fetch: notStored([1]) }).channel.sendStream({
      ...{ target, dataStream: new Blob([dataStream]).stream(), tag: "stream" },
    });
    const error = await rejection(stream);
    expect(error).toEqual(coded("NOT_STORED"));
    expect(error).toMatchObject({ retryable: true });
  } finally {
    await scene.stop();
  }
});

/** Another process of the same sender, with other bytes, is faster with one part. */
async function putOther(cast: Cast, tag: string, number: number, bytes: Buffer): Promise<void> {
  const sha256 = createHash("sha256").update(bytes).digest("base64");
  const { urls } = await cast.api(0).signParts(cast.task, transferId(tag), [{ number, length: bytes.length, sha256 }]);
  const { url, headers } = urls[0]!;
  const sent = new Headers(headers);
  sent.delete("content-length"); // fetch sets it
  expect((await fetch(url, { method: "PUT", headers: sent, body: new Uint8Array(bytes) })).status).toBe(200);
}

it("a part that another process has stored with other bytes is found and sent again, three times, then it is CONFLICT", async () => {
  const scene = await Scene.start();
  try {
    const cast = await scene.cast(2);
    const [target, me] = [cast.accounts[1]!, cast.process(1)];
    const part = 5 * 2 ** 20;
    const dataStream = randomBytes(2 * part + 5);
    let left = 3;
    const fetch = (tag: string) =>
      watching(async (path) => {
        if (path.endsWith("/finish") && left-- > 0) await putOther(cast, tag, 2, randomBytes(part));
      });
    const [sent, [, data]] = await Promise.all([
      cast.process(0, { fetch: fetch("thrice") }).channel.sendStream({
        target,
        dataStream,
        tag: "thrice",
        partSize: part,
      }),
      me.channel.receiveStream({ source: cast.accounts[0]! }),
    ]);
    expect(sent).toBe(target);
    expect(Buffer.compare(data, dataStream)).toBe(0);
    expect(cast.uploads).toBe(3 + 3 * 2);
    left = 4;
    const fourTimes = cast.process(0, { fetch: fetch("four times") }).channel.sendStream({
      target,
      dataStream,
      tag: "four times",
      partSize: part,
    });
    expect(await rejection(fourTimes)).toEqual(coded("CONFLICT"));
  } finally {
    await scene.stop();
  }
});
