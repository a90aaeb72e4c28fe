import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SharedFileDataChannel, TaskContractor } from "../lib/index.ts";
import { coded, noticed, parcel, readings, rejection, Scene, signpost, standing, watching } from "./support/members.ts";

// Design §8, "Who counts". More in channel.test.ts: "an expulsion" (a recipient that was expelled before it verified, during
// the upload or after; a waiting receive; the expelled sender's next call), and in its "bad input" sending to oneself.

let scene: Scene;
beforeAll(async () => {
  scene = await Scene.start();
});
afterAll(() => scene?.stop());

describe.each(readings)("%s", (_name, reading) => {
  it.concurrent("who verified counts, even if expelled since; who is expelled after that answered nothing fails at once", async () => {
    const cast = await scene.cast(3, reading);
    const [alice, bob, carol] = cast.accounts as [string, string, string];
    const { tag, dataStream } = parcel();
    const { contractor, channel } = cast.process(0);
    const order = { target: [bob, carol], dataStream, tag, ensureAllSucc: true };
    const sent = rejection(channel.batchSendStream(order));
    await cast.process(1).channel.receiveStream({ source: alice, tag });
    await contractor.expel([bob, carol]);
    expect(await sent).toEqual(coded("NOT_ALL_RECEIVED", { received: [bob], failed: { [carol]: "EXPELLED" } }));
  });

  it.concurrent("a recipient whose index is no longer the notice's bit fails at once, and gets the payload under its new one", async () => {
    const cast = await scene.cast(2, reading);
    const [alice, bob] = cast.accounts as [string, string];
    const { tag, dataStream } = parcel();
    const { contractor, channel } = cast.process(0);
    const { onNotice, notice } = noticed();
    const sent = rejection(channel.sendStream({ target: bob, dataStream, tag, ensureAllSucc: true, onNotice }));
    await standing(cast.process(0), (await notice).notice);
    await contractor.expel([bob]);
    await contractor.admit([bob]);
    expect(await sent).toEqual(coded("NOT_ALL_RECEIVED", { failed: { [bob]: "EXPELLED" } }));
    const uploads = cast.uploads;
    const recipient = cast.process(1);
    const [again, [, data]] = await Promise.all([
      channel.sendStream({ target: bob, dataStream, tag }),
      recipient.channel.receiveStream({ source: alice, tag }),
    ]);
    expect(again).toBe(bob);
    expect(Buffer.compare(data, dataStream)).toBe(0);
    expect(cast.uploads).toBe(uploads);
    expect((await recipient.contractor.members()).filter(({ account }) => account === bob.toLowerCase())).toMatchObject(
      [
        { index: 1, active: false },
        { index: 2, active: true },
      ],
    );
  });

  it.concurrent("the sender of a waiting call that is expelled gets NOT_MEMBER", async () => {
    const cast = await scene.cast(3, reading);
    const [, bob, carol] = cast.accounts as [string, string, string];
    const owner = cast.process(0);
    const { tag, dataStream } = parcel();
    const { onNotice, notice } = noticed();
    const sent = rejection(cast.process(1).channel.sendStream({ target: carol, dataStream, tag, onNotice }));
    await standing(owner, (await notice).notice);
    await owner.contractor.expel([bob]);
    expect(await sent).toEqual(coded("NOT_MEMBER"));
  });
});

