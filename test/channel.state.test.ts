import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TaskContractor, type TaskNews } from "../lib/index.ts";
import {
  type Cast,
  coded,
  eventually,
  nameOf,
  newsOf,
  noticed,
  type Process,
  parcel,
  rejection,
  Scene,
  standing,
  watching,
} from "./support/members.ts";

// What survives a process: its reading position, its receipts, and payloads that it has acknowledged.

let scene: Scene;
let dir: string;
beforeAll(async () => {
  scene = await Scene.start();
  dir = await mkdtemp(join(tmpdir(), "waybill-test-state-"));
});
afterAll(async () => {
  await scene?.stop();
  await rm(dir, { recursive: true, force: true });
});

/** Expects what is there to be read now, and no more. */
async function expectUnread({ contractor }: Process, ...names: string[]): Promise<void> {
  expect((await newsOf(contractor, names.length)).map(nameOf)).toEqual(names);
}

async function next({ contractor }: Process): Promise<string> {
  for await (const news of contractor.events()) return nameOf(news);
  throw new Error("the events ended");
}

const post = ({ contractor }: Process, ...kinds: string[]) =>
  kinds.reduce<Promise<unknown>>(
    (before, kind) => before.then(() => contractor.post({ kind, body: null })),
    Promise.resolve(),
  );

async function pair(): Promise<{ cast: Cast; owner: Process; stateDir: string }> {
  const cast = await scene.cast(2);
  return { cast, owner: cast.process(0), stateDir: await mkdtemp(join(dir, "member-")) };
}

describe("the reading position", () => {
  it("without a stateDir is the newest event when the contractor is made; `from` overrides", async () => {
    const { cast, owner } = await pair();
    await post(owner, "before");
    let looked = (): void => {};
    const known = new Promise<void>((resolve) => {
      looked = resolve;
    });
    const fetch = watching(
      () => {},
      (path, text) => {
        if (path === `/v1/tasks/${cast.task}/events`) looked();
        return text;
      },
    );
    const made = cast.process(1, { fetch });
    await known; // no call was needed for it
    await post(owner, "after");
    expect(await next(made)).toBe("after");
    await expectUnread(cast.process(1));
    await expectUnread(cast.process(1, { from: 0 }), "opened", "before", "after");
    await expectUnread(cast.process(1, { from: 1 }), "before", "after");
  });

  it("of whoever opens a task is its opening, so that nobody's first word is missed", async () => {
    const cast = await scene.cast(2);
    const { deployment } = scene.stack;
    const members = [...cast.accounts];
    const opened = scene.adopt(await TaskContractor.open({ signer: cast.wallets[0]!, members, deployment }));
    const other = scene.adopt(new TaskContractor({ task: opened.task, signer: cast.wallets[1]!, deployment }));
    await other.post({ kind: "check_in", body: {} });
    for await (const news of opened.events()) {
      expect(nameOf(news)).toBe("check_in");
      break;
    }
  });

  it("is known before anything is posted: what my own statement causes comes after it", async () => {
    const { cast, owner } = await pair();
    const order: string[] = [];
    const fetch = watching((path, method) => order.push(`${method} ${path.split("/").at(-1)}`));
    const me = cast.process(1, { fetch });
    await post(me, "mine");
    const first = order.indexOf("POST messages");
    expect(order.slice(0, first)).toContain("GET events");
    expect(await next(me)).toBe("mine");
    await owner.contractor.members();
  });

  it("in a stateDir outlives the process, past what a reader took, and a file of its own for each task and account", async () => {
    const { cast, owner, stateDir } = await pair();
    const first = cast.process(1, { stateDir });
    await first.contractor.members();
    await post(owner, "1", "2", "3");
    expect([await next(first), await next(first)]).toEqual(["1", "2"]);
    await first.contractor.close();
    const { chainId, contract } = scene.stack.deployment;
    const account = cast.accounts[1]!.toLowerCase();
    expect(await readdir(stateDir)).toEqual([`${chainId}-${contract}-${cast.task}-${account}.json`]);
    const second = cast.process(1, { stateDir });
    await expectUnread(second, "3");
    await second.contractor.close();
    await expectUnread(cast.process(1, { stateDir }));
    await expectUnread(cast.process(1, { stateDir, from: 1 }), "1", "2", "3");
  });

  it("does not move past an event before every handler active then has finished it", async () => {
    const { cast, owner, stateDir } = await pair();
    const me = cast.process(1, { stateDir });
    await me.contractor.members();
    const end = new AbortController();
    const quick: string[] = [];
    let finish = (): void => {};
    const slow = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const receive = (tag: string, complementaryHandler: (news: TaskNews) => unknown) =>
      rejection(me.channel.receiveStream({ source: owner.account, tag, signal: end.signal, complementaryHandler }));
    let both = (): void => {};
    const seen = new Promise<void>((resolve) => {
      both = resolve;
    });
    const waits = [receive("a", () => slow), receive("b", (news) => quick.push(nameOf(news)) === 2 && both())];
    await post(owner, "1", "2");
    await seen;
    await expectUnread(cast.process(1, { stateDir }), "1", "2");
    finish();
    end.abort();
    expect(await Promise.all(waits)).toEqual([coded("ABORTED"), coded("ABORTED")]);
    await me.contractor.close();
    await expectUnread(cast.process(1, { stateDir }));
  });

  it("stays before an event whose handler failed, as long as the program does not carry on", async () => {
    const { cast, owner, stateDir } = await pair();
    const me = cast.process(1, { stateDir });
    await me.contractor.members();
    const mine = new Error("mine");
    const complementaryHandler = (): never => {
      throw mine;
    };
    const received = rejection(me.channel.receiveStream({ source: owner.account, complementaryHandler }));
    await post(owner, "1");
    expect(await received).toBe(mine);
    await expectUnread(cast.process(1, { stateDir }), "1");
    await post(owner, "2");
    expect(await next(me)).toBe("2");
    await me.contractor.close();
    await expectUnread(cast.process(1, { stateDir }));
  });

  it("that can't be kept, or is none, is an error", async () => {
    const { cast, stateDir } = await pair();
    const file = join(stateDir, "file");
    await writeFile(file, "");
    expect(await rejection(cast.process(1, { stateDir: join(file, "dir") }).contractor.members())).toEqual(
      coded("TARGET_UNWRITABLE"),
    );
    const first = cast.process(1, { stateDir: join(stateDir, "new") });
    await first.contractor.members();
    const [name] = await readdir(join(stateDir, "new"));
    for (const text of ["", "{}", '{"seq":-1}', '{"seq":"1"}']) {
      await writeFile(join(stateDir, "new", name!), text);
      expect(await rejection(cast.process(1, { stateDir: join(stateDir, "new") }).contractor.members())).toEqual(
        coded("USAGE"),
      );
    }
  });
});

