import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DEFAULT_CAPS } from "../functions/config.ts";
import { manifestKey, payloadKey, recordKey } from "../functions/keys.ts";
import { Records, type TransferRecord } from "../functions/records.ts";
import { DEFAULT_PART_SIZE, GiB, LARGE_PART_SIZE, MiB } from "../lib/protocol/limits.ts";
import { transferId } from "../lib/protocol/manifest.ts";
import { type Notice, noticeId, type Signed, signStatement, statementId } from "../lib/protocol/statements.ts";
import { beginAnswer, finishAnswer, partsAnswer, storedPartsAnswer } from "../lib/protocol/wire.ts";
import {
  ApiWorld,
  type Caller,
  decoded,
  encoded,
  expectStatus,
  type Payload,
  payloadOf,
  type Recipient,
} from "./support/api.ts";
import { addressOf, DAY, newKey, type Task } from "./support/contract.ts";

// Begin, parts, finish, abort and what the bucket holds after each.

let api: ApiWorld;
let task: Task;
let sender: Caller;
let records: Records;
let tag: string;
let made = 0;

beforeAll(async () => {
  api = await ApiWorld.start({ blockTime: 2_000 }); // so that a second ahead is too little
  task = await api.task(4);
  sender = api.caller(task.members[0]!);
  records = new Records(api.deps.store);
});
afterAll(() => api?.stop());
beforeEach(() => {
  tag = `round-${++made}/model`;
  api.seen.length = 0;
});

const refOf = (transfer = transferId(tag)) => ({ task: task.id, sender: sender.account, transfer });
const record = async (): Promise<TransferRecord> => (await records.read(refOf()))!.record;
const change = async (over: Partial<TransferRecord>): Promise<void> => {
  const { record: current, etag } = (await records.read(refOf()))!;
  expect(await records.replace(refOf(), etag, { ...current, ...over })).toBe(true);
};
const path = (action = "") => `/v1/tasks/${task.id}/transfers/${transferId(tag)}${action}`;
const finish = (body: object) => sender.post(path("/finish"), body);
const operations = (name: string) => api.seen.filter(({ operation }) => operation === name).length;
const openUploads = () => api.deps.store.countUploads(payloadKey(refOf()), 10);