it.concurrent("cleared by a withdrawal counts as withdrawn, for a call of the same sender that had joined the notice", async () => {
  const cast = await scene.cast(2);
  const [, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const end = new AbortController();
  const order = { target: bob, dataStream, tag, ensureAllSucc: true };
  const [first, second] = [noticed(), noticed()];
  const giving = rejection(
    cast.process(0).channel.sendStream({ ...order, signal: end.signal, onNotice: first.onNotice }),
  );
  await first.notice;
  const joining = rejection(cast.process(0).channel.sendStream({ ...order, onNotice: second.onNotice }));
  expect(await second.notice).toMatchObject({ joined: true });
  end.abort();
  expect(await giving).toEqual(coded("ABORTED", { received: [] }));
  expect(await joining).toEqual(coded("NOT_ALL_RECEIVED", { failed: { [bob]: "WITHDRAWN" } }));
});

it.concurrent("cleared by an answer counts as rejected: null, and with ensureAllSucc the reason", async () => {
  const cast = await scene.cast(2);
  const [alice, bob] = cast.accounts as [string, string];
  const sender = cast.process(0);
  for (const ensureAllSucc of [false, true]) {
    const { tag, dataStream } = parcel();
    const [sent] = await Promise.allSettled([
      sender.channel.sendStream({ target: bob, dataStream, tag, ensureAllSucc }),
      cast.process(1).channel.receiveStream({ source: alice, tag, maxBytes: 1 }),
    ]);
    if (!ensureAllSucc) expect(sent).toEqual({ status: "fulfilled", value: null });
    else
      expect(sent).toEqual({
        status: "rejected",
        reason: coded("NOT_ALL_RECEIVED", { received: [], failed: { [bob]: "TOO_LARGE" } }),
      });
  }
});

it.concurrent("an expelled source's open notice goes to no call", async () => {
  const cast = await scene.cast(3);
  const [alice, bob, carol] = cast.accounts as [string, string, string];
  const owner = cast.process(0);
  const [asked, both] = [signpost(), signpost()];
  let holding = false;
  // The waiting call sees nothing before the notice and the expulsion both stand.
  const fetch: typeof globalThis.fetch = async (input, init) => {
    if (holding && String(input).includes("/events?after=")) {
      asked.reach();
      await both.reached;
    }
    return globalThis.fetch(input, init);
  };
  const waiting = cast.process(2, { fetch });
  await waiting.contractor.members();
  holding = true;
  const received = waiting.channel.receiveStream({ source: [bob, alice] });
  await asked.reached;
  const { onNotice, notice } = noticed();
  const sent = rejection(cast.process(1).channel.sendStream({ target: carol, ...parcel(), onNotice }));
  await standing(owner, (await notice).notice);
  await owner.contractor.expel([bob]);
  both.reach();
  expect(await sent).toEqual(coded("NOT_MEMBER"));
  expect(await owner.channel.sendStream({ target: carol, ...parcel() })).toBe(carol);
  expect((await received)[0]).toBe(alice);
  expect(cast.downloads).toBe(1);
});

it.concurrent("unless my receipt is out: what is verified and kept is still given to the next call for its source", async () => {
  const cast = await scene.cast(3);
  const [, bob] = cast.accounts as [string, string];
  const owner = cast.process(0);
  const end = new AbortController();
  const { tag, dataStream } = parcel();
  const sent = cast.process(1).channel.sendStream({ target: cast.accounts[2]!, dataStream, tag });
  const fetch = watching((path) => path.endsWith("/receipts") && end.abort());
  const recipient = cast.process(2, { fetch });
  await expect(recipient.channel.receiveStream({ source: bob, tag, signal: end.signal })).rejects.toThrow(
    coded("ABORTED"),
  );
  expect(await sent).toBe(cast.accounts[2]);
  await owner.contractor.expel([bob]);
  const [from, data] = await recipient.channel.receiveStream({ source: bob, tag });
  expect([from, Buffer.compare(data, dataStream)]).toEqual([bob, 0]);
  await expect(recipient.channel.receiveStream({ source: bob, tag })).rejects.toThrow(coded("NOT_MEMBER"));
});

it.concurrent("an owner that wants to post or send admits itself", async () => {
  const cast = await scene.cast(3);
  const [signer, bob] = cast.wallets;
  const { deployment } = scene.stack;
  const members = cast.accounts.slice(1);
  const contractor = scene.adopt(await TaskContractor.open({ signer: signer!, members, deployment }));
  const channel = new SharedFileDataChannel(contractor);
  const order = { target: members[0]!, ...parcel() };
  await expect(contractor.post({ kind: "hello", body: 1 })).rejects.toThrow(coded("NOT_MEMBER"));
  await expect(channel.sendStream(order)).rejects.toThrow(coded("NOT_MEMBER"));
  await contractor.admit([cast.accounts[0]!]);
  await contractor.post({ kind: "hello", body: 1 });
  const recipient = new TaskContractor({ task: contractor.task, signer: bob!, deployment });
  scene.adopt(recipient);
  const [sent] = await Promise.all([
    channel.sendStream(order),
    new SharedFileDataChannel(recipient).receiveStream({ source: cast.accounts[0]! }),
  ]);
  expect(sent).toBe(members[0]);
});

it("who does not answer until the deadline is null, and a batch gives those who verified", async () => {
  const cast = await scene.cast(3, { ownNode: true });
  const [alice, bob, carol] = cast.accounts as [string, string, string];
  const order = { target: [bob, carol], timeout: 60_000 };
  const { channel } = cast.process(0);
  for (const ensureAllSucc of [false, true]) {
    const { tag, dataStream } = parcel();
    const sent = channel.batchSendStream({ ...order, dataStream, tag, ensureAllSucc });
    const settled = Promise.allSettled([sent]);
    const one = cast.process(1);
    await one.channel.receiveStream({ source: alice, tag });
    await scene.pass(61);
    const [result] = await settled;
    if (!ensureAllSucc) expect(result).toEqual({ status: "fulfilled", value: [bob] });
    else
      expect(result).toMatchObject({
        reason: coded("NOT_ALL_RECEIVED", { received: [bob], failed: { [carol]: "TIMEOUT" } }),
      });
  }
});
