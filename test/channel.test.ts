import { randomBytes } from "node:crypto";
import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JsonRpcProvider, Wallet } from "ethers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Api } from "../lib/api.ts";
import {
  type Address,
  type Hex,
  type NoticeEvent,
  SharedFileDataChannel,
  TaskContractor,
  type WaybillError,
} from "../lib/index.ts";
import type { Deployment } from "../lib/protocol/deployment.ts";
import { type Notice, noticeId, signStatement } from "../lib/protocol/statements.ts";
import { type Stack, startStack } from "../local/stack.ts";
import { nameOf, newsOf, noticed, rejection, standing } from "./support/members.ts";

// The client over the real stack; `fetch` is wrapped only to watch, delay or falsify what the functions say.

const wallets = Array.from({ length: 5 }, () => Wallet.createRandom());
const [alice, bob, carol, dave, erin] = wallets.map((wallet) => wallet.address) as [
  string,
  string,
  string,
  string,
  string,
];
const outsider = Wallet.createRandom();
const coded = (code: string, details: object = {}) =>
  expect.objectContaining({ name: "WaybillError", code, details: expect.objectContaining(details) });

let stack: Stack;
let dir: string;
let task: string;
let puts = 0;
const open: TaskContractor[] = [];

beforeAll(async () => {
  stack = await startStack({
    onStoreRequest: ({ method, operation }) => void (method === "PUT" && /Part/.test(operation) && puts++),
  });
  dir = await mkdtemp(join(tmpdir(), "waybill-test-channel-"));
  const contractor = await TaskContractor.open({
    signer: wallets[0]!,
    members: wallets.map(({ address }) => address),
    deployment: stack.deployment,
  });
  open.push(contractor);
  task = contractor.task;
});
afterAll(async () => {
  await Promise.all(open.map((contractor) => contractor.close()));
  await stack?.stop();
  await rm(dir, { recursive: true, force: true });
});

interface Way {
  readonly contractor: TaskContractor;
  readonly channel: SharedFileDataChannel;
}

/** A member with a client of its own. */
function member(index: number, more: { fetch?: typeof fetch; task?: string; deployment?: Deployment } = {}): Way {
  const contractor = new TaskContractor({ task, signer: wallets[index]!, deployment: stack.deployment, ...more });
  open.push(contractor);
  return { contractor, channel: new SharedFileDataChannel(contractor) };
}

/** Chain time jumps ahead, and a block says so. */
async function passTime(seconds: number): Promise<void> {
  const node = new JsonRpcProvider(stack.rpc, stack.deployment.chainId, { staticNetwork: true });
  await node.send("evm_increaseTime", [seconds]);
  await node.send("evm_mine", []);
  node.destroy();
}

/** Lets a test see each request before it goes out, and each answer before it comes in. */
function watching(
  before: (path: string, method: string) => unknown,
  after?: (path: string, text: string) => string,
): typeof fetch {
  return async (input, init) => {
    const { pathname } = new URL(String(input));
    await before(pathname, init?.method ?? "GET");
    const response = await fetch(input, init);
    if (!after) return response;
    return new Response(after(pathname, await response.text()), { status: response.status, headers: response.headers });
  };
}

const tagOf = (): string => `tag/${randomBytes(4).toString("hex")}`;

