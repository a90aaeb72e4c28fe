import { mkdtemp, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Wallet } from "ethers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Address, type NoticeEvent, SharedFileDataChannel, TaskContractor } from "../lib/index.ts";
import { bitmapOf, type Notice, noticeId, signStatement } from "../lib/protocol/statements.ts";
import {
  coded,
  eventually,
  isOpen,
  noticed,
  parcel,
  readings,
  rejection,
  Scene,
  signpost,
  standing,
} from "./support/members.ts";

// Design §8, "Tag" and "Only listed sources". What a tag joins, and what it refuses, is in channel.test.ts:
// "is joined under its tag ...", "takes the oldest open notice of a listed source ..." and "two notices of one transfer".

let scene: Scene;
let dir: string;
beforeAll(async () => {
  scene = await Scene.start();
  dir = await mkdtemp(join(tmpdir(), "waybill-test-tag-"));
});
afterAll(async () => {
  await scene?.stop();
  await rm(dir, { recursive: true, force: true });
});

describe.each(readings)("%s", (_name, reading) => {
  it.concurrent("a restarted aggregator doesn't send a model twice, and gets the receipts", async () => {
    const cast = await scene.cast(3, reading);
    const [, bob, carol] = cast.accounts as [string, string, string];
    const { tag, dataStream } = parcel();
    const model = { target: [bob, carol], dataStream, tag };
    const died = cast.process(0);
    const { onNotice, notice } = noticed();
    const cutOff = rejection(died.channel.batchSendStream({ ...model, onNotice }));
    await cast.process(1).channel.receiveStream({ source: cast.accounts[0]!, tag });
    await died.contractor.close();
    expect(await cutOff).toEqual(coded("ABORTED"));

    const uploads = cast.uploads;
    const joined: NoticeEvent[] = [];
    const [received, [, data]] = await Promise.all([
      cast.process(0).channel.batchSendStream({ ...model, onNotice: (event) => joined.push(event) }),
      cast.process(2).channel.receiveStream({ source: cast.accounts[0]!, tag }),
    ]);
    expect(received).toEqual([bob, carol]);
    expect(joined).toEqual([{ ...(await notice), joined: true }]);
    expect(Buffer.compare(data, dataStream)).toBe(0);
    expect(cast.uploads).toBe(uploads);
  });

  it.concurrent("a straggler's round 7 never lands in round 8", async () => {
    const cast = await scene.cast(2, reading);
    const [alice, bob] = cast.accounts as [string, string];
    const aggregator = cast.process(0);
    const owner = cast.process(1);
    const missed = aggregator.channel.receiveStream({ source: bob, tag: "round-7/update", timeout: 1_000 });
    await expect(missed).rejects.toThrow(coded("TIMEOUT"));
    const { onNotice, notice } = noticed();
    const update = (round: number) => ({
      target: alice,
      dataStream: Buffer.from(`${round}`),
      tag: `round-${round}/update`,
    });
    const end = new AbortController();
    const late = rejection(owner.channel.sendStream({ ...update(7), onNotice, signal: end.signal }));
    await standing(aggregator, (await notice).notice);
    const [sent, [, data]] = await Promise.all([
      owner.channel.sendStream(update(8)),
      aggregator.channel.receiveStream({ source: bob, tag: "round-8/update" }),
    ]);
    expect([sent, String(Buffer.from(data))]).toEqual([alice, "8"]);
    const { recipients } = await aggregator.contractor.status((await notice).notice);
    expect(recipients).toMatchObject([{ state: "outstanding" }]);
    end.abort();
    expect(await late).toEqual(coded("ABORTED", { received: [] }));
  });

  it.concurrent("of two rounds that overlap, each call gets its own, in whatever order it asks", async () => {
    const cast = await scene.cast(3, reading);
    const [alice, bob, carol] = cast.accounts as [string, string, string];
    const [source, one, two] = [cast.process(0), cast.process(1), cast.process(2)];
    const rounds = ["round-1/model", "round-2/model"].map((tag) =>
      source.channel.batchSendStream({ target: [bob, carol], dataStream: Buffer.from(tag), tag }),
    );
    const tags: string[] = [];
    const take = async (process: typeof one, tag: string) =>
      tags.push(`${tag} ${Buffer.from((await process.channel.receiveStream({ source: alice, tag }))[1])}`);
    await take(one, "round-2/model");
    await Promise.all([take(one, "round-1/model"), take(two, "round-1/model"), take(two, "round-2/model")]);
    expect(tags.every((line) => line.split(" ")[0] === line.split(" ")[1])).toBe(true);
    expect(await Promise.all(rounds)).toEqual([
      [bob, carol],
      [bob, carol],
    ]);
  });
});

it.concurrent("the same pair twice in a row: without tags, each call gets the next payload", async () => {
  const cast = await scene.cast(2);
  const [alice, bob] = cast.accounts as [string, string];
  const [sender, recipient] = [cast.process(0), cast.process(1)];
  for (const text of ["first", "second", "second"]) {
    const [sent, [from, data]] = await Promise.all([
      sender.channel.sendStream({ target: bob, dataStream: Buffer.from(text) }),
      recipient.channel.receiveStream({ source: alice }),
    ]);
    expect([sent, from, String(Buffer.from(data))]).toEqual([bob, alice, text]);
  }
});