describe("begin", () => {
  it("answers the plan and the part URLs that were asked for", async () => {
    const bytes = randomBytes(40);
    const payload = payloadOf(tag, bytes, 16, "application/x-weights");
    const more = { partSize: 16, contentType: "application/x-weights", parts: payload.parts };
    const begun = await sender.begin(task, tag, 40, more);
    expect(begun).toMatchObject({ state: "open", size: 40, partSize: 16, contentType: "application/x-weights" });
    expect(begun.urls.map(({ number }) => number)).toEqual([1, 2, 3]);
    expect(begun.head.timestamp).toBe(await api.world.now());
    for (const { url, headers, number } of begun.urls) {
      expect(headers["x-amz-checksum-sha256"]).toBe(payload.parts[number - 1]!.sha256);
      expect(new URL(url).searchParams.get("X-Amz-SignedHeaders")).toBe("content-length;host;x-amz-checksum-sha256");
      expect(url).not.toContain(encodeURIComponent(payload.parts[number - 1]!.sha256));
    }
  });

  it("answers the usual part sizes when none is asked for", async () => {
    expect((await sender.begin(task, tag, 10)).partSize).toBe(DEFAULT_PART_SIZE);
    expect((await sender.begin(task, `${tag}/large`, 5 * GiB)).partSize).toBe(LARGE_PART_SIZE);
    expect((await sender.begin(task, `${tag}/stream`, null)).partSize).toBe(16 * MiB);
  });

  it("joins an upload that is under way, and answers its plan, not the caller's", async () => {
    await sender.begin(task, tag, 100, { partSize: 16 });
    const again = await sender.begin(task, tag, 100, { partSize: 50, contentType: "text/plain" });
    expect(again).toMatchObject({ state: "open", partSize: 16, contentType: "application/octet-stream" });
    expect(await sender.begin(task, tag, null)).toMatchObject({ size: 100 });
    expect(operations("CreateMultipartUpload")).toBe(1);
  });

  it("refuses another size under the same tag", async () => {
    await sender.begin(task, tag, 100);
    const answer = await sender.post(sender.transfers(task), { transfer: transferId(tag), size: 101 });
    expect(answer).toMatchObject({ status: 409, json: { code: "CONFLICT" } });
  });

  it("makes one upload of many begins at once, and aborts the losers'", async () => {
    const answers = await Promise.all(
      Array.from({ length: 6 }, () => sender.post(sender.transfers(task), { transfer: transferId(tag), size: 20 })),
    );
    for (const answer of answers) expect(beginAnswer.parse(expectStatus(answer, 200)).state).toBe("open");
    expect(await openUploads()).toBe(1);
    expect(await api.deps.store.listParts(payloadKey(refOf()), (await record()).uploadId)).toEqual([]);
  });

  it("starts again when the upload is gone, and finds it stored when it was completed", async () => {
    const payload = await sender.upload(task, tag, randomBytes(20));
    const { uploadId } = await record();
    await api.deps.store.abort(payloadKey(refOf()), uploadId);
    expect((await sender.begin(task, tag, 20)).state).toBe("open");
    expect((await record()).uploadId).not.toBe(uploadId);
    await sender.putParts(task, payload);
    const parts = (await api.deps.store.listParts(payloadKey(refOf()), (await record()).uploadId))!;
    expect(await api.deps.store.complete(payloadKey(refOf()), (await record()).uploadId, parts)).toBe("done");
    expect((await sender.begin(task, tag, 20)).state).toBe("stored");
    expectStatus(await finish({ manifest: payload.text, notices: [] }), 200);
    expect((await sender.begin(task, tag, 20)).state).toBe("finished");
  });

  it("answers a finished transfer with its manifest and notices", async () => {
    const published = await sender.published(task, tag, randomBytes(20), [1, 3]);
    const again = await sender.begin(task, tag, 20);
    expect(again).toMatchObject({ state: "finished", manifest: published.text, urls: [] });
    expect(again.notices).toEqual([published.signed]);
  });

  it("opens a swept transfer again, which stays bound to its digest", async () => {
    const payload = await sender.stored(task, tag, randomBytes(20));
    await change({ state: "swept" });
    expect(await sender.begin(task, tag, 20)).toMatchObject({ state: "open", manifest: payload.text });
    const other = payloadOf(tag, randomBytes(20), 16, "application/octet-stream");
    expect((await finish({ manifest: other.text, notices: [] })).json).toMatchObject({ code: "CONFLICT" });
    await sender.putParts(task, payload);
    expectStatus(await finish({ manifest: payload.text, notices: [] }), 200);
    expect(await record()).toMatchObject({ state: "finished", digest: payload.digest, generation: 1 });
  });

  it("caps a payload's size and a member's open uploads", async () => {
    const caps = { ...DEFAULT_CAPS, payload: 100, openUploads: 2, requests: 999, statements: 999 };
    const small = await ApiWorld.start({ caps });
    try {
      const room = await small.task(2);
      const member = small.caller(room.members[0]!);
      const over = await member.post(member.transfers(room), { transfer: transferId("a"), size: 101 });
      expect(over).toMatchObject({ status: 413, json: { code: "PAYLOAD_TOO_LARGE" } });
      await member.begin(room, "a", 100);
      await member.begin(room, "b", null);
      await member.begin(room, "a", 100);
      const third = await member.post(member.transfers(room), { transfer: transferId("c"), size: 1 });
      expect(third).toMatchObject({ status: 429, json: { code: "RATE_LIMITED" } });
      const late = { parts: [{ number: 9000, length: 16, sha256: `${"A".repeat(43)}=` }] };
      const far = await member.post(`${member.transfers(room)}/${transferId("b")}/parts`, late);
      expect(far.json).toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
      await small.caller(room.members[1]!).begin(room, "c", 1);
    } finally {
      await small.stop();
    }
  });
});