describe("a transfer", () => {
  it("reaches those who take it; the sender learns who turned it down, and why", async () => {
    const tag = tagOf();
    const dataStream = randomBytes(5_000);
    const receipts: string[] = [];
    const source = alice;
    const [sent, first, second] = await Promise.allSettled([
      member(0).channel.batchSendStream({
        ...{ target: [bob.toLowerCase(), carol], dataStream, tag, ensureAllSucc: true },
        onReceipt: ({ recipient, outcome }) => receipts.push(`${recipient} ${outcome}`),
      }),
      member(1).channel.receiveStream({ source: source.toLowerCase(), tag }),
      member(2).channel.receiveStream({ source, tag, maxBytes: 4_999 }),
    ]);
    const failed = { [carol]: "TOO_LARGE" };
    expect(sent).toMatchObject({
      status: "rejected",
      reason: coded("NOT_ALL_RECEIVED", { received: [bob.toLowerCase()], failed }),
    });
    expect(first).toMatchObject({ status: "fulfilled", value: [source.toLowerCase(), new Uint8Array(dataStream)] });
    expect(second).toMatchObject({ status: "rejected", reason: coded("TOO_LARGE") });
    expect(receipts.toSorted()).toEqual([`${bob.toLowerCase()} VERIFIED`, `${carol} TOO_LARGE`].toSorted());
  });

  it("that nobody answers is null after its deadline, and is then delivered to nobody", async () => {
    const tag = tagOf();
    const [sender, options] = [member(0), { target: bob, dataStream: randomBytes(10), tag, timeout: 300_000 }];
    const { onNotice, notice } = noticed();
    const sent = sender.channel.sendStream({ ...options, onNotice });
    await standing(sender, (await notice).notice);
    await passTime(301);
    expect(await sent).toBeNull();
    const late = member(1).channel.receiveStream({ source: alice, tag, timeout: 1_000 });
    await expect(late).rejects.toThrow(coded("TIMEOUT"));
  });

  it("is joined under its tag: nothing is sent twice, only those without it get a notice, other bytes are refused", async () => {
    const tag = tagOf();
    const dataStream = randomBytes(3_000);
    const { channel, contractor } = member(0);
    await Promise.all([
      channel.sendStream({ target: bob, dataStream, tag }),
      member(1).channel.receiveStream({ source: alice, tag }),
    ]);
    const before = puts;
    const notices: NoticeEvent[] = [];
    const [both] = await Promise.all([
      channel.batchSendStream({ target: [carol, bob], dataStream, tag, onNotice: (event) => notices.push(event) }),
      member(2).channel.receiveStream({ source: alice, tag }),
    ]);
    expect(both).toEqual([carol, bob]);
    expect(puts).toBe(before);
    expect(notices.map(({ joined }) => joined)).toEqual([true, false]);
    const fresh = await contractor.status(notices[1]!.notice);
    expect(fresh.recipients).toMatchObject([{ account: carol.toLowerCase(), state: "verified", outcome: "VERIFIED" }]);
    const other = Buffer.from(dataStream);
    other[7]! ^= 1;
    for (const bytes of [other, dataStream.subarray(1), randomBytes(0)])
      await expect(channel.sendStream({ target: dave, dataStream: bytes, tag })).rejects.toThrow(coded("CONFLICT"));
  });

  it("that two processes of one sender begin at once is one transfer", async () => {
    const tag = tagOf();
    const dataStream = randomBytes(2_000);
    const [one, two, [from, data]] = await Promise.all([
      member(0).channel.sendStream({ target: bob, dataStream, tag }),
      member(0).channel.sendStream({ target: bob, dataStream, tag }),
      member(1).channel.receiveStream({ source: alice, tag }),
    ]);
    expect([one, two, from]).toEqual([bob, bob, alice]);
    expect(Buffer.compare(data, dataStream)).toBe(0);
  });

  it("that is aborted takes its notice back, and nobody receives it", async () => {
    const tag = tagOf();
    const end = new AbortController();
    let notice = "";
    const { channel, contractor } = member(0);
    const sent = channel.batchSendStream({
      ...{ target: [bob, carol], dataStream: randomBytes(10), tag, signal: end.signal },
      onNotice: (event) => {
        notice = event.notice;
        setTimeout(() => end.abort(new Error("enough")), 200);
      },
    });
    await expect(sent).rejects.toThrow(coded("ABORTED", { received: [] }));
    const status = await contractor.status(notice);
    expect(status.withdrawn).toBe(true);
    expect(status.recipients.map(({ state }) => state)).toEqual(["cleared", "cleared"]);
    await expect(member(1).channel.receiveStream({ source: alice, tag, timeout: 1_000 })).rejects.toThrow(
      coded("TIMEOUT"),
    );
  });

  it("from a file that changes while it is sent publishes nothing", async () => {
    const tag = tagOf();
    const path = join(dir, "changing");
    await writeFile(path, randomBytes(100));
    const fetch = watching((where) => where.endsWith("/parts") && appendFile(path, "x"));
    const { channel } = member(0, { fetch });
    await expect(channel.sendStream({ target: bob, dataStream: { path }, tag })).rejects.toThrow(
      coded("SOURCE_CHANGED"),
    );
    await expect(member(1).channel.receiveStream({ source: alice, tag, timeout: 1_000 })).rejects.toThrow(
      coded("TIMEOUT"),
    );
  });

  it("comes from a stream, in many parts, into a folder", async () => {
    const tag = "../stream";
    const bytes = randomBytes(2_000_000);
    const home = await mkdtemp(join(dir, "in-"));
    const [, [from, path]] = await Promise.all([
      member(0).channel.sendStream({ target: bob, dataStream: new Blob([bytes]).stream(), tag }),
      member(1).channel.receiveStream({ source: [carol, alice], tag, to: { dir: home } }),
    ]);
    expect(from).toBe(alice);
    expect(Buffer.compare(await readFile(path), bytes)).toBe(0);
    expect((await readdir(home)).map((name) => join(home, name))).toEqual([path]);
  });
});

