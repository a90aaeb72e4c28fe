import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createApi } from "../functions/api.ts";
import { payloadKey, type TransferRef } from "../functions/keys.ts";
import { Outbox } from "../functions/outbox.ts";
import { Records, type TransferRecord } from "../functions/records.ts";
import { Store } from "../functions/store.ts";
import { Sweeper, type SweepReport } from "../functions/sweeper.ts";
import { transferId } from "../lib/protocol/manifest.ts";
import { noticeId, statementId } from "../lib/protocol/statements.ts";
import { type Answer, ApiWorld, type Caller, expectStatus, type Payload } from "./support/api.ts";
import { type Compiled, compileSources } from "./support/compiled.ts";
import type { Task } from "./support/contract.ts";
import { Faulty, type Passing } from "./support/faulty.ts";

// The sweeper meets finish, begin and another sweeper at the worst moment, a store that misbehaves, and kill -9.

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const error = (code: string) => `<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`;
/** The SDK tries three times. */
const ALWAYS = 1000;

let api: ApiWorld;
let faulty: Faulty;
/** The bucket by way of `faulty`. */
let behind: Store;
let task: Task;
let sender: Caller;
let recipient: Caller;
let records: Records;
let tag: string;
let made = 0;

beforeAll(async () => {
  api = await ApiWorld.start();
  faulty = await Faulty.start(api.s3.endpoint);
  behind = new Store({ ...api.deps.config, s3Endpoint: faulty.origin });
  task = await api.task(3);
  sender = api.caller(task.members[0]!);
  recipient = api.caller(task.members[1]!);
  records = new Records(api.deps.store);
});
afterAll(async () => {
  behind?.close();
  faulty?.stop();
  await api?.stop();
});
beforeEach(async () => {
  tag = `swept-${++made}`;
  const { store } = api.deps;
  await store.delete((await store.list("payload/")).map(({ key }) => key));
  for (const { key, uploadId } of (await store.listUploads("payload/", null)).entries) await store.abort(key, uploadId);
});
afterEach(() => faulty.heal());

const refOf = (name = tag): TransferRef => ({ task: task.id, sender: sender.account, transfer: transferId(name) });
const record = async (name = tag): Promise<TransferRecord> => (await records.read(refOf(name)))!.record;
const head = (generation = 0) => api.deps.store.head(payloadKey(refOf(), generation));
const sweepAfter = (ms: number, store: Store = api.deps.store): Promise<SweepReport> => {
  const { chain, config } = api.deps;
  return new Sweeper({ store, chain, retention: config.retention, clock: () => Date.now() + ms }).sweep();
};
/** The functions by way of `faulty`. */
const throughFaulty = async <T>(work: () => Promise<T>): Promise<T> => {
  const direct = api.drive;
  const app = createApi({ ...api.deps, store: behind, outbox: new Outbox(behind, api.deps.config) });
  api.drive = async (request) => app.fetch(request);
  try {
    return await work();
  } finally {
    api.drive = direct;
  }
};
const publish = async (payload: Payload): Promise<Answer & { id: string }> => {
  const signed = await sender.notice(task, payload, [1]);
  const answer = await sender.finish(task, payload.transfer, { notices: [signed] });
  return { ...answer, id: noticeId(signed.notice) };
};
const finish = (payload: Payload) => sender.finish(task, payload.transfer, { manifest: payload.text, notices: [] });
const postedIds = async () => (await api.posted()).map(({ statement, author }) => statementId(statement, author));
/** Once, after the store has carried out the first request of this kind and before its answer goes back. */
const whenDone = (method: string, match: RegExp, work: () => Promise<unknown>): (() => boolean) => {
  let done = false;
  faulty.break(method, match, {
    after: async () => {
      await work();
      done = true;
    },
  });
  return () => done;
};
const RECORD = /record\.json/;

