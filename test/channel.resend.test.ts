import { randomBytes } from "node:crypto";
import { expect, it } from "vitest";
import { coded, rejection, Scene } from "./support/members.ts";

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