describe("a receiving call", () => {
  it("takes the oldest open notice of a listed source; others stay for others, and no notice goes to two calls", async () => {
    const sends = [
      [1, "oldest"],
      [2, "other source"],
      [1, "younger"],
    ] as const;
    const pending: Promise<unknown>[] = [];
    for (const [from, text] of sends) {
      await new Promise<void>((resolve) => {
        const { channel } = member(from);
        const onNotice = (): void => resolve();
        pending.push(channel.sendStream({ target: dave, dataStream: Buffer.from(text), onNotice }));
      });
    }
    const { channel } = member(3);
    const texts = (
      await Promise.all([channel.receiveStream({ source: bob }), channel.receiveStream({ source: bob })])
    ).map(([, data]) => Buffer.from(data).toString());
    expect(texts.toSorted()).toEqual(["oldest", "younger"]);
    expect(Buffer.from((await channel.receiveStream({ source: carol }))[1]).toString()).toBe("other source");
    expect(await Promise.all(pending)).toEqual([dave, dave, dave]);
  });

  it("that ends after its receipt went out leaves the payload to the next call", async () => {
    const tag = tagOf();
    const end = new AbortController();
    const fetch = watching((path) => path.endsWith("/receipts") && end.abort(new Error("enough")));
    const { channel } = member(1, { fetch });
    const dataStream = randomBytes(100);
    const sent = member(0).channel.sendStream({ target: bob, dataStream, tag });
    await expect(channel.receiveStream({ source: alice, tag, signal: end.signal })).rejects.toThrow(coded("ABORTED"));
    const [, data] = await channel.receiveStream({ source: alice, tag });
    expect(Buffer.compare(data, dataStream)).toBe(0);
    expect(await sent).toBe(bob);
    await expect(channel.receiveStream({ source: alice, tag, timeout: 1_000 })).rejects.toThrow(coded("TIMEOUT"));
  });

  it("that could not read the chain when its time was over says so", async () => {
    let isCut = false;
    /** Without any events, or without them when it waits for what comes after its place. */
    const never: typeof globalThis.fetch = async (input, init) => {
      if (String(input).includes("/events")) throw new TypeError("fetch failed");
      return fetch(input, init);
    };
    const later: typeof globalThis.fetch = (input, init) => (isCut ? never : fetch)(input, init);
    const call = { source: alice, tag: tagOf(), timeout: 4_000 };
    const [left, well] = [member(1, { fetch: later }), member(1)];
    for (const { contractor } of [left, well]) await contractor.members(); // they have read what there is
    const waiting = rejection(left.channel.receiveStream(call));
    setTimeout(() => {
      isCut = true;
    }, 1_500);
    const [none, cut, whole] = await Promise.all([
      rejection(member(1, { fetch: never }).channel.receiveStream(call)),
      waiting,
      rejection(well.channel.receiveStream(call)),
    ]);
    // The tries may be used up before the time is.
    expect(none).toMatchObject({ message: expect.stringMatching(/could not be read in time|did not answer/) });
    expect(cut).toMatchObject({ code: "TIMEOUT", cause: { code: "UNREACHABLE" } });
    expect(whole).toMatchObject({ code: "TIMEOUT", message: expect.stringContaining("No notice came") });
    expect(whole).not.toHaveProperty("cause");
  });

  it("whose receipt comes after a withdrawal is LATE, and both sides agree", async () => {
    const tag = tagOf();
    const end = new AbortController();
    const dataStream = randomBytes(100);
    const sent = member(0).channel.sendStream({ target: bob, dataStream, tag, signal: end.signal });
    const withdrawn = sent.catch((error: WaybillError) => error);
    const fetch = watching(async (path) => {
      if (!path.endsWith("/receipts")) return;
      end.abort(new Error("enough"));
      await withdrawn;
    });
    const received = member(1, { fetch }).channel.receiveStream({ source: alice, tag });
    await expect(received).rejects.toThrow(coded("LATE", { payload: new Uint8Array(dataStream), sender: alice }));
    expect(await withdrawn).toEqual(coded("ABORTED", { received: [] }));
  });

  it("may return before its receipt stands, and does not deliver it twice", async () => {
    const tag = tagOf();
    const sent = member(0).channel.sendStream({ target: bob, dataStream: randomBytes(10), tag });
    const { channel } = member(1);
    await channel.receiveStream({ source: alice, tag, receipt: "sent" });
    await expect(channel.receiveStream({ source: alice, tag, timeout: 1_000 })).rejects.toThrow(coded("TIMEOUT"));
    expect(await sent).toBe(bob);
  });

  it("that can't write leaves the notice open, and signs nothing", async () => {
    const tag = tagOf();
    const path = join(dir, "taken");
    await writeFile(path, "mine");
    const sent = member(0).channel.sendStream({ target: bob, dataStream: randomBytes(10), tag });
    const { channel } = member(1);
    await expect(channel.receiveStream({ source: alice, tag, to: { path } })).rejects.toThrow(coded("TARGET_EXISTS"));
    expect(await channel.receiveStream({ source: alice, tag, to: { path }, force: true })).toEqual([alice, path]);
    expect(await sent).toBe(bob);
  });
});