describe("parts", () => {
  it("get URLs that bind their number, length and digest", async () => {
    const payload = payloadOf(tag, randomBytes(40), 16, "application/octet-stream");
    await sender.begin(task, tag, 40, { partSize: 16 });
    const answer = expectStatus(await sender.post(path("/parts"), { parts: payload.parts }), 200);
    const [first] = partsAnswer.parse(answer).urls;
    const put = (url: string, headers: Record<string, string>, body: Uint8Array) =>
      fetch(url, { method: "PUT", headers, body }).then(({ status }) => status);
    const { url, headers } = first!;
    expect(await put(url, headers, randomBytes(16))).toBe(400);
    expect(await put(url, { ...headers, "x-amz-checksum-sha256": payload.parts[1]!.sha256 }, payload.slices[1]!)).toBe(
      403,
    );
    expect(await put(url.replace("partNumber=1", "partNumber=2"), headers, payload.slices[0]!)).toBe(403);
    const without = { "content-length": headers["content-length"]! };
    expect(await put(url, without, payload.slices[0]!)).toBe(403);
    expect(await put(url, headers, payload.slices[0]!)).toBe(200);
    const listed = storedPartsAnswer.parse(expectStatus(await sender.get(path("/parts")), 200));
    expect(listed.parts).toEqual([payload.parts[0]]);
  });

  it.each([
    ["beyond the plan", 4, 8],
    ["longer than the plan says", 3, 16],
    ["shorter than the plan says", 1, 15],
  ])("%s get none", async (_, number, length) => {
    await sender.begin(task, tag, 40, { partSize: 16 });
    const parts = [{ number, length, sha256: `${"A".repeat(43)}=` }];
    expect((await sender.post(path("/parts"), { parts })).json).toMatchObject({ code: "BAD_REQUEST" });
  });

  it("of a finished or aborted transfer get none", async () => {
    const payload = await sender.stored(task, tag, randomBytes(20));
    expect((await sender.post(path("/parts"), { parts: payload.parts })).json).toMatchObject({ code: "FINISHED" });
    await change({ state: "aborted", digest: null });
    expect((await sender.post(path("/parts"), { parts: payload.parts })).json).toMatchObject({ code: "NOT_STORED" });
  });

  it("of a transfer that was never begun are unknown", async () => {
    const sha256 = `${"A".repeat(43)}=`;
    const answer = await sender.post(path("/parts"), { parts: [{ number: 1, length: 1, sha256 }] });
    expect(answer).toMatchObject({ status: 404, json: { code: "UNKNOWN_TRANSFER" } });
  });
});