describe("a participant that is started again", () => {
  it("before its receipt receives the payload that was sent to it before", async () => {
    const { cast, owner } = await pair();
    const { tag, dataStream } = parcel();
    const { onNotice, notice } = noticed();
    const sent = owner.channel.sendStream({ target: cast.accounts[1]!, dataStream, tag, onNotice });
    await standing(owner, (await notice).notice);
    const me = cast.process(1);
    expect(await me.channel.receiveStream({ source: owner.account })).toEqual([
      owner.account,
      new Uint8Array(dataStream),
    ]);
    expect(await sent).toBe(cast.accounts[1]);
  });

  it("after its receipt gets the payload again by its notice, and signs nothing", async () => {
    const { cast, owner } = await pair();
    const { tag, dataStream } = parcel();
    const { onNotice, notice } = noticed();
    const [id] = await Promise.all([
      notice.then((event) => event.notice),
      owner.channel.sendStream({ target: cast.accounts[1]!, dataStream, tag, onNotice }),
      cast.process(1).channel.receiveStream({ source: owner.account }),
    ]);
    const posted: string[] = [];
    const me = cast.process(1, { fetch: watching((path) => posted.push(path)) });
    const bytes = new Uint8Array(dataStream);
    expect(await me.channel.receiveStream({ notice: id })).toEqual([owner.account.toLowerCase(), bytes]);
    expect(
      await me.channel.receiveStream({ notice: id.toUpperCase().replace("X", "x"), source: owner.account }),
    ).toEqual([owner.account, bytes]);
    expect(posted.filter((path) => path.endsWith("/receipts"))).toEqual([]);
    await expect(me.channel.receiveStream({ source: owner.account, tag, timeout: 1_000 })).rejects.toThrow(
      coded("TIMEOUT"),
    );
  });

  it("in the middle of collecting finds what it had collected, and gets the rest", async () => {
    const cast = await scene.cast(3);
    const [aggregator, ...owners] = [cast.process(0), cast.process(1), cast.process(2)];
    const { tag, dataStream } = parcel();
    const target = cast.accounts[0]!;
    const first = owners[0]!.account;
    await Promise.all([
      owners[0]!.channel.sendStream({ target, dataStream, tag }),
      aggregator.channel.receiveStream({ source: first, tag }),
      owners[0]!.channel.sendStream({ target, dataStream, tag: `${tag}/other` }),
      aggregator.channel.receiveStream({ source: first, tag: `${tag}/other` }),
    ]);
    await aggregator.contractor.close();
    const again = cast.process(0);
    const [known, ...more] = await again.channel.notices({ source: first, tag });
    expect(more).toEqual([]);
    expect(known).toMatchObject({ sender: first.toLowerCase(), recipients: [{ state: "verified" }] });
    const [, [, old], [, fresh]] = await Promise.all([
      owners[1]!.channel.sendStream({ target, dataStream, tag }),
      again.channel.receiveStream({ notice: known!.notice }),
      again.channel.receiveStream({ source: owners[1]!.account, tag }),
    ]);
    expect([old, fresh]).toEqual([new Uint8Array(dataStream), new Uint8Array(dataStream)]);
    expect((await again.channel.notices()).length).toBe(3);
    expect(await owners[1]!.channel.notices({ source: first })).toEqual([]);
    expect(await rejection(again.channel.notices({ tag: "" }))).toEqual(coded("USAGE"));
  });

  it("can take an open notice by its id, and is told when there is nothing to be had by one", async () => {
    const cast = await scene.cast(3);
    const [owner, me, other] = [cast.process(0), cast.process(1), cast.process(2)];
    const { tag, dataStream } = parcel();
    const { onNotice, notice } = noticed();
    const end = new AbortController();
    const target = [me.account, other.account];
    const sent = rejection(owner.channel.batchSendStream({ target, dataStream, tag, onNotice, signal: end.signal }));
    const id = (await notice).notice;
    await standing(me, id);
    const outsider = cast.process(0).channel.receiveStream({ notice: id });
    await expect(outsider).rejects.toThrow(coded("NOT_RECIPIENT"));
    await expect(me.channel.receiveStream({ notice: id, source: other.account })).rejects.toThrow(coded("USAGE"));
    const [from, data] = await me.channel.receiveStream({ notice: id });
    expect([from, data]).toEqual([owner.account.toLowerCase(), new Uint8Array(dataStream)]);
    end.abort();
    expect(await sent).toEqual(coded("ABORTED", { received: [me.account] }));
    await expect(other.channel.receiveStream({ notice: id })).rejects.toThrow(coded("GONE"));
    await expect(other.channel.receiveStream({ notice: `0x${"12".repeat(32)}` })).rejects.toThrow(
      coded("UNKNOWN_NOTICE"),
    );
    await expect(other.channel.receiveStream({ notice: "0x12" })).rejects.toThrow(coded("USAGE"));
  });
});