describe("two notices of one transfer", () => {
  it("are one delivery: the later one is answered by itself and goes to no call", async () => {
    const tag = tagOf();
    const sender = member(0);
    const { channel, contractor } = member(1);
    let first = "";
    const onNotice = (event: NoticeEvent): void => {
      first = event.notice;
    };
    const [sent] = await Promise.all([
      sender.channel.sendStream({ target: bob, dataStream: randomBytes(10), tag, onNotice }),
      channel.receiveStream({ source: alice, tag }),
    ]);
    expect(sent).toBe(bob);
    // A sender's library would not publish this one; a sender's own program may.
    const account = alice.toLowerCase() as Address;
    const api = new Api({ deployment: stack.deployment, signer: wallets[0]!, account });
    const { transfer, deadline } = await sender.contractor.status(first);
    const again = await api.begin(task as Hex, { transfer, size: 10 });
    const notice: Notice = { ...again.notices![0]!.notice, deadline: deadline + 100 };
    const { signature } = await signStatement(wallets[0]!, stack.deployment, notice);
    await api.finish(task as Hex, transfer, {
      notices: [{ notice, signature, recipients: [bob.toLowerCase() as Address] }],
    });
    const end = new AbortController();
    const waiting = channel
      .receiveStream({ source: alice, tag, signal: end.signal })
      .catch((error: WaybillError) => error);
    const answer = async () => (await contractor.status(noticeId(notice)).catch(() => null))?.recipients[0];
    while ((await answer())?.state !== "verified") await new Promise((resolve) => setTimeout(resolve, 100));
    end.abort();
    expect(await waiting).toEqual(coded("ABORTED"));
    expect(await answer()).toMatchObject({ account: bob.toLowerCase(), outcome: "VERIFIED" });
  });
});