describe("of a sweeper and", () => {
  it("a finish that publishes between its look and its word, the sweeper loses", async () => {
    const payload = await sender.stored(task, tag, randomBytes(20));
    const published = whenDone("GET", RECORD, async () => expect((await publish(payload)).status).toBe(202));
    expect(await sweepAfter(2 * DAY_MS, behind)).toMatchObject({ swept: { payloads: 0 }, left: { changed: 1 } });
    expect(published()).toBe(true);
    expect(await record()).toMatchObject({ state: "finished", notices: [expect.any(String)] });
    expect(await head()).not.toBeNull();
  });

  it("a finish in whose midst it had its word, finish loses, and publishes nothing", async () => {
    const payload = await sender.stored(task, tag, randomBytes(20));
    // The record's second reading is the one that finish changes.
    let readings = 0;
    let swept: SweepReport | undefined;
    faulty.rule = ({ method, target }) => {
      if (method !== "GET" || !RECORD.test(target) || ++readings !== 2) return null;
      return {
        after: async () => {
          swept = await sweepAfter(2 * DAY_MS);
        },
      };
    };
    const answer = await throughFaulty(() => publish(payload));
    expect(swept).toMatchObject({ swept: { payloads: 1 } });
    expect(answer).toMatchObject({ status: 409, json: { code: "NOT_STORED" } });
    expect(await record()).toMatchObject({ state: "swept", notices: [] });
    expect(await postedIds()).not.toContain(answer.id);
  });

  it("a finish that has just completed its upload, finish wins: what is completed has a day more", async () => {
    const payload = await sender.upload(task, tag, randomBytes(20));
    const { answer, swept } = await sweepBetween("POST", /uploadId=/, () => finish(payload));
    expect(answer.status).toBe(200);
    expect(swept).toMatchObject({ left: { unfinished: 1 } });
    expect(await record()).toMatchObject({ state: "finished", keepUntil: 0 });
  });

  it("a finish that comes back for what it has completed, on that last day's end, the sweeper loses", async () => {
    const payload = await sender.upload(task, tag, randomBytes(20));
    const { uploadId } = await record();
    const held = (await api.deps.store.listParts(payloadKey(refOf()), uploadId))!;
    expect(await api.deps.store.complete(payloadKey(refOf()), uploadId, held)).toBe("done");
    expect(await sweepAfter(2 * DAY_MS)).toMatchObject({ left: { unfinished: 1 } });
    const finished = whenDone("GET", RECORD, async () => expect((await finish(payload)).status).toBe(200));
    expect(await sweepAfter(4 * DAY_MS, behind)).toMatchObject({ swept: { payloads: 0 }, left: { changed: 1 } });
    expect(finished()).toBe(true);
    expect(await record()).toMatchObject({ state: "finished", keepUntil: 0 });
    expect(await head()).not.toBeNull();
  });

  it("a finish that listed the parts of an upload that is given up then, the sender begins anew", async () => {
    const payload = await sender.upload(task, tag, randomBytes(20));
    const { answer, swept } = await sweepBetween("GET", /uploadId=/, () => finish(payload));
    expect(swept).toMatchObject({ aborted: 1 });
    expect(answer).toMatchObject({ status: 409, json: { code: "NOT_STORED" } });
    expect(await record()).toMatchObject({ state: "aborted" });
    await sender.begin(task, tag, 20, { partSize: 16 });
    await sender.putParts(task, payload);
    expectStatus(await finish(payload), 200);
  });

  it("a finish that was held up until its transfer began again, finish does not bind the new upload", async () => {
    const payload = await sender.upload(task, tag, randomBytes(20));
    const days = async (): Promise<SweepReport> => {
      await sweepAfter(2 * DAY_MS);
      const swept = await sweepAfter(4 * DAY_MS);
      await sender.begin(task, tag, 20, { partSize: 16 });
      return swept;
    };
    const { answer, swept } = await sweepBetween("PUT", /manifest\.json/, () => finish(payload), days);
    expect(swept).toMatchObject({ swept: { payloads: 1 } });
    expect(answer).toMatchObject({ status: 409, json: { code: "NOT_STORED" } });
    expect(await record()).toMatchObject({ state: "open", generation: 1, digest: payload.digest });
  });

  it("a begin that has made its upload and not yet its record, begin wins", async () => {
    const created = whenDone("POST", /\?uploads/, () => sweepAfter(HOUR_MS / 2));
    expect((await throughFaulty(() => sender.begin(task, tag, 20))).state).toBe("open");
    expect(created()).toBe(true);
    expect(await api.deps.store.countUploads("payload/", 10)).toBe(1);
  });

  it("a begin that was held up there for hours, the next begin puts it right", async () => {
    const created = whenDone("POST", /\?uploads/, async () =>
      expect(await sweepAfter(2 * HOUR_MS)).toMatchObject({ aborted: 1 }),
    );
    expect((await throughFaulty(() => sender.begin(task, tag, 20))).state).toBe("open");
    expect(created()).toBe(true);
    const payload = await sender.stored(task, tag, randomBytes(20));
    expect(await record()).toMatchObject({ state: "finished", digest: payload.digest });
  });

  it("another sweeper, one has its word and both may delete", async () => {
    const names = Array.from({ length: 30 }, (_, i) => `${tag}/${i}`);
    for (const name of names.slice(0, 15)) await sender.stored(task, name, randomBytes(20));
    for (const name of names.slice(15)) await sender.upload(task, name, randomBytes(20));
    const [one, two] = await Promise.all([sweepAfter(2 * DAY_MS), sweepAfter(2 * DAY_MS)]);
    expect([one.fault, two.fault]).toEqual([null, null]);
    expect(await sweepAfter(2 * DAY_MS)).toMatchObject({ left: {}, next: null });
    expect(await api.deps.store.list("payload/")).toEqual([]);
    expect(await api.deps.store.countUploads("payload/", 10)).toBe(0);
    const states = await Promise.all(names.map(async (name) => (await record(name)).state));
    expect(states).toEqual(names.map((_, i) => (i < 15 ? "swept" : "aborted")));
  });

  it("another one that was held up before its delete, what was sent again meanwhile stays", async () => {
    const payload = await sender.stored(task, tag, randomBytes(20));
    const [gate, reached] = [new EventEmitter(), new EventEmitter()];
    class HeldUp extends Store {
      override async delete(keys: string | readonly string[]): Promise<void> {
        const opened = once(gate, "open");
        reached.emit("delete");
        await opened;
        return super.delete(keys);
      }
    }
    const store = new HeldUp(api.deps.config);
    const atDelete = once(reached, "delete");
    const late = sweepAfter(2 * DAY_MS, store);
    await atDelete;
    expect(await sweepAfter(2 * DAY_MS)).toMatchObject({ swept: { payloads: 1 } });
    await sender.begin(task, tag, 20);
    await sender.putParts(task, payload);
    expectStatus(await finish(payload), 200);
    const signed = await sender.notice(task, payload, [1]);
    expectStatus(await sender.finish(task, payload.transfer, { notices: [signed] }), 202);
    await api.relay({ statement: signed.notice, author: sender.account, signature: signed.signature });
    gate.emit("open");
    expect(await late).toMatchObject({ fault: null });
    store.close();
    const answer = expectStatus(await recipient.download(task, noticeId(signed.notice)), 200);
    const got = await fetch(String(answer.url), { headers: answer.headers as Record<string, string> });
    expect(Buffer.from(await got.arrayBuffer())).toEqual(Buffer.concat(payload.slices));
  });

  /** A request through the functions, with a sweep after the store has carried out its first call of this kind. */
  async function sweepBetween(
    method: string,
    match: RegExp,
    request: () => Promise<Answer>,
    sweep: () => Promise<SweepReport> = () => sweepAfter(2 * DAY_MS),
  ): Promise<{ answer: Answer; swept: SweepReport }> {
    let swept: SweepReport | undefined;
    const answer = await throughFaulty(async () => {
      const done = whenDone(method, match, async () => {
        swept = await sweep();
      });
      const result = await request();
      expect(done()).toBe(true);
      return result;
    });
    return { answer, swept: swept! };
  }
});

