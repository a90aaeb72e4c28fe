import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Cast, coded, eventually, parcel, rejection, Scene, watching } from "./support/members.ts";

// A whole Waybill that sweeps, as its members see it.

let scene: Scene;
let cast: Cast;
const { tag, dataStream } = parcel();
let notice = "";

beforeAll(async () => {
  scene = await Scene.start({ sweepEvery: 100, config: { retention: 0 } });
  cast = await scene.cast(3);
  const [from, to] = [cast.process(0), cast.process(1)];
  const onNotice = (event: { notice: string }): void => {
    notice = event.notice;
  };
  await Promise.all([
    from.channel.sendStream({ target: to.account, dataStream, tag, timeout: 15_000, onNotice }),
    to.channel.receiveStream({ source: from.account }),
  ]);
  await eventually(() => scene.requests.find(isSweep) ?? null);
});
afterAll(() => scene?.stop());

const isSweep = ({ operation, key }: { operation: string; key: string }): boolean =>
  operation === "DeleteObject" && key.startsWith("payload/");
const uploadsBegun = () => scene.requests.filter(({ operation }) => operation === "CreateMultipartUpload").length;

describe("a payload whose time is over is swept under local, too, and then", () => {
  it("is GONE for who has received it and asks again", async () => {
    expect(await rejection(cast.process(1).channel.receiveStream({ notice }))).toEqual(coded("GONE"));
  });

  it("needs not be sent again to who has verified it: the chain has the answer", async () => {
    const [begun, parts] = [uploadsBegun(), cast.uploads];
    const target = cast.accounts[1]!;
    expect(await cast.process(0).channel.sendStream({ target, tag, dataStream })).toBe(target);
    const other = { target, tag, dataStream: parcel().dataStream };
    expect(await rejection(cast.process(0).channel.sendStream(other))).toEqual(coded("CONFLICT"));
    const longer = { target, tag, dataStream: parcel(500).dataStream };
    expect(await rejection(cast.process(0).channel.sendStream(longer))).toEqual(coded("CONFLICT"));
    expect([uploadsBegun(), cast.uploads]).toEqual([begun, parts]);
  });

  it("is sent again to somebody else, under the same tag and with the same bytes only", async () => {
    const [target, source] = [cast.accounts[2]!, cast.accounts[0]!];
    const other = { target, tag, dataStream: parcel().dataStream };
    expect(await rejection(cast.process(0).channel.sendStream(other))).toEqual(coded("CONFLICT"));
    const [received, [, data]] = await Promise.all([
      cast.process(0).channel.sendStream({ target, tag, dataStream }),
      cast.process(2).channel.receiveStream({ source, tag }),
    ]);
    expect(received).toBe(target);
    expect(Buffer.compare(data, dataStream)).toBe(0);
  });

  it("which happens while its sender is about to give it to another, is sent again by that same call", async () => {
    const [target, source] = [cast.accounts[2]!, cast.accounts[0]!];
    const { tag, dataStream } = parcel();
    await Promise.all([
      cast.process(0).channel.sendStream({ target: cast.accounts[1]!, dataStream, tag, timeout: 15_000 }),
      cast.process(1).channel.receiveStream({ source, tag }),
    ]);
    const before = scene.requests.length;
    // It joins what is stored, and before it can publish a notice the payload is gone.
    const held = watching(async (path) => {
      if (path.endsWith("/finish")) await eventually(() => scene.requests.slice(before).find(isSweep) ?? null);
    });
    const [received, [, data]] = await Promise.all([
      cast.process(0, { fetch: held }).channel.sendStream({ target, tag, dataStream }),
      cast.process(2).channel.receiveStream({ source, tag }),
    ]);
    expect(received).toBe(target);
    expect(Buffer.compare(data, dataStream)).toBe(0);
  });
});