it.concurrent("two peers that both send before they receive both get there", async () => {
  const cast = await scene.cast(2);
  const peers = [cast.process(0), cast.process(1)] as const;
  const sending = peers.map(async (peer, i) => {
    const { onNotice, notice } = noticed();
    const target = cast.accounts[1 - i]!;
    const sent = peer.channel.sendStream({ target, dataStream: Buffer.from(`from ${i}`), tag: "swap", onNotice });
    await standing(peer, (await notice).notice);
    return { sent };
  });
  const sent = await Promise.all(sending); // both notices stand before anybody receives
  const received = await Promise.all(
    peers.map((peer, i) => peer.channel.receiveStream({ source: cast.accounts[1 - i]!, tag: "swap" })),
  );
  expect(received.map(([, data]) => String(Buffer.from(data)))).toEqual(["from 1", "from 0"]);
  expect(await Promise.all(sent.map((one) => one.sent))).toEqual([cast.accounts[1], cast.accounts[0]]);
});

it.concurrent("one notice goes to one call: of two that wait for one source, the other waits on", async () => {
  const cast = await scene.cast(2);
  const [alice, bob] = cast.accounts as [string, string];
  const { channel } = cast.process(1);
  const calls = [1, 2].map(() => channel.receiveStream({ source: alice }));
  const sender = cast.process(0);
  await sender.channel.sendStream({ target: bob, dataStream: Buffer.from("one") });
  const [, first] = await Promise.race(calls);
  const open = await Promise.all(calls.map(isOpen));
  expect(open.toSorted()).toEqual([false, true]);
  await sender.channel.sendStream({ target: bob, dataStream: Buffer.from("two") });
  const all = await Promise.all(calls);
  expect(String(Buffer.from(first))).toBe("one");
  expect(all.map(([, data]) => String(Buffer.from(data))).toSorted()).toEqual(["one", "two"]);
});

it.concurrent("a late joiner gets the same payload under the same tag: a notice to it only, and no second upload", async () => {
  const cast = await scene.cast(2);
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const sender = cast.process(0);
  await Promise.all([
    sender.channel.sendStream({ target: bob, dataStream, tag }),
    cast.process(1).channel.receiveStream({ source: alice, tag }),
  ]);
  const uploads = cast.uploads;
  const signer = Wallet.createRandom();
  await sender.contractor.admit([signer.address]);
  const late = scene.adopt(new TaskContractor({ task: cast.task, signer, deployment: scene.stack.deployment }));
  const notices: NoticeEvent[] = [];
  const onNotice = (event: NoticeEvent): void => void notices.push(event);
  const [received, [, data]] = await Promise.all([
    sender.channel.batchSendStream({ target: [bob, signer.address], dataStream, tag, onNotice }),
    new SharedFileDataChannel(late).receiveStream({ source: alice, tag }),
  ]);
  expect(received).toEqual([bob, signer.address]);
  expect(Buffer.compare(data, dataStream)).toBe(0);
  expect(cast.uploads).toBe(uploads);
  const fresh = notices.filter(({ joined }) => !joined);
  expect(fresh).toHaveLength(1);
  const { recipients } = await sender.contractor.status(fresh[0]!.notice);
  expect(recipients.map(({ account }) => account)).toEqual([signer.address.toLowerCase()]);
});

it.concurrent.each([
  ["VERIFIED", {}],
  ["TOO_LARGE", { maxBytes: 1 }],
] as const)("all open notices of one transfer are one delivery, and %s is signed for each", async (outcome, limits) => {
  const cast = await scene.cast(2);
  const [alice, bob] = cast.accounts as [string, string];
  const { onNotice, notice } = noticed();
  const { tag, dataStream } = parcel();
  const sent = cast.process(0).channel.sendStream({ target: bob, dataStream, tag, onNotice });
  const recipient = cast.process(1);
  const first = (await standing(recipient, (await notice).notice)).notice;
  const second = await cast.copyNotice(0, first, { later: 100 });
  await standing(recipient, second);
  const received = recipient.channel.receiveStream({ source: alice, tag, ...limits });
  if (outcome === "VERIFIED") await received;
  else await expect(received).rejects.toThrow(coded(outcome));
  expect(await sent).toBe(outcome === "VERIFIED" ? bob : null);
  for (const id of [first, second])
    await eventually(async () => {
      const { recipients } = await recipient.contractor.status(id);
      return recipients[0]?.outcome === outcome || null;
    });
  expect(cast.downloads).toBe(outcome === "VERIFIED" ? 1 : 0);
});