describe("a task of more than one page", () => {
  it("takes one notice per page, and recipients on both get the payload", async () => {
    const far = Wallet.createRandom();
    const filler = Array.from({ length: 104 }, () => Wallet.createRandom().address);
    const { deployment } = stack;
    const opened = await TaskContractor.open({
      signer: wallets[0]!,
      members: [alice, bob, ...filler, far.address],
      deployment,
    });
    const distant = new TaskContractor({ task: opened.task, signer: far, deployment });
    open.push(opened, distant);
    const notices: string[] = [];
    const dataStream = randomBytes(100);
    const [received, [, one], [, two]] = await Promise.all([
      new SharedFileDataChannel(opened).batchSendStream({
        ...{ target: [far.address, bob], dataStream, tag: "pages" },
        onNotice: ({ notice }) => notices.push(notice),
      }),
      member(1, { task: opened.task }).channel.receiveStream({ source: alice, tag: "pages" }),
      new SharedFileDataChannel(distant).receiveStream({ source: alice, tag: "pages" }),
    ]);
    expect(received).toEqual([far.address, bob]);
    expect(new Set(notices).size).toBe(2);
    expect([Buffer.compare(one, dataStream), Buffer.compare(two, dataStream)]).toEqual([0, 0]);
    const posted = await opened.post({ kind: "to both", body: 1, targets: [bob, far.address] });
    expect(posted).toHaveLength(2);
  });
});

describe("servers that lie", () => {
  const lies: [string, (path: string, text: string) => string][] = [
    [
      "about the manifest",
      (path, text) =>
        path.endsWith("/download")
          ? edit(text, (answer) => ({ ...answer, manifest: Buffer.from("{}").toString("base64") }))
          : text,
    ],
    [
      "about where the payload is",
      (path, text) =>
        path.endsWith("/download") ? text.replace(/http:\/\/127\.0\.0\.1:\d+/, "http://127.0.0.1:1") : text,
    ],
    [
      "about the notice",
      (path, text) =>
        path.endsWith("/download")
          ? edit(text, (answer) => ({ ...answer, notice: { ...(answer.notice as object), deadline: 1 } }))
          : text,
    ],
    [
      "about who signed",
      (path, text) =>
        path.endsWith("/events") ? text.replaceAll(alice.toLowerCase(), outsider.address.toLowerCase()) : text,
    ],
    [
      "about the shape of things",
      (path, text) => (path.endsWith("/download") ? text.replace("expiresIn", "expires") : text),
    ],
    ["with something else than JSON", (path, text) => (path.endsWith("/download") ? "<html>" : text)],
  ];
  const edit = (text: string, change: (answer: Record<string, unknown>) => object): string =>
    JSON.stringify(change(JSON.parse(text) as Record<string, unknown>));

  it.each(lies)("%s are found out, and nothing is signed", async (_name, lie) => {
    const tag = tagOf();
    const end = new AbortController();
    const sent = member(0).channel.sendStream({ target: bob, dataStream: randomBytes(10), tag, signal: end.signal });
    const posted: string[] = [];
    const fetch = watching((path) => posted.push(path), lie);
    const received = member(1, { fetch }).channel.receiveStream({ source: alice, tag });
    await expect(received).rejects.toThrow(coded("BAD_SERVER"));
    expect(posted.filter((path) => path.endsWith("/receipts"))).toEqual([]);
    end.abort();
    await expect(sent).rejects.toThrow(coded("ABORTED"));
  });

  it("that its caller was expelled, and relay its receipt all the same, don't divide it from the sender", async () => {
    const tag = tagOf();
    const dataStream = randomBytes(10);
    const sent = member(0).channel.sendStream({ target: bob, dataStream, tag });
    const lying: typeof fetch = async (input, init) => {
      const response = await fetch(input, init);
      if (!String(input).endsWith("/receipts")) return response;
      return Response.json({ code: "EXPELLED", detail: "so the server says" }, { status: 403 });
    };
    const deployment = { ...stack.deployment, rpc: stack.rpc };
    const received = member(1, { fetch: lying, deployment }).channel.receiveStream({ source: alice, tag });
    expect(await Promise.all([sent, received])).toEqual([bob, [alice, new Uint8Array(dataStream)]]);
  });

  it("once that its caller was expelled, lose no receipt: it is said again", async () => {
    const tag = tagOf();
    const dataStream = randomBytes(10);
    const sent = member(0).channel.sendStream({ target: bob, dataStream, tag });
    let lies = 0;
    const lying: typeof fetch = async (input, init) => {
      if (!String(input).endsWith("/receipts") || lies > 0) return fetch(input, init);
      lies += 1;
      return Response.json({ code: "EXPELLED", detail: "so the server says" }, { status: 403 });
    };
    const received = member(1, { fetch: lying }).channel.receiveStream({ source: alice, tag });
    expect(await Promise.all([sent, received])).toEqual([bob, [alice, new Uint8Array(dataStream)]]);
    expect(lies).toBe(1);
  });

  it.each(["CORRUPT", "TOO_LARGE", "REFUSED"])("%s about a payload make nobody sign that", async (code) => {
    const tag = tagOf();
    const end = new AbortController();
    const sent = member(0).channel.sendStream({ target: bob, dataStream: randomBytes(10), tag, signal: end.signal });
    const posted: string[] = [];
    const lying: typeof fetch = async (input, init) => {
      const { pathname } = new URL(String(input));
      posted.push(pathname);
      if (!pathname.endsWith("/download")) return fetch(input, init);
      return Response.json({ code, detail: "so the server says" }, { status: 422 });
    };
    const received = member(1, { fetch: lying }).channel.receiveStream({ source: alice, tag });
    await expect(received).rejects.toThrow(coded("BAD_SERVER"));
    expect(posted.filter((path) => path.endsWith("/receipts"))).toEqual([]);
    end.abort();
    await expect(sent).rejects.toThrow(coded("ABORTED"));
  });
});