describe("a store that", () => {
  const three = async (): Promise<void> => {
    for (const name of ["a", "b", "c"]) await sender.stored(task, `${tag}/${name}`, randomBytes(20));
  };
  const under = (name: string, rest: string): RegExp => new RegExp(`${transferId(`${tag}/${name}`)}${rest}`);

  it("doesn't give one record away leaves that payload to a later run, and none of the others", async () => {
    await three();
    faulty.break("GET", under("b", "/record"), { status: 503, body: error("SlowDown") }, ALWAYS);
    const report = await sweepAfter(2 * DAY_MS, behind);
    expect(report).toMatchObject({ swept: { payloads: 2 }, left: { failed: 1 }, next: null });
    expect(report.fault).toMatch(/^UNAVAILABLE/);
    faulty.heal();
    expect(await sweepAfter(2 * DAY_MS, behind)).toMatchObject({ swept: { payloads: 1 }, left: {}, fault: null });
  });

  it("deletes nothing is asked again, and its records say already what goes", async () => {
    await three();
    faulty.rule = ({ method, target }: Passing) =>
      method === "DELETE" || target.includes("?delete") ? { status: 503, body: error("SlowDown") } : null;
    expect(await sweepAfter(2 * DAY_MS, behind)).toMatchObject({ swept: { payloads: 0 }, left: { failed: 3 } });
    for (const name of ["a", "b", "c"]) expect((await record(`${tag}/${name}`)).state).toBe("swept");
    faulty.heal();
    expect(await sweepAfter(2 * DAY_MS, behind)).toMatchObject({ swept: { payloads: 3, bytes: 60 } });
  });

  it("knows no DeleteObjects is asked for each", async () => {
    await three();
    faulty.rule = ({ target }) => (target.includes("?delete") ? { status: 501, body: error("NotImplemented") } : null);
    expect(await sweepAfter(2 * DAY_MS, behind)).toMatchObject({ swept: { payloads: 3 }, fault: null });
    expect(await api.deps.store.list("payload/")).toEqual([]);
  });

  it.each([
    ["loses its answer", "lost" as const],
    ["turns it down for another writer", { status: 409, body: error("ConditionalRequestConflict") }],
    ["turns it down for another version", { status: 412, body: error("PreconditionFailed") }],
  ])("%s to the sweeper's word, and it goes now or the next time", async (_, fault) => {
    await sender.stored(task, tag, randomBytes(20));
    faulty.break("PUT", RECORD, fault);
    const first = await sweepAfter(2 * DAY_MS, behind);
    const second = await sweepAfter(2 * DAY_MS, behind);
    expect(first.swept.payloads + second.swept.payloads).toBe(1);
    expect([first.fault, second.fault]).toEqual([null, null]);
    expect(await record()).toMatchObject({ state: "swept" });
    expect(await head()).toBeNull();
  });

  it("doesn't abort an upload is asked again", async () => {
    await sender.upload(task, tag, randomBytes(20));
    faulty.break("DELETE", /uploadId=/, { status: 503, body: error("SlowDown") }, ALWAYS);
    expect(await sweepAfter(2 * DAY_MS, behind)).toMatchObject({ aborted: 0, left: { failed: 1 } });
    expect(await record()).toMatchObject({ state: "aborted" });
    faulty.heal();
    expect(await sweepAfter(2 * DAY_MS, behind)).toMatchObject({ aborted: 1 });
    expect(await api.deps.store.countUploads("payload/", 10)).toBe(0);
  });

  it.each([
    ["uploads", /\?uploads|&uploads/],
    ["payloads", /list-type=2/],
  ])("doesn't list its %s ends the run with a fault, and the next one goes on", async (_, match) => {
    await three();
    faulty.break("GET", match, { status: 503, body: error("SlowDown") }, ALWAYS);
    const report = await sweepAfter(2 * DAY_MS, behind);
    expect(report).toMatchObject({ swept: { payloads: 0 } });
    expect(report.fault).toMatch(/^UNAVAILABLE/);
    expect(report.next).not.toBeNull();
    faulty.heal();
    expect(await sweepAfter(2 * DAY_MS, behind)).toMatchObject({ swept: { payloads: 3 }, next: null });
  });

  it("answers nothing at all is left alone", async () => {
    await three();
    faulty.rule = () => ({ status: 500, body: error("InternalError") });
    const report = await sweepAfter(2 * DAY_MS, behind);
    expect(report.fault).toMatch(/^UNAVAILABLE/);
    expect(JSON.stringify(report)).not.toMatch(/127\.0\.0\.1|X-Amz|payload\//);
    faulty.heal();
    expect(await sweepAfter(2 * DAY_MS, behind)).toMatchObject({ swept: { payloads: 3 } });
  });
});

describe("the clock", () => {
  it("is not believed alone when it is ahead of ours: one answer with a wrong date gives nothing up", async () => {
    const key = payloadKey(refOf());
    const initiated = new Date(Date.now() - 60_000).toISOString();
    const upload = `<Upload><Key>${key}</Key><UploadId>u</UploadId><Initiated>${initiated}</Initiated></Upload>`;
    const asked: string[] = [];
    const front = createServer(({ method, url = "" }, response) => {
      asked.push(`${method}`);
      const listed = url.includes("uploads")
        ? `<ListMultipartUploadsResult>${upload}</ListMultipartUploadsResult>`
        : "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
      const missing = url.includes("transfer/");
      const date = new Date(Date.now() + 400 * DAY_MS).toUTCString();
      response.writeHead(missing ? 404 : 200, { date, "content-type": "application/xml" });
      response.end(missing ? error("NoSuchKey") : listed);
    });
    front.listen(0, "127.0.0.1");
    await once(front, "listening");
    const { chain, config } = api.deps;
    const store = new Store({ ...config, s3Endpoint: `http://127.0.0.1:${(front.address() as AddressInfo).port}` });
    const report = await new Sweeper({ store, chain, retention: config.retention }).sweep();
    expect(report).toMatchObject({ aborted: 0, left: { young: 1 } });
    expect(asked).not.toContain("DELETE");
    store.close();
    front.close();
    front.closeAllConnections();
  });

  it("is the store's where that one is behind: a machine whose own is ahead sweeps nothing too early", async () => {
    const away = -3 * DAY_MS;
    const front = createServer(({ headers }, response) => {
      const date = Date.now() + away;
      const signed = Date.parse(String(headers["x-amz-date"]).replace(/^(....)(..)(.....)(..)/, "$1-$2-$3:$4:"));
      const late = Math.abs(signed - date) > 900_000; // as S3 does, whose clock it then is
      response.writeHead(late ? 403 : 200, { date: new Date(date).toUTCString(), "content-type": "application/xml" });
      response.end(
        late ? error("RequestTimeTooSkewed") : "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
      );
    });
    front.listen(0, "127.0.0.1");
    await once(front, "listening");
    const s3Endpoint = `http://127.0.0.1:${(front.address() as AddressInfo).port}`;
    const store = new Store({ ...api.deps.config, s3Endpoint });
    expect(Math.abs(store.now() - Date.now())).toBeLessThan(5_000);
    await store.list("payload/");
    expect(Math.abs(store.now() - Date.now() - away)).toBeLessThan(60_000);
    store.close();
    front.close();
    front.closeAllConnections();
  });
});

describe("kill -9 of a sweeper", () => {
  let compiled: Compiled;
  const children: ChildProcess[] = [];
  beforeAll(() => {
    compiled = compileSources();
  });
  afterAll(() => compiled?.remove());
  afterEach(() => {
    for (const child of children.splice(0)) child.kill("SIGKILL");
  });

  /** A process that sweeps once, four days ahead of its time. */
  function start(): ChildProcess {
    const url = (module: string): string => JSON.stringify(compiled.path(module));
    const program = `
      import { Store } from ${url("functions/store.js")};
      import { Sweeper } from ${url("functions/sweeper.js")};
      import { ChainReader } from ${url("lib/chain/reader.js")};
      const config = JSON.parse(process.env.CONFIG);
      const clock = () => Date.now() + ${4 * DAY_MS};
      const sweeper = new Sweeper({ store: new Store(config), chain: new ChainReader(config), retention: config.retention, clock });
      const { fault, next } = await sweeper.sweep();
      process.exit(fault === null && next === null ? 0 : 1);`;
    const config = { ...api.deps.config, s3Endpoint: faulty.origin };
    const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
      env: { ...process.env, NODE_OPTIONS: "", CONFIG: JSON.stringify(config) },
      stdio: ["ignore", "ignore", "inherit"],
    });
    children.push(child);
    return child;
  }
  async function ended(child: ChildProcess): Promise<"killed" | "done"> {
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    if (child.signalCode === "SIGKILL") return "killed";
    expect(child.exitCode).toBe(0);
    return "done";
  }

  /** Something of each kind that goes, and something that stays. */
  async function bucketful(due: Uint8Array = randomBytes(20)): Promise<void> {
    await sender.stored(task, `${tag}/due`, due);
    await sender.stored(task, `${tag}/due-too`, randomBytes(20));
    await sender.upload(task, `${tag}/idle`, randomBytes(20));
    await api.deps.store.createUpload(payloadKey(refOf(`${tag}/orphan`)), "text/plain");
    const kept = await sender.stored(task, `${tag}/kept`, randomBytes(30));
    const deadline = (await api.world.now()) + 20 * 86_400;
    const signed = await sender.notice(task, kept, [1], { deadline });
    expectStatus(await sender.finish(task, kept.transfer, { notices: [signed] }), 202);
  }
  async function expectSwept(): Promise<void> {
    const { store } = api.deps;
    expect((await store.list("payload/")).map(({ key }) => key)).toEqual([payloadKey(refOf(`${tag}/kept`))]);
    expect(await store.countUploads("payload/", 10)).toBe(0);
    const states = await Promise.all(["due", "due-too", "idle", "kept"].map((name) => record(`${tag}/${name}`)));
    expect(states.map(({ state }) => state)).toEqual(["swept", "swept", "aborted", "finished"]);
  }
  const points: [string, string, RegExp][] = [
    ["after it was told what there is", "GET", /list-type=2/],
    ["after its first word", "PUT", RECORD],
    ["after an abort", "DELETE", /uploadId=/],
    ["after the deletes", "POST", /\?delete/],
  ];
  it.each(points)("%s leaves nothing that the next one doesn't finish", async (_, method, match) => {
    await bucketful();
    const child = start();
    faulty.rule = (passing) =>
      passing.method === method && match.test(passing.target)
        ? { after: async () => void child.kill("SIGKILL") }
        : null;
    expect(await ended(child)).toBe("killed");
    faulty.heal();
    expect(await ended(start())).toBe("done");
    await expectSwept();
  });

  it("again and again, each time a call later, gets to the same end", async () => {
    const due = randomBytes(20);
    await bucketful(due);
    let kills = 0;
    for (let last = 1, done = false; !done; last++) {
      const child = start();
      let calls = 0;
      faulty.rule = () => (++calls >= last ? { after: async () => void child.kill("SIGKILL") } : null);
      done = (await ended(child)) === "done";
      kills += done ? 0 : 1;
    }
    expect(kills).toBeGreaterThan(4);
    await expectSwept();
    for (const [name, bytes] of [
      ["due", due],
      ["idle", randomBytes(44)],
    ] as const) {
      const { digest } = await sender.stored(task, `${tag}/${name}`, bytes);
      expect(await record(`${tag}/${name}`)).toMatchObject({ state: "finished", digest, generation: 1 });
    }
  });
});