describe("finish", () => {
  it("binds the record to the manifest and keeps its exact bytes", async () => {
    const payload = await sender.stored(task, tag, randomBytes(40));
    expect(await record()).toMatchObject({ state: "finished", digest: payload.digest, size: 40, notices: [] });
    const bytes = await api.deps.store.getBytes(manifestKey(refOf()));
    expect(Uint8Array.from(bytes!)).toEqual(decoded(payload.text));
    expect(await api.deps.store.head(payloadKey(refOf()))).toMatchObject({ checksum: payload.manifest.checksum });
  });

  it("may be repeated, alone and at once", async () => {
    const payload = await sender.upload(task, tag, randomBytes(40));
    const body = { manifest: payload.text, notices: [await sender.notice(task, payload, [1])] };
    const answers = await Promise.all(Array.from({ length: 4 }, () => finish(body)));
    for (const answer of [...answers, await finish(body)]) expect([200, 202]).toContain(answer.status);
    expect(finishAnswer.parse((await finish(body)).json).state).toBe("finished");
    expect((await record()).notices).toEqual([noticeId(body.notices[0]!.notice)]);
  });

  it("takes manifest and notices at once for a small payload", async () => {
    const payload = await sender.upload(task, tag, randomBytes(5));
    const signed = await sender.notice(task, payload, [1, 2, 3]);
    const answer = finishAnswer.parse(expectStatus(await finish({ manifest: payload.text, notices: [signed] }), 202));
    expect(answer).toMatchObject({ state: "finished", notices: [noticeId(signed.notice)] });
    expect((await api.posted()).map(({ statement, author }) => statementId(statement, author))).toContain(
      noticeId(signed.notice),
    );
    const { keepUntil } = await record();
    expect(keepUntil).toBe(signed.notice.deadline + DAY);
  });

  it("names the parts that are not stored, and binds nothing", async () => {
    const bytes = randomBytes(50);
    const payload = payloadOf(tag, bytes, 16, "application/octet-stream");
    await sender.begin(task, tag, 50, { partSize: 16 });
    const half: Payload = { ...payload, parts: [payload.parts[0]!, payload.parts[2]!] };
    await sender.putParts(task, half);
    const answer = await finish({ manifest: payload.text, notices: [] });
    expect(answer).toMatchObject({ status: 409, json: { code: "NOT_STORED", parts: [2, 4] } });
    const other = payloadOf(
      tag,
      Buffer.concat([bytes.subarray(0, 40), randomBytes(10)]),
      16,
      "application/octet-stream",
    );
    await sender.putParts(task, { ...payload, parts: [payload.parts[1]!] });
    await sender.putParts(task, { ...other, parts: [other.parts[3]!] });
    expect((await finish({ manifest: payload.text, notices: [] })).json).toMatchObject({
      code: "NOT_STORED",
      parts: [4],
    });
    expect(await record()).toMatchObject({ state: "open", digest: null });
  });

  it("of a stream takes its size from the manifest", async () => {
    const bytes = randomBytes(37);
    const begun = await sender.begin(task, tag, null, { partSize: 16 });
    const payload = payloadOf(tag, bytes, begun.partSize, begun.contentType);
    await sender.putParts(task, payload);
    expectStatus(await finish({ manifest: payload.text, notices: [] }), 200);
    expect(await record()).toMatchObject({ state: "finished", size: 37 });
  });

  it.each([
    ["another tag", (p: Payload) => ({ ...p.manifest, tag: "other" }), "BAD_MANIFEST"],
    [
      "another size",
      (p: Payload) => payloadOf(p.tag, randomBytes(41), 16, p.manifest.contentType).manifest,
      "BAD_MANIFEST",
    ],
    [
      "another part size",
      (p: Payload) => payloadOf(p.tag, randomBytes(40), 20, p.manifest.contentType).manifest,
      "BAD_MANIFEST",
    ],
    ["another type", (p: Payload) => ({ ...p.manifest, contentType: "text/plain" }), "BAD_MANIFEST"],
    ["a wrong checksum", (p: Payload) => ({ ...p.manifest, checksum: "x-3" }), "BAD_MANIFEST"],
    [
      "other bytes",
      (p: Payload) => payloadOf(p.tag, randomBytes(40), 16, p.manifest.contentType).manifest,
      "NOT_STORED",
    ],
  ])("refuses a manifest with %s", async (_, bend, code) => {
    const payload = await sender.upload(task, tag, randomBytes(40));
    const answer = await finish({ manifest: encoded(bend(payload)).text, notices: [] });
    expect(answer.json).toMatchObject({ code });
    expect(await record()).toMatchObject({ state: "open", digest: null });
    expectStatus(await finish({ manifest: payload.text, notices: [] }), 200);
  });

  it.each(["!!!", "AAAA", Buffer.from('{"version":1}').toString("base64"), Buffer.from("\xff\xfe").toString("base64")])(
    "refuses %s as a manifest",
    async (manifest) => {
      await sender.begin(task, tag, 1);
      expect(["BAD_REQUEST", "BAD_MANIFEST"]).toContain((await finish({ manifest, notices: [] })).json.code);
    },
  );

  it("never binds one tag to two payloads", async () => {
    const payload = await sender.stored(task, tag, randomBytes(40));
    const other = payloadOf(tag, randomBytes(40), 16, payload.manifest.contentType);
    expect((await finish({ manifest: other.text, notices: [] })).json).toMatchObject({ code: "CONFLICT" });
    expect((await record()).digest).toBe(payload.digest);
  });

  it("without a manifest needs a finished transfer", async () => {
    const payload = await sender.upload(task, tag, randomBytes(5));
    const signed = await sender.notice(task, payload, [1]);
    expect((await finish({ notices: [signed] })).json).toMatchObject({ code: "NOT_STORED" });
    expect((await record()).notices).toEqual([]);
  });

  it("goes on from a crash after Complete, and from one after the manifest", async () => {
    const payload = await sender.upload(task, tag, randomBytes(40));
    const key = payloadKey(refOf());
    const { uploadId } = await record();
    const held = (await api.deps.store.listParts(key, uploadId))!;
    expect(await api.deps.store.complete(key, uploadId, held)).toBe("done");
    expect(await records.createManifest(refOf(), decoded(payload.text))).toBe(true);
    expectStatus(await finish({ manifest: payload.text, notices: [] }), 200);
    expect(await record()).toMatchObject({ state: "finished", digest: payload.digest });
  });

  it("finds other bytes under the key to be a conflict", async () => {
    const payload = await sender.upload(task, tag, randomBytes(40));
    await api.deps.store.putBytes(payloadKey(refOf()), randomBytes(40), "application/octet-stream");
    expect((await finish({ manifest: payload.text, notices: [] })).json).toMatchObject({ code: "CONFLICT" });
    expect(await record()).toMatchObject({ state: "open", digest: null });
  });

  it("hands out nothing that somebody has put in the payload's place", async () => {
    const { id } = await sender.published(task, tag, randomBytes(40), [1]);
    const recipient = api.caller(task.members[1]!);
    expectStatus(await recipient.download(task, id), 200);
    await api.deps.store.putBytes(payloadKey(refOf()), randomBytes(40), "application/octet-stream");
    expect(await recipient.download(task, id)).toMatchObject({ status: 409, json: { code: "CONFLICT" } });
  });

  it("of an upload that is gone says: begin again", async () => {
    const payload = await sender.upload(task, tag, randomBytes(40));
    await api.deps.store.abort(payloadKey(refOf()), (await record()).uploadId);
    const answer = await finish({ manifest: payload.text, notices: [] });
    expect(answer).toMatchObject({ status: 409, json: { code: "NOT_STORED", parts: [] } });
  });
});