describe("messages", () => {
  it("reach those for whom they are, once and in order, with roster changes between them", async () => {
    const [sender, reader, other] = [member(0), member(1), member(2)];
    const news = reader.contractor.events();
    const first = news.next();
    await other.contractor.members(); // its position is known
    await reader.contractor.members();
    await sender.contractor.post({ kind: "start_round", body: { round: 7 } });
    await sender.contractor.post({ kind: "for bob", body: "hello", targets: [bob] });
    await sender.contractor.admit([outsider.address]);
    const seen = [(await first).value, (await news.next()).value, (await news.next()).value];
    expect(seen).toMatchObject([
      { type: "message", sender: alice.toLowerCase(), kind: "start_round", body: { round: 7 } },
      { type: "message", kind: "for bob", body: "hello" },
      { type: "roster", change: "admitted", members: [outsider.address.toLowerCase()] },
    ]);
    await news.return();
    const others = (await newsOf(other.contractor, 2)).map(nameOf);
    expect(others).toEqual(["start_round", "admitted"]);
  });

  it("that are too long or have no name are refused", async () => {
    const { contractor } = member(0);
    await expect(contractor.post({ kind: "x", body: "x".repeat(4_095) })).rejects.toThrow(coded("USAGE"));
    await expect(contractor.post({ kind: "x", body: undefined })).rejects.toThrow(coded("USAGE"));
    await expect(contractor.post({ kind: "", body: 1 })).rejects.toThrow(coded("USAGE"));
    await expect(contractor.post({ kind: "x".repeat(32), body: 1 })).rejects.toThrow(coded("USAGE"));
    await expect(contractor.post({ kind: "x", body: 1, targets: [Wallet.createRandom().address] })).rejects.toThrow(
      coded("NOT_MEMBER"),
    );
  });
});

/** One letter in the other case. */
function mistyped(account: string): string {
  const swap = (c: string) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase());
  return account.replace(/(?<=^0x\d*)[a-f]/i, swap);
}

