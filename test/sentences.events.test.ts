import { Wallet } from "ethers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { coded, parcel, readings, rejection, Scene, signpost, watching } from "./support/members.ts";

// Design §8, "Events", and the refusals of "Only listed sources ...". Most of what handlers see and do is in
// channel.handlers.test.ts, what readers see in channel.test.ts, "messages".

let scene: Scene;
beforeAll(async () => {
  scene = await Scene.start();
});
afterAll(() => scene?.stop());

describe.each(readings)("%s", (_name, reading) => {
  it.concurrent("a handler's error after the receipt is out rejects the call with it, and the payload stays ready", async () => {
    const cast = await scene.cast(2, reading);
    const [alice, bob] = [cast.process(0), cast.process(1)];
    await bob.contractor.members();
    const { tag, dataStream } = parcel();
    const sent = alice.channel.sendStream({ target: bob.account, dataStream, tag });
    const [out, failed] = [signpost(), signpost()];
    const mine = new Error("mine");
    const fetch = watching((path) => {
      if (!path.endsWith("/receipts")) return undefined;
      out.reach();
      return failed.reached;
    });
    const recipient = cast.process(1, { fetch });
    await recipient.contractor.members();
    const received = rejection(
      recipient.channel.receiveStream({
        ...{ source: alice.account, tag },
        complementaryHandler: () => {
          setImmediate(failed.reach);
          throw mine;
        },
      }),
    );
    await out.reached;
    await alice.contractor.post({ kind: "stop", body: null });
    expect(await received).toBe(mine);
    const downloads = cast.downloads;
    const [, data] = await recipient.channel.receiveStream({ source: alice.account, tag });
    expect(Buffer.compare(data, dataStream)).toBe(0);
    expect(cast.downloads).toBe(downloads);
    expect(await sent).toBe(bob.account);
  });

  it.concurrent("notices and receipts don't wait for handlers: a payload comes through while one is stuck", async () => {
    const cast = await scene.cast(2, reading);
    const [alice, bob] = [cast.process(0), cast.process(1)];
    await bob.contractor.members();
    const [stuck, free] = [signpost(), signpost()];
    const { tag, dataStream } = parcel();
    const received = bob.channel.receiveStream({
      ...{ source: alice.account, tag },
      complementaryHandler: () => {
        stuck.reach();
        return free.reached;
      },
    });
    await alice.contractor.post({ kind: "hello", body: 1 });
    await stuck.reached;
    expect(await alice.channel.sendStream({ target: bob.account, dataStream, tag })).toBe(bob.account);
    expect(Buffer.compare((await received)[1], dataStream)).toBe(0);
    free.reach();
  });
});

it.concurrent("a roster change that another one overtook rejects with REFUSED_STATEMENT and the reason", async () => {
  const cast = await scene.cast(1);
  const [one, two] = [Wallet.createRandom().address, Wallet.createRandom().address];
  // Both are signed before either is relayed, so both are of one version of the roster.
  const both = signpost();
  let asked = 0;
  const fetch = watching((path) => {
    if (!path.endsWith("/roster")) return undefined;
    if (++asked === 2) both.reach();
    return both.reached;
  });
  const processes = [cast.process(0, { fetch }), cast.process(0, { fetch })] as const;
  const settled = await Promise.allSettled([
    processes[0].contractor.admit([one]),
    processes[1].contractor.admit([two]),
  ]);
  const reasons = settled.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
  expect(reasons).toEqual([coded("REFUSED_STATEMENT", { reason: "STALE_ROSTER" })]);
  const winner = settled[0]?.status === "fulfilled" ? one : two;
  const members = await cast.process(0).contractor.members();
  expect(members.map(({ account }) => account)).toEqual([cast.accounts[0], winner].map((id) => id!.toLowerCase()));
});

it("a message that is mined after its deadline is not posted, and the reason is told", async () => {
  const cast = await scene.cast(2);
  const { contractor } = cast.process(0);
  await contractor.members();
  const posting = await scene.withoutBlocks(async () => {
    const post = rejection(contractor.post({ kind: "hello", body: 1 }));
    await scene.pending(1);
    await scene.pass(700);
    return { post };
  });
  const error = await posting.post;
  expect(error).toEqual(coded("REFUSED_STATEMENT", { reason: "EXPIRED" }));
  expect(error).toMatchObject({ retryable: true });
});