describe("a notice", () => {
  let payload: Payload;
  beforeEach(async () => {
    payload = await sender.stored(task, tag, randomBytes(10));
    api.seen.length = 0;
  });
  const nothingWritten = async () => {
    expect((await record()).notices).toEqual([]);
    const written = api.seen.filter(({ operation }) => operation === "PutObject").map(({ key }) => key.split("/")[0]);
    expect(written.filter((prefix) => prefix !== "nonce")).toEqual([]);
  };

  const bends: [string, () => object | Promise<object>, string][] = [
    ["to nobody", () => ({ recipients: 0n }), "BAD_REQUEST"],
    ["to the sender itself", () => ({ recipients: 1n }), "NOT_RECIPIENT"],
    ["to an index that nobody has", () => ({ recipients: 1n << 50n }), "NOT_RECIPIENT"],
    ["with a bit beyond the page", () => ({ recipients: 1n << 104n }), "BAD_REQUEST"],
    ["on a page that the recipients aren't on", () => ({ page: 1 }), "NOT_RECIPIENT"],
    ["of another task", () => ({ task: transferId("other") }), "BAD_REQUEST"],
    ["of another sender", () => ({ sender: addressOf(task.members[1]!) }), "BAD_REQUEST"],
    ["over another transfer", () => ({ transfer: transferId("other") }), "BAD_REQUEST"],
    ["over another manifest", () => ({ manifest: transferId("other") }), "CONFLICT"],
    ["whose deadline is over", async () => ({ deadline: await api.world.now() }), "BAD_DEADLINE"],
    ["due before the next block", async () => ({ deadline: (await api.world.now()) + 1 }), "BAD_DEADLINE"],
    ["without a deadline", () => ({ deadline: 0 }), "BAD_DEADLINE"],
    ["due in more than 30 days", async () => ({ deadline: (await api.world.now()) + 30 * DAY + 1 }), "BAD_DEADLINE"],
  ];
  it.each(bends)("%s is refused, and nothing is written", async (_, bend, code) => {
    const signed = await sender.notice(task, payload, [1], await bend());
    expect((await finish({ notices: [signed] })).json).toMatchObject({ code });
    await nothingWritten();
  });

  it("may be due in 30 days, but not more than 60 days after the payload was stored", async () => {
    const far = await sender.notice(task, payload, [1], { deadline: (await api.world.now()) + 30 * DAY });
    expectStatus(await finish({ notices: [far] }), 202);
    await change({ storedAt: (await record()).storedAt! - 40 * DAY });
    const late = await sender.notice(task, payload, [2], { deadline: (await api.world.now()) + 25 * DAY });
    expect((await finish({ notices: [late] })).json).toMatchObject({ code: "BAD_DEADLINE" });
  });

  it("signed by another, or for another contract, is refused", async () => {
    const signed = await sender.notice(task, payload, [1]);
    const elsewhere = { ...api.world.domain, contract: addressOf(newKey()) };
    const wrong = [
      await task.sign(newKey(), signed.notice),
      await signStatement(sender.wallet, elsewhere, signed.notice),
    ];
    for (const { signature } of wrong)
      expect((await finish({ notices: [{ ...signed, signature }] })).json).toMatchObject({ code: "BAD_SIGNATURE" });
    await nothingWritten();
  });

  it.each([
    ["fewer accounts than bits", (r: readonly string[]) => r.slice(1)],
    ["more accounts than bits", (r: readonly string[]) => [...r, addressOf(newKey())]],
    ["one account twice", (r: readonly string[]) => [r[0], r[0]]],
    ["the accounts in another order", (r: readonly string[]) => [...r].reverse()],
    ["a stranger's account", (r: readonly string[]) => [r[0], addressOf(newKey())]],
    ["no accounts", () => []],
  ])("with %s is refused", async (_, bend) => {
    const signed = await sender.notice(task, payload, [1, 2]);
    const answer = await finish({ notices: [{ ...signed, recipients: bend(signed.recipients) }] });
    expect(["BAD_REQUEST", "NOT_RECIPIENT"]).toContain(answer.json.code);
    await nothingWritten();
  });

  it("that is there twice in one finish is refused", async () => {
    const signed = await sender.notice(task, payload, [1]);
    expect((await finish({ notices: [signed, signed] })).json).toMatchObject({ code: "BAD_REQUEST" });
  });

  it("among good ones spoils them all before anything is written", async () => {
    const good = await sender.notice(task, payload, [1]);
    const bad = await sender.notice(task, payload, [2], { deadline: 1 });
    expect((await finish({ notices: [good, bad] })).json).toMatchObject({ code: "BAD_DEADLINE" });
    await nothingWritten();
  });

  it("to an expelled member is refused", async () => {
    const room = await api.task(3);
    const from = api.caller(room.members[0]!);
    const sent = await from.stored(room, tag, randomBytes(3));
    await api.relay(await room.change("expel", [addressOf(room.members[1]!)], 1));
    const signed = await from.notice(room, sent, [1]);
    expect((await from.finish(room, sent.transfer, { notices: [signed] })).json).toMatchObject({
      code: "NOT_RECIPIENT",
    });
  });

  it("raises the time until which the payload is kept, and never lowers it", async () => {
    const now = await api.world.now();
    const long = await sender.notice(task, payload, [1], { deadline: now + 5000 });
    const short = await sender.notice(task, payload, [2], { deadline: now + 500 });
    expectStatus(await finish({ notices: [long] }), 202);
    expectStatus(await finish({ notices: [short] }), 202);
    expect(await record()).toMatchObject({
      keepUntil: now + 5000 + DAY,
      notices: [long, short].map(({ notice }) => noticeId(notice)),
    });
  });

  it("over a payload that is being swept is refused", async () => {
    await change({ state: "swept" });
    const signed = await sender.notice(task, payload, [1]);
    expect((await finish({ notices: [signed] })).json).toMatchObject({ code: "NOT_STORED" });
  });

  it("given again while it is open is joined, and goes into the outbox again", async () => {
    const signed = await sender.notice(task, payload, [1, 2]);
    expectStatus(await finish({ notices: [signed] }), 202);
    await api.relay({ statement: signed.notice, author: sender.account, signature: signed.signature });
    await api.relay(await task.sign(task.members[1]!, task.receipt(signed.notice)));
    expectStatus(await finish({ notices: [signed] }), 202);
    expect((await record()).notices).toHaveLength(1);
  });

  it.each([
    ["turned down", (notice: Notice) => task.sign(task.members[1]!, task.receipt(notice, { outcome: "REFUSED" }))],
    ["withdrawn", (of: Notice) => task.sign(sender.wallet, { kind: "withdraw", of })],
  ] as [string, (notice: Notice) => Promise<Signed>][])(
    "re-sent within the same second after it was %s is refused, for it has the old one's id",
    async (_, end) => {
      const signed = await sender.notice(task, payload, [1]);
      expectStatus(await finish({ notices: [signed] }), 202);
      await api.relay({ statement: signed.notice, author: sender.account, signature: signed.signature });
      await api.relay(await end(signed.notice));
      const again = await finish({ notices: [signed] });
      expect(again).toMatchObject({ status: 409, json: { code: "NOTICE_EXISTS", notices: [noticeId(signed.notice)] } });
      const next = await sender.notice(task, payload, [1], { deadline: signed.notice.deadline + 1 });
      expectStatus(await finish({ notices: [next] }), 202);
    },
  );

  it("that missed its deadline before it stood can't be withdrawn any more; one that stands can", async () => {
    const missed = await sender.notice(task, payload, [1]);
    expectStatus(await finish({ notices: [missed] }), 202);
    const stands = (await sender.published(task, `${tag}/stands`, randomBytes(3), [1])).signed;
    const withdraw = async ({ notice }: Recipient) => {
      const { signature } = await task.sign(sender.wallet, { kind: "withdraw", of: notice });
      return sender.post(`/v1/tasks/${task.id}/withdrawals`, { notice: noticeId(notice), signature });
    };
    expectStatus(await withdraw(missed), 202);
    await api.world.provider.send("evm_increaseTime", [601]);
    await api.world.provider.send("evm_mine", []);
    expect((await withdraw(missed)).json).toMatchObject({ code: "BAD_DEADLINE" });
    expectStatus(await withdraw(stands), 202);
  });

  it("given again just before its deadline is joined, for it was accepted in time", async () => {
    const signed = await sender.notice(task, payload, [1]);
    expectStatus(await finish({ notices: [signed] }), 202);
    const { provider } = api.world;
    await provider.send("evm_setNextBlockTimestamp", [signed.notice.deadline - 1]);
    await provider.send("evm_mine", []);
    expectStatus(await finish({ notices: [signed] }), 202);
    const late = await sender.notice(task, payload, [2], { deadline: signed.notice.deadline });
    expect((await finish({ notices: [late] })).json).toMatchObject({ code: "BAD_DEADLINE" });
  });
});