describe("what is received", () => {
  it("comes out of a stream when all of it is verified, and leaves no file behind", async () => {
    const { cast, owner } = await pair();
    const { tag, dataStream } = parcel(3_000_000);
    const folder = await mkdtemp(join(dir, "tmp-"));
    const before = process.env.TMPDIR;
    process.env.TMPDIR = folder;
    try {
      const [, [from, stream]] = await Promise.all([
        owner.channel.sendStream({ target: cast.accounts[1]!, dataStream, tag }),
        cast.process(1).channel.receiveStream({ source: owner.account, tag, to: "stream" }),
      ]);
      expect(from).toBe(owner.account);
      expect(await readdir(folder)).toEqual([]);
      const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
      expect(Buffer.compare(bytes, dataStream)).toBe(0);
      const sourceList = [owner.account];
      const [, bySender] = await Promise.all([
        owner.channel.sendStream({ target: cast.accounts[1]!, dataStream, tag: `${tag}/2` }),
        cast.process(1).channel.batchReceiveStream({ sourceList, tag: `${tag}/2`, to: "stream" }),
      ]);
      await bySender.get(owner.account)!.cancel();
      expect(await readdir(folder)).toEqual([]);
    } finally {
      if (before === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = before;
    }
  });

  it("is asked about first: who refuses is told so, and so is the sender; an error signs nothing", async () => {
    const { cast, owner } = await pair();
    const [me, target] = [cast.process(1), cast.accounts[1]!];
    const { tag, dataStream } = parcel(123);
    const asked: unknown[] = [];
    const sent = owner.channel.batchSendStream({ target: [target], dataStream, tag, ensureAllSucc: true });
    const outcome = rejection(sent);
    const mine = new Error("mine");
    const fail = (): never => {
      throw mine;
    };
    expect(await rejection(me.channel.receiveStream({ source: owner.account, tag, accept: fail }))).toBe(mine);
    const accept = (manifest: { tag: string; size: number }, sender: string): boolean => {
      asked.push([manifest.tag, manifest.size, sender]);
      return false;
    };
    expect(await rejection(me.channel.receiveStream({ source: owner.account, tag, accept }))).toEqual(coded("REFUSED"));
    expect(await outcome).toEqual(coded("NOT_ALL_RECEIVED", { failed: { [target]: "REFUSED" } }));
    expect(asked).toEqual([[tag, 123, owner.account]]);
    expect(cast.downloads).toBe(0);
  });

  it("by a call that ended after its receipt is brought to wherever the next call wants it", async () => {
    const { cast, owner } = await pair();
    const { tag, dataStream } = parcel();
    const end = new AbortController();
    const me = cast.process(1, { fetch: watching((path) => path.endsWith("/receipts") && end.abort()) });
    const sent = owner.channel.sendStream({ target: cast.accounts[1]!, dataStream, tag });
    const source = owner.account;
    expect(await rejection(me.channel.receiveStream({ source, tag, to: "stream", signal: end.signal }))).toEqual(
      coded("ABORTED"),
    );
    const taken = join(await mkdtemp(join(dir, "in-")), "taken");
    await mkdir(taken);
    await expect(me.channel.receiveStream({ source, tag, to: { path: taken } })).rejects.toThrow(
      coded("TARGET_UNWRITABLE"),
    );
    const path = `${taken}.bin`;
    expect(await me.channel.receiveStream({ source, tag, to: { path } })).toEqual([source, path]);
    expect(Buffer.compare(await readFile(path), dataStream)).toBe(0);
    expect(await sent).toBe(cast.accounts[1]);
  });

  it("by a call that did not wait for its receipt is delivered once, though another notice of it comes first", async () => {
    const { cast, owner } = await pair();
    const { tag, dataStream } = parcel();
    const { onNotice, notice } = noticed();
    const end = new AbortController();
    const sent = rejection(
      owner.channel.sendStream({ target: cast.accounts[1]!, dataStream, tag, onNotice, signal: end.signal }),
    );
    const answered: string[] = [];
    // The receipts are taken, and don't get onto the chain.
    const slow: typeof fetch = async (input, init) => {
      if (!String(input).endsWith("/receipts")) return fetch(input, init);
      answered.push((JSON.parse(Buffer.from(init?.body as Uint8Array).toString()) as { notice: string }).notice);
      return new Response(JSON.stringify({ statement: `0x${"12".repeat(32)}` }), { status: 202 });
    };
    const me = cast.process(1, { fetch: slow });
    await me.channel.receiveStream({ source: owner.account, tag, receipt: "sent" });
    const first = (await notice).notice;
    const second = await cast.copyNotice(0, first, { later: 100 });
    await standing(me, second);
    const enough = new AbortController();
    const again = rejection(me.channel.receiveStream({ source: owner.account, tag, signal: enough.signal }));
    await eventually(() => answered.length > 1 || null);
    expect(answered).toEqual([first, second]);
    enough.abort();
    expect(await again).toEqual(coded("ABORTED"));
    end.abort();
    expect(await sent).toEqual(coded("ABORTED"));
  });

  it("has a status on the chain that both sides see", async () => {
    const { cast, owner } = await pair();
    const { tag, dataStream } = parcel();
    const { onNotice, notice } = noticed();
    await Promise.all([
      owner.channel.sendStream({ target: cast.accounts[1]!, dataStream, tag, onNotice }),
      cast.process(1).channel.receiveStream({ source: owner.account, tag }),
    ]);
    const { notice: id } = await notice;
    for (const one of [owner, cast.process(1)])
      expect(await one.channel.status(id)).toMatchObject({ recipients: [{ state: "verified", outcome: "VERIFIED" }] });
  });
});

describe("a tag", () => {
  it.each(["a\nb", "\u0000", "a\u007f", "\u0085"])(
    "with a control character (%j) is refused before anything is sent",
    async (tag) => {
      const cast = await scene.cast(2);
      const sent = cast.process(0).channel.sendStream({ target: cast.accounts[1]!, dataStream: Buffer.from("x"), tag });
      await expect(sent).rejects.toThrow(coded("USAGE"));
      expect(cast.uploads).toBe(0);
    },
  );
});
