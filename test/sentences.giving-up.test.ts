import { Wallet } from "ethers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type NoticeEvent, SharedFileDataChannel, TaskContractor } from "../lib/index.ts";
import { coded, noticed, parcel, readings, rejection, Scene, signpost, standing, watching } from "./support/members.ts";

// Design §8, "Giving up".

let scene: Scene;
beforeAll(async () => {
  scene = await Scene.start();
});
afterAll(() => scene?.stop());

describe.each(readings)("%s", (_name, reading) => {
  it.concurrent("the signal withdraws what nobody has answered, and when it stands the call rejects with those who verified", async () => {
    const cast = await scene.cast(3, reading);
    const [alice, bob, carol] = cast.accounts as [string, string, string];
    const { tag, dataStream } = parcel();
    const end = new AbortController();
    const { onNotice, notice } = noticed();
    const verified = signpost();
    const { channel, contractor } = cast.process(0);
    const sent = rejection(
      channel.batchSendStream({
        ...{ target: [bob, carol], dataStream, tag, signal: end.signal, onNotice },
        onReceipt: verified.reach,
      }),
    );
    await cast.process(1).channel.receiveStream({ source: alice, tag });
    await verified.reached;
    end.abort(new Error("enough"));
    expect(await sent).toEqual(coded("ABORTED", { received: [bob] }));
    const { withdrawn, recipients } = await contractor.status((await notice).notice);
    expect(withdrawn).toBe(true);
    expect(recipients.map(({ state, outcome }) => [state, outcome])).toEqual([
      ["verified", "VERIFIED"],
      ["cleared", null],
    ]);
  });

  it.concurrent("only what this call published is withdrawn, not what it joined", async () => {
    const cast = await scene.cast(3, reading);
    const [alice, bob, carol] = cast.accounts as [string, string, string];
    const { tag, dataStream } = parcel();
    const first = noticed();
    const staying = cast.process(0).channel.sendStream({ target: bob, dataStream, tag, onNotice: first.onNotice });
    const { notice } = await first.notice;
    await standing(cast.process(0), notice);
    const end = new AbortController();
    const notices: NoticeEvent[] = [];
    const { channel, contractor } = cast.process(0);
    const both = signpost();
    const onNotice = (event: NoticeEvent): void => {
      if (notices.push(event) === 2) both.reach();
    };
    const order = { target: [carol, bob], dataStream, tag, signal: end.signal, onNotice };
    const leaving = rejection(channel.batchSendStream(order));
    await both.reached;
    end.abort();
    expect(await leaving).toEqual(coded("ABORTED", { received: [] }));
    expect(notices).toMatchObject([{ notice, joined: true }, { joined: false }]);
    expect(await contractor.status(notices[1]!.notice)).toMatchObject({ withdrawn: true });
    expect(await contractor.status(notice)).toMatchObject({ withdrawn: false });
    await cast.process(1).channel.receiveStream({ source: alice, tag });
    expect(await staying).toBe(bob);
  });
});

it.concurrent("each notice is withdrawn when there are several, one per page", async () => {
  const signer = Wallet.createRandom();
  const members = [signer, ...Array.from({ length: 105 }, () => Wallet.createRandom())].map(({ address }) => address);
  const { deployment } = scene.stack;
  const contractor = scene.adopt(await TaskContractor.open({ signer, members, deployment }));
  const end = new AbortController();
  const notices: string[] = [];
  const sent = new SharedFileDataChannel(contractor).batchSendStream({
    ...{ target: [members[1]!, members[105]!], ...parcel(), signal: end.signal },
    onNotice: ({ notice }) => notices.push(notice) === 2 && end.abort(),
  });
  expect(await rejection(sent)).toEqual(coded("ABORTED", { received: [] }));
  const states = await Promise.all(notices.map((notice) => contractor.status(notice)));
  expect(states.map(({ withdrawn }) => withdrawn)).toEqual([true, true]);
});

it.concurrent.each(["onNotice", "onReceipt"] as const)(
  "an early end is also what %s throws: the notice is withdrawn, and the call rejects with that error",
  async (callback) => {
    const cast = await scene.cast(3);
    const [alice, bob, carol] = cast.accounts as [string, string, string];
    const { tag, dataStream } = parcel();
    const mine = new Error("a bug of the caller's");
    const { onNotice, notice } = noticed();
    const { channel, contractor } = cast.process(0);
    const callbacks = {
      onNotice,
      [callback]: (event: NoticeEvent) => {
        if (callback === "onNotice") onNotice(event);
        throw mine;
      },
    };
    const sent = rejection(channel.batchSendStream({ target: [bob, carol], dataStream, tag, ...callbacks }));
    if (callback === "onReceipt") await cast.process(1).channel.receiveStream({ source: alice, tag });
    expect(await sent).toBe(mine);
    const { withdrawn, recipients } = await contractor.status((await notice).notice);
    expect(withdrawn).toBe(true);
    expect(recipients.map(({ state }) => state)).toEqual([
      callback === "onReceipt" ? "verified" : "cleared",
      "cleared",
    ]);
  },
);

it.concurrent("before finish nothing is published, so nothing is withdrawn, and the next call goes on", async () => {
  const cast = await scene.cast(2);
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const end = new AbortController();
  const paths: string[] = [];
  const fetch = watching((path) => {
    paths.push(path);
    if (path.endsWith("/finish")) end.abort();
  });
  const order = { target: bob, dataStream, tag };
  const sent = cast.process(0, { fetch }).channel.sendStream({ ...order, signal: end.signal });
  expect(await rejection(sent)).toEqual(coded("ABORTED", { received: [] }));
  expect(paths.filter((path) => path.endsWith("/withdrawals"))).toEqual([]);
  const { onNotice, notice } = noticed();
  const [again] = await Promise.all([
    cast.process(0).channel.sendStream({ ...order, onNotice }),
    cast.process(1).channel.receiveStream({ source: alice, tag }),
  ]);
  expect(again).toBe(bob);
  expect(await notice).toMatchObject({ joined: false });
});

it.concurrent("a notice that is out although its answer was lost is withdrawn too", async () => {
  const cast = await scene.cast(2);
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const end = new AbortController();
  let finishes = 0;
  // The finish that carries the notice reaches the functions; what they answer does not come back any more.
  const fetch: typeof globalThis.fetch = async (input, init) => {
    const response = await globalThis.fetch(input, init);
    if (!String(input).endsWith("/finish") || ++finishes < 2) return response;
    end.abort();
    throw new TypeError("fetch failed");
  };
  const sent = cast.process(0, { fetch }).channel.sendStream({ target: bob, dataStream, tag, signal: end.signal });
  expect(await rejection(sent)).toEqual(coded("ABORTED", { received: [] }));
  const late = cast.process(1).channel.receiveStream({ source: alice, tag, timeout: 1_000 });
  expect(await rejection(late)).toEqual(coded("TIMEOUT"));
});