describe("abort", () => {
  it("aborts an unfinished upload, may be repeated, and lets the tag begin anew with other bytes", async () => {
    await sender.upload(task, tag, randomBytes(20));
    expect(expectStatus(await sender.delete(path()), 200)).toEqual({ state: "aborted" });
    expect(expectStatus(await sender.delete(path()), 200)).toEqual({ state: "aborted" });
    expect(await openUploads()).toBe(0);
    expect(await record()).toMatchObject({ state: "aborted" });
    const payload = await sender.stored(task, tag, randomBytes(33));
    expect((await record()).digest).toBe(payload.digest);
  });

  it("of a finished transfer answers its open notices and changes nothing", async () => {
    const published = await sender.published(task, tag, randomBytes(20), [1]);
    const answer = await sender.delete(path());
    expect(answer).toMatchObject({ status: 409, json: { code: "FINISHED", notices: [published.id] } });
    expect(await record()).toMatchObject({ state: "finished" });
    expect(await api.deps.store.head(payloadKey(refOf()))).not.toBeNull();
  });

  it("of a completed upload whose finish was cut short is refused as finished", async () => {
    await sender.upload(task, tag, randomBytes(20));
    const { uploadId } = await record();
    const held = (await api.deps.store.listParts(payloadKey(refOf()), uploadId))!;
    await api.deps.store.complete(payloadKey(refOf()), uploadId, held);
    expect((await sender.delete(path())).json).toMatchObject({ code: "FINISHED" });
  });

  it("racing with finish leaves one of the two, never half of both", async () => {
    const payload = await sender.upload(task, tag, randomBytes(20));
    const [aborted, finished] = await Promise.all([
      sender.delete(path()),
      finish({ manifest: payload.text, notices: [] }),
    ]);
    const { state } = await record();
    const object = await api.deps.store.head(payloadKey(refOf()));
    if (state === "finished") expect([aborted.status, finished.status, object === null]).toEqual([409, 200, false]);
    else expect([aborted.status, finished.status, object]).toEqual([200, 409, null]);
  });

  it("of a transfer that was never begun is unknown", async () => {
    expect(await sender.delete(path())).toMatchObject({ status: 404, json: { code: "UNKNOWN_TRANSFER" } });
  });

  it("keeps a swept transfer that was opened again bound to its digest", async () => {
    const payload = await sender.stored(task, tag, randomBytes(20));
    await change({ state: "swept" });
    await api.deps.store.delete(payloadKey(refOf()));
    await sender.begin(task, tag, 20);
    expectStatus(await sender.delete(path()), 200);
    expect(await record()).toMatchObject({ state: "swept", digest: payload.digest });
  });
});

describe("the keys", () => {
  it("are built from the caller, so a tag is each sender's own", async () => {
    const other = api.caller(task.members[1]!);
    const mine = await sender.stored(task, tag, randomBytes(20));
    const theirs = await other.stored(task, tag, randomBytes(20));
    expect(theirs.digest).not.toBe(mine.digest);
    expect((await record()).digest).toBe(mine.digest);
    expect(recordKey(refOf())).toBe(`transfer/${task.id}/${sender.account}/${transferId(tag)}/record.json`);
  });
});