it.concurrent("an answer to a later notice that did not get out is given again, however often it takes", async () => {
  const cast = await scene.cast(2);
  const [alice, bob] = cast.accounts as [string, string];
  const { onNotice, notice } = noticed();
  const { tag, dataStream } = parcel();
  const got = signpost();
  let outage = 7; // one call of the API's client makes 5 tries
  const fetch: typeof globalThis.fetch = async (input, init) => {
    if (!String(input).endsWith("/receipts")) return globalThis.fetch(input, init);
    outage -= 1;
    if (outage >= 0) throw new TypeError("fetch failed");
    got.reach();
    return globalThis.fetch(input, init);
  };
  const sending = cast.process(0).channel.sendStream({ target: bob, dataStream, tag, onNotice });
  await cast.process(1).channel.receiveStream({ source: alice, tag });
  await sending;
  const later = await cast.copyNotice(0, (await notice).notice, { later: 60 });
  const recipient = cast.process(1, { fetch });
  const end = new AbortController();
  const waiting = rejection(recipient.channel.receiveStream({ source: alice, signal: end.signal }));
  await got.reached;
  await eventually(async () => (await recipient.contractor.status(later)).recipients[0]?.state === "verified" || null);
  end.abort();
  expect(await waiting).toEqual(coded("ABORTED"));
});

it.concurrent("the same transfer with another digest is answered REFUSED, and goes to no call", async () => {
  const cast = await scene.cast(2);
  const [alice, bob] = cast.accounts as [string, string];
  const { onNotice, notice } = noticed();
  const { tag, dataStream } = parcel();
  const answers = new Map<string, string>(); // a try that is repeated says the same
  let lags = true;
  const fetch: typeof globalThis.fetch = async (input, init) => {
    if (!String(input).endsWith("/receipts")) return globalThis.fetch(input, init);
    const said = JSON.parse(Buffer.from(init!.body as Uint8Array).toString()) as { notice: string; outcome: string };
    if (said.outcome === "REFUSED" && lags) {
      lags = false; // a node behind the API may not know yet that somebody was admitted again
      return Response.json({ code: "EXPELLED", detail: "so it is said" }, { status: 403 });
    }
    answers.set(said.notice, said.outcome);
    return globalThis.fetch(input, init);
  };
  const recipient = cast.process(1, { fetch });
  await Promise.all([
    cast.process(0).channel.sendStream({ target: bob, dataStream, tag, onNotice }),
    recipient.channel.receiveStream({ source: alice, tag }),
  ]);
  // The functions bind a transfer to one digest and know of no other notice; a sender that relays for itself need not.
  const { transfer, deadline } = await recipient.contractor.status((await notice).notice);
  const other: Notice = {
    ...{ kind: "notice", task: cast.task, sender: alice.toLowerCase() as Address, page: 0, transfer, deadline },
    ...{ recipients: bitmapOf([1]), manifest: `0x${"12".repeat(32)}` },
  };
  await scene.relay(await signStatement(cast.wallets[0]!, scene.stack.deployment, other));
  const end = new AbortController();
  const waiting = rejection(recipient.channel.receiveStream({ source: alice, signal: end.signal }));
  await eventually(() => answers.size === 2 || null);
  expect([...answers]).toEqual([
    [(await notice).notice, "VERIFIED"],
    [noticeId(other), "REFUSED"],
  ]);
  end.abort();
  expect(await waiting).toEqual(coded("ABORTED"));
  expect(cast.downloads).toBe(1);
  expect(lags).toBe(false);
});

it.concurrent("an existing target file that matches the manifest is received: nothing is fetched, the receipt goes out", async () => {
  const cast = await scene.cast(2);
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const path = join(dir, "here already");
  await writeFile(path, dataStream);
  await utimes(path, 1, 1);
  const [sent, received] = await Promise.all([
    cast.process(0).channel.sendStream({ target: bob, dataStream, tag }),
    cast.process(1).channel.receiveStream({ source: alice, tag, to: { path } }),
  ]);
  expect([sent, received]).toEqual([bob, [alice, path]]);
  expect((await stat(path)).mtimeMs).toBe(1_000);
  expect(cast.downloads).toBe(0);
});

it("an expired notice is re-published over the same transfer without a new upload", async () => {
  const cast = await scene.cast(2, { ownNode: true });
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const sender = cast.process(0);
  const first = noticed();
  const nobody = sender.channel.sendStream({ target: bob, dataStream, tag, timeout: 60_000, onNotice: first.onNotice });
  await standing(sender, (await first.notice).notice);
  await scene.pass(61);
  expect(await nobody).toBeNull();
  const uploads = cast.uploads;
  const second = noticed();
  const [sent, [, data]] = await Promise.all([
    sender.channel.sendStream({ target: bob, dataStream, tag, timeout: 60_000, onNotice: second.onNotice }),
    cast.process(1).channel.receiveStream({ source: alice, tag }),
  ]);
  expect(sent).toBe(bob);
  expect(Buffer.compare(data, dataStream)).toBe(0);
  expect(cast.uploads).toBe(uploads);
  expect(await second.notice).toMatchObject({ joined: false });
  expect((await second.notice).notice).not.toBe((await first.notice).notice);
});