describe("bad input", () => {
  const dataStream = Buffer.from("x");
  const sends: [string, object, string][] = [
    ["no recipients", { target: [] }, "USAGE"],
    ["a recipient twice", { target: [bob, bob.toLowerCase()] }, "USAGE"],
    ["oneself", { target: [bob, alice] }, "USAGE"],
    ["a malformed recipient", { target: ["0x12"] }, "USAGE"],
    ["a recipient with a wrong checksum", { target: [mistyped(bob)] }, "USAGE"],
    ["a recipient who is no member", { target: [Wallet.createRandom().address] }, "NOT_MEMBER"],
    ["another source than oneself", { target: [bob], source: bob }, "USAGE"],
    ["a time in seconds", { target: [bob], timeout: 30 }, "USAGE"],
    ["a negative time", { target: [bob], connectionTimeout: -1 }, "USAGE"],
    ["a time over 29 days", { target: [bob], timeout: 30 * 86_400_000 }, "USAGE"],
    ["an empty tag", { target: [bob], tag: "" }, "USAGE"],
    ["a tag that is too long", { target: [bob], tag: "x".repeat(513) }, "USAGE"],
    ["a tag that has no UTF-8", { target: [bob], tag: "\ud800" }, "USAGE"],
    ["a bare string", { target: [bob], dataStream: "model.bin" }, "USAGE"],
    ["no payload", { target: [bob], dataStream: undefined }, "USAGE"],
    ["a missing file", { target: [bob], dataStream: { path: "/no/such/file" } }, "SOURCE_MISSING"],
    ["a part size that is none", { target: [bob], partSize: 0.5 }, "USAGE"],
    [
      "a part size of over 10,000 parts",
      { target: [bob], dataStream: Buffer.alloc(10_001), partSize: 1 },
      "PAYLOAD_TOO_LARGE",
    ],
  ];

  it.each(sends)("to a sending call: %s", async (_name, options, code) => {
    const before = puts;
    const { channel } = member(0);
    const sent = channel.batchSendStream({ dataStream, ...options } as unknown as Parameters<
      typeof channel.batchSendStream
    >[0]);
    await expect(sent).rejects.toThrow(coded(code));
    expect(puts).toBe(before);
  });

  it.each<[string, object, string]>([
    ["no source", {}, "USAGE"],
    ["an empty list of sources", { source: [] }, "USAGE"],
    ["oneself", { source: alice }, "USAGE"],
    ["a source that is no member", { source: Wallet.createRandom().address }, "NOT_MEMBER"],
    ["another receiver than oneself", { source: bob, receiver: bob }, "USAGE"],
    ["a time in seconds", { source: bob, timeout: 30 }, "USAGE"],
    ["a destination that is none", { source: bob, to: "file" }, "USAGE"],
    ["a folder that is not there", { source: bob, to: { path: "/no/such/folder/file" } }, "TARGET_UNWRITABLE"],
    ["a maxBytes that is none", { source: bob, maxBytes: -1 }, "USAGE"],
    ["a word for the receipt that is none", { source: bob, receipt: "never" }, "USAGE"],
  ])("to a receiving call: %s", async (_name, options, code) => {
    const { channel } = member(0);
    const received = channel.receiveStream(
      options as unknown as Parameters<typeof channel.receiveStream>[0] & { to?: "bytes" },
    );
    await expect(received).rejects.toThrow(coded(code));
  });

  it("to a contractor: malformed ids and deployments, unknown tasks, strangers, another chain, nobody there", async () => {
    const { deployment } = stack;
    const signer = wallets[0]!;
    const make = (more: object) => new TaskContractor({ task, signer, deployment, ...more });
    expect(() => make({ task: "0x12" })).toThrow(coded("USAGE"));
    expect(() => make({ deployment: { ...deployment, contract: "0x" } })).toThrow(coded("USAGE"));
    expect(() => make({ deployment: { ...deployment, api: `${deployment.api}/path` } })).toThrow(coded("USAGE"));
    const members = (more: object) => {
      const contractor = make(more);
      open.push(contractor);
      return contractor.members();
    };
    await expect(members({ task: `0x${"ab".repeat(32)}` })).rejects.toThrow(coded("UNKNOWN_TASK"));
    await expect(members({ signer: Wallet.createRandom() })).rejects.toThrow(coded("NOT_MEMBER"));
    await expect(members({ deployment: { ...deployment, chainId: 5 } })).rejects.toThrow(coded("WRONG_CHAIN"));
    await expect(members({ deployment: { ...deployment, chainId: 5, rpc: stack.rpc } })).rejects.toThrow(
      coded("WRONG_CHAIN"),
    );
    const nowhere = "http://127.0.0.1:1";
    await expect(members({ deployment: { ...deployment, api: nowhere } })).rejects.toThrow(coded("UNREACHABLE"));
    await expect(members({ deployment: { ...deployment, rpc: nowhere } })).rejects.toThrow(coded("UNAVAILABLE"));
    // The same chain with another contract: every signature on it is void here.
    const contract = `0x${"12".repeat(20)}` as const;
    await expect(members({ deployment: { ...deployment, contract } })).rejects.toThrow(coded("NEEDS_RPC"));
    await expect(members({ deployment: { ...deployment, contract, rpc: stack.rpc } })).rejects.toThrow(
      coded("WRONG_CHAIN"),
    );
    await expect(make({}).status("0x12")).rejects.toThrow(coded("USAGE"));
    await expect(make({}).status(`0x${"ab".repeat(32)}`)).rejects.toThrow(coded("UNKNOWN_NOTICE"));
    await expect(make({ signer: wallets[1] }).admit([outsider.address])).rejects.toThrow(coded("NOT_OWNER"));
    await expect(TaskContractor.open({ signer, members: [], deployment })).rejects.toThrow(coded("USAGE"));
    await expect(TaskContractor.open({ signer, members: [bob], deployment, salt: "0x1" })).rejects.toThrow(
      coded("USAGE"),
    );
  });

  it("a store that is not there ends a send with UNREACHABLE, and nothing is published", async () => {
    const tag = tagOf();
    const gone = { ...stack.deployment, storeOrigin: "http://127.0.0.1:1" };
    const after = (_: string, text: string): string => text.replaceAll(stack.deployment.storeOrigin, gone.storeOrigin);
    const contractor = new TaskContractor({
      task,
      signer: wallets[0]!,
      deployment: gone,
      fetch: watching(() => {}, after),
    });
    open.push(contractor);
    const sent = new SharedFileDataChannel(contractor).sendStream({ target: bob, dataStream, tag });
    await expect(sent).rejects.toThrow(coded("UNREACHABLE"));
    await expect(member(1).channel.receiveStream({ source: alice, tag, timeout: 1_000 })).rejects.toThrow(
      coded("TIMEOUT"),
    );
  });
});

describe("an opening", () => {
  it("with the same salt and members is the same task, with others it is refused", async () => {
    const { deployment } = stack;
    const salt = `0x${randomBytes(32).toString("hex")}`;
    const [signer, members] = [wallets[4]!, [alice, bob]];
    const first = await TaskContractor.open({ signer, members, deployment, salt });
    const again = await TaskContractor.open({ signer, members, deployment, salt });
    open.push(first, again);
    expect(again.task).toBe(first.task);
    const other = TaskContractor.open({ signer, members: [alice, carol], deployment, salt });
    await expect(other).rejects.toThrow(coded("REFUSED_STATEMENT", { reason: "TASK_EXISTS" }));
  });
});

describe("an expulsion", () => {
  it("ends a waiting receive, fails the recipient at once, and keeps the expelled from sending", async () => {
    const { channel, contractor } = member(0);
    const out = member(4);
    const waiting = out.channel.receiveStream({ source: alice, tag: "never" });
    const left = waiting.catch((error: WaybillError) => error);
    const early = outsider.address; // leaves while the payload is being uploaded
    await contractor.admit([early]);
    let expelled: Promise<void> | undefined;
    const fetch = watching((path) => {
      if (!path.endsWith("/finish")) return;
      expelled ??= contractor.expel([early]);
      return expelled;
    });
    const [partly] = await Promise.all([
      member(0, { fetch }).channel.batchSendStream({ target: [early, bob], dataStream: randomBytes(10), tag: "early" }),
      member(1).channel.receiveStream({ source: alice, tag: "early" }),
    ]);
    expect(partly).toEqual([bob]);
    await out.contractor.members();
    const [sent] = await Promise.all([
      channel
        .batchSendStream({
          target: [erin, bob],
          dataStream: randomBytes(10),
          tag: "expel",
          onNotice: () => void contractor.expel([erin]),
          ensureAllSucc: true,
        })
        .catch((error: WaybillError) => error),
      member(1).channel.receiveStream({ source: alice, tag: "expel" }),
    ]);
    expect(sent).toEqual(coded("NOT_ALL_RECEIVED", { received: [bob], failed: { [erin]: "EXPELLED" } }));
    expect(await left).toEqual(coded("EXPELLED"));
    await expect(out.channel.sendStream({ target: bob, dataStream: randomBytes(1) })).rejects.toThrow(
      coded("NOT_MEMBER"),
    );
    await expect(channel.sendStream({ target: erin, dataStream: randomBytes(1) })).rejects.toThrow(coded("NOT_MEMBER"));
  });
});
