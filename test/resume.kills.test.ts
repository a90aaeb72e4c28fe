import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { LogDescription } from "ethers";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { transferId } from "../lib/protocol/manifest.ts";
import type { RequestLog } from "../local/store/store.ts";
import { type Compiled, compileSources } from "./support/compiled.ts";
import { groupsIn, waybill } from "./support/contract.ts";
import { type Cast, eventually, noticed, parcel, Scene } from "./support/members.ts";

// A member's whole process, killed while it sends or receives, and started again with nothing but its key and its files.

const PART = 5 * 2 ** 20;
const PARTS = 8;
const SIZE = (PARTS - 1) * PART + 12_345;

let compiled: Compiled;
let scene: Scene;
let home: string;
let cast: Cast;
let bytes: Buffer;
let tag: string;
const children = new Set<Child>();

beforeAll(async () => {
  compiled = compileSources();
  scene = await Scene.start();
});
afterAll(async () => {
  await scene?.stop();
  compiled?.remove();
});
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "waybill-test-kills-"));
  cast = await scene.cast(2);
  ({ dataStream: bytes, tag } = parcel(SIZE));
});
afterEach(async () => {
  scene.onRequest = () => {};
  for (const child of children) await child.kill();
  children.clear();
  await rm(home, { recursive: true, force: true });
});

/** Where a process stops, says so, and waits to be killed. */
interface Stop {
  /** When so many parts are done. */
  readonly parts?: number;
  /** At the nth call of this route, before it goes out or when its answer has come. */
  readonly route?: string;
  readonly nth?: number;
  readonly when?: "before" | "after";
}

interface Said {
  readonly stopped?: true;
  readonly done?: unknown;
  readonly code?: string;
  readonly notice?: { readonly notice: string; readonly joined: boolean };
  readonly progress?: number;
}

/** One process of a member. */
class Child {
  readonly #process: ChildProcess;
  readonly #ended: Promise<unknown>;
  readonly said: Said[] = [];
  #wake: () => void = () => {};

  /** @param kib The longest file that it may write, as on a disk that is full then. */
  constructor(index: number, call: "sendStream" | "receiveStream", options: object, stop: Stop = {}, kib?: number) {
    const program = `
      import { createReadStream, writeSync } from "node:fs";
      import { Wallet } from "ethers";
      import { SharedFileDataChannel, TaskContractor } from ${JSON.stringify(compiled.path("lib/index.js"))};
      const { task, deployment, key, call, options, stop } = JSON.parse(process.env.ORDER);
      setInterval(() => {}, 1000);
      const say = (said) => writeSync(1, JSON.stringify(said) + "\\n");
      const stay = () => { say({ stopped: true }); return new Promise(() => {}); };
      let calls = 0;
      const held = async (input, init) => {
        const here = stop.route && new URL(String(input)).pathname.endsWith(stop.route) && ++calls === stop.nth;
        if (here && stop.when === "before") await stay();
        const response = await fetch(input, init);
        if (here) await stay();
        return response;
      };
      const onProgress = ({ partsDone }) => {
        say({ progress: partsDone });
        if (partsDone !== stop.parts) return;
        say({ stopped: true });
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); // nothing of this process moves any more
      };
      const onNotice = call === "sendStream" && { onNotice: ({ notice, joined }) => say({ notice: { notice, joined } }) };
      if (options.stream) options.dataStream = createReadStream(options.stream);
      delete options.stream;
      const contractor = new TaskContractor({ task, signer: new Wallet(key), deployment, fetch: held });
      const channel = new SharedFileDataChannel(contractor);
      try {
        say({ done: await channel[call]({ ...options, onProgress, ...onNotice }) });
      } catch (error) {
        say({ code: error.code ?? String(error.stack) });
      }
      await contractor.close();
      process.exit(0);`;
    const { deployment } = scene.stack;
    const order = { task: cast.task, deployment, key: cast.wallets[index]!.privateKey, call, options, stop };
    const limit = `ulimit -f ${kib ?? "unlimited"}; exec "$@"`;
    const node = [process.execPath, "--input-type=module", "-e", program];
    this.#process = spawn("bash", ["-c", limit, "bash", ...node], {
      env: { ...process.env, NODE_OPTIONS: process.env.WAYBILL_TEST_PRELOAD ?? "", ORDER: JSON.stringify(order) },
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#ended = once(this.#process, "close");
    children.add(this);
    createInterface({ input: this.#process.stdout! }).on("line", (line) => {
      this.said.push(JSON.parse(line) as Said);
      this.#wake();
    });
  }

  /** The first that it says of this kind. */
  async says<K extends keyof Said>(what: K): Promise<NonNullable<Said[K]>> {
    for (;;) {
      const found = this.said.find((said) => said[what] !== undefined);
      if (found) return found[what]!;
      const more = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await this.lives(more);
    }
  }

  /** Waits for something that only a living process brings about. */
  async lives(what: Promise<void>): Promise<void> {
    const ended = this.#ended.then(() => true);
    if (await Promise.race([what, ended])) throw new Error(`It ended too soon: ${JSON.stringify(this.said.at(-1))}`);
  }

  /** What its call resolved with, or its error's code. */
  async result(): Promise<unknown> {
    await this.#ended;
    const last = this.said.at(-1);
    return last?.done ?? last?.code ?? null;
  }

  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#ended;
  }
}

/** The events of this task, as the chain's raw logs have them. */
async function eventsOf(name: string): Promise<LogDescription[]> {
  const filter = { address: scene.stack.deployment.contract, fromBlock: "0x0", toBlock: "latest" };
  const logs = (await scene.rpc("eth_getLogs", filter)) as { topics: string[]; data: string }[];
  const found = logs.flatMap((log) => waybill.parseLog(log) ?? []);
  return found.filter((event) => event.name === name && event.args.task === cast.task);
}

/** One notice, and one receipt for it, stand on the chain. */
async function expectOnce(): Promise<void> {
  const noticed = await eventsOf("Noticed");
  expect(noticed.map(({ args }) => args.transfer)).toEqual([transferId(tag)]);
  const receipts = await eventsOf("Receipts");
  expect(receipts.flatMap(groupsIn).map(({ signatures }) => signatures.length)).toEqual([1]);
}

/** The requests by which this operation on the payload has succeeded. */
function successes(operation: string): RequestLog[] {
  const prefix = `payload/${cast.task}/`;
  const all = scene.requests.filter((one) => one.operation === operation && one.key?.startsWith(prefix));
  return all.filter(({ status }) => status < 300);
}

const succeeded = (operation: string): number => successes(operation).length;

/**
 * The parts that the store has taken, from 1. Which ones, and not how many requests: one that seems to straggle on a busy
 * machine is made twice, and that is right.
 */
const uploaded = (from = 0): Set<number> =>
  new Set(
    successes("UploadPart")
      .slice(from)
      .map(({ part }) => part!),
  );

/** The parts that were asked of the store, from 1. */
function fetched(from: number): Set<number> {
  const ranges = successes("GetObject")
    .slice(from)
    .map(({ range }) =>
      /^bytes=([0-9]+)-([0-9]+)$/
        .exec(range!)!
        .slice(1)
        .map((at) => Math.floor(Number(at) / PART) + 1),
    );
  return new Set(ranges.flatMap(([first, last]) => Array.from({ length: last! - first! + 1 }, (_, i) => first! + i)));
}

/** Until so many of them have, or the test kills what made them. */
function when(operation: string, nth: number, match = `payload/${cast.task}/`): Promise<void> {
  let count = 0;
  return new Promise((resolve) => {
    scene.onRequest = (entry) => {
      if (entry.operation === operation && entry.status < 300 && entry.key.startsWith(match) && ++count === nth)
        resolve();
    };
  });
}

describe("a receiver", () => {
  const [from, to] = [0, 1];
  let path: string;
  beforeEach(() => {
    path = join(home, "model.bin");
  });

  const receive = (stop: Stop = {}, more: object = {}, kib?: number): Child =>
    new Child(to, "receiveStream", { source: cast.accounts[from], tag, to: { path }, ...more }, stop, kib);

  /** The payload, sent, with its notice on the way. */
  async function send(): Promise<{ sent: Promise<string | null>; payload: string }> {
    const { onNotice, notice } = noticed();
    const sender = cast.process(from);
    const options = { target: cast.accounts[to]!, dataStream: bytes, tag, partSize: PART, onNotice };
    const sent = sender.channel.sendStream(options);
    sent.catch(() => {});
    await notice;
    return { sent, payload: path };
  }

  /** The parts that the journal names. */
  async function journaled(): Promise<Set<number>> {
    const [name] = (await readdir(home)).filter((one) => one.endsWith(".journal"));
    const lines = (await readFile(join(home, name!), "utf8")).match(/^[0-9]+$/gm) ?? [];
    return new Set(lines.map(Number));
  }

  async function expectReceived(child: Child): Promise<void> {
    expect(await child.result()).toEqual([cast.accounts[from], path]);
    expect(Buffer.compare(await readFile(path), bytes)).toBe(0);
    expect(await readdir(home)).toEqual(["model.bin"]);
  }

  /** It goes on with the parts that it has: only the others are asked for, each or several in a row. */
  async function expectRest(held: ReadonlySet<number>): Promise<void> {
    // The store tells of a request when it is over, which the process that was killed may have learned before us.
    await eventually(() => [...held].every((part) => fetched(0).has(part)) || null);
    const before = succeeded("GetObject");
    const child = receive();
    await expectReceived(child);
    expect(child.said[0]).toEqual({ progress: held.size });
    const missing = Array.from({ length: PARTS }, (_, index) => index + 1).filter((part) => !held.has(part));
    expect([...fetched(before)].toSorted()).toEqual(missing);
  }

  it("killed with some parts written: only the others are fetched, and one receipt stands", async () => {
    const { sent } = await send();
    let named = new Set<number>();
    for (const parts of [1, 3, 6]) {
      const child = receive({ parts });
      await child.says("stopped");
      await child.kill();
      expect(child.said[0]).toEqual({ progress: named.size }); // it began where the last one was
      named = await journaled();
      expect(named.size).toBeGreaterThanOrEqual(parts);
    }
    await expectRest(named);
    expect(await sent).toBe(cast.accounts[to]);
    await expectOnce();
  });

  it("killed by any request to the store: no more than what was in flight is fetched twice", async () => {
    const { sent } = await send();
    for (const nth of [1, 1]) {
      const reached = when("GetObject", nth);
      const child = receive();
      await child.lives(reached);
      await child.kill();
    }
    const named = await journaled();
    await expectRest(named);
    expect(await sent).toBe(cast.accounts[to]);
    await expectOnce();
  });

  it("killed by a power cut that kept the journal and lost bytes: only what can be proved is believed", async () => {
    const { sent } = await send();
    const child = receive({ parts: 6 });
    await child.says("stopped");
    await child.kill();
    const named = await journaled();
    const part = join(home, (await readdir(home)).find((one) => one.endsWith(".part"))!);
    const file = await open(part, "r+");
    await file.write(Buffer.alloc(2 * PART), 0, 2 * PART, PART / 2); // parts 1 to 3
    await file.close();
    await expectRest(new Set([...named].filter((part) => part > 3)));
    expect(await sent).toBe(cast.accounts[to]);
    await expectOnce();
  });

  it("killed when the file has its name, before the receipt: nothing is fetched, and the receipt goes out once", async () => {
    const { sent } = await send();
    const child = receive({ route: "/receipts", nth: 1, when: "before" });
    await child.says("stopped");
    await child.kill();
    expect(await readdir(home)).toEqual(["model.bin"]);
    const before = succeeded("GetObject");
    await expectReceived(receive());
    expect(succeeded("GetObject")).toBe(before);
    expect(await sent).toBe(cast.accounts[to]);
    await expectOnce();
  });

  it.each(["at once", "when it stands"])(
    "killed when the receipt is out, and started again %s: it goes out once, and the file is found",
    async (when) => {
      const { sent } = await send();
      const child = receive({ route: "/receipts", nth: 1, when: "after" });
      await child.says("stopped");
      await child.kill();
      const { mtimeMs } = await stat(path);
      if (when === "when it stands") expect(await sent).toBe(cast.accounts[to]);
      await expectReceived(receive());
      expect((await stat(path)).mtimeMs).toBe(mtimeMs);
      expect(await sent).toBe(cast.accounts[to]);
      await expectOnce();
    },
  );

  it("killed while another process wants the same file: that one is told TARGET_BUSY, and receives it when the first is dead", async () => {
    const { sent } = await send();
    const first = receive({ parts: 2 });
    await first.says("stopped");
    expect(await receive().result()).toBe("TARGET_BUSY");
    await first.kill();
    const named = await journaled();
    await expectRest(named);
    expect(await sent).toBe(cast.accounts[to]);
    await expectOnce();
  });

  it("killed into a folder: the same", async () => {
    const { sent } = await send();
    const child = receive({ parts: 3 }, { to: { dir: home } });
    await child.says("stopped");
    await child.kill();
    const named = await journaled();
    const again = receive({}, { to: { dir: home } });
    const result = (await again.result()) as [string, string];
    expect(again.said[0]).toEqual({ progress: named.size });
    expect(Buffer.compare(await readFile(result[1]), bytes)).toBe(0);
    expect(await readdir(home)).toHaveLength(1);
    expect(await sent).toBe(cast.accounts[to]);
    await expectOnce();
  });

  it("whose disk is full in the middle says NO_SPACE, and leaves no file, no receipt and an open notice", async () => {
    const { sent } = await send();
    expect(await receive({}, {}, (3 * PART) / 1024).result()).toBe("NO_SPACE");
    expect(await readdir(home)).toEqual([]);
    expect(await eventsOf("Receipts")).toEqual([]);
    await expectReceived(receive());
    expect(await sent).toBe(cast.accounts[to]);
    await expectOnce();
  });
});

describe("kill -9 of a sender", () => {
  const [from, to] = [0, 1];
  let path: string;
  beforeEach(async () => {
    path = join(home, "payload");
    await writeFile(path, bytes);
  });

  const send = (stop: Stop = {}, payload: object = { dataStream: { path } }): Child => {
    const options = { target: cast.accounts[to], ...payload, tag, partSize: PART };
    return new Child(from, "sendStream", options, stop);
  };

  /** The next process ends the transfer; what the store had is not sent again. */
  async function expectSent(stored: ReadonlySet<number>, payload?: object): Promise<Child> {
    const before = succeeded("UploadPart");
    const child = send({}, payload);
    const [, received] = await cast.process(to).channel.receiveStream({ source: cast.accounts[from]!, tag });
    expect(Buffer.compare(received, bytes)).toBe(0);
    expect(await child.result()).toBe(cast.accounts[to]);
    expect([...uploaded(before)].filter((part) => stored.has(part))).toEqual([]);
    expect(uploaded().size).toBe(PARTS);
    expect(succeeded("CompleteMultipartUpload")).toBe(1);
    await expectOnce();
    return child;
  }

  const byStore: [string, string, number][] = [
    ["when its upload was created", "CreateMultipartUpload", 1],
    ["after one part", "UploadPart", 1],
    ["after some parts", "UploadPart", 4],
    ["when the upload was completed", "CompleteMultipartUpload", 1],
  ];
  it.each(byStore)("%s: what is missing is sent, and nothing else", async (_when, operation, nth) => {
    const reached = when(operation, nth);
    const child = send();
    await child.lives(reached);
    const stored = uploaded();
    await child.kill();
    await expectSent(stored);
  });

  it("in the middle, again and again", async () => {
    let stored = new Set<number>();
    for (const nth of [2, 2]) {
      const reached = when("UploadPart", nth);
      const child = send();
      await child.lives(reached);
      stored = uploaded();
      await child.kill();
    }
    await expectSent(stored);
  });

  it("of a stream: opened again by the next process, it is read from its beginning, and what is stored is passed over", async () => {
    const reached = when("UploadPart", 4);
    const child = send({}, { stream: path });
    await child.lives(reached);
    const stored = uploaded();
    await child.kill();
    await expectSent(stored, { stream: path });
  });

  const byCall: [string, Stop, boolean][] = [
    ["with all parts sent, before it asks to complete", { route: "/finish", nth: 1, when: "before" }, false],
    ["when the transfer is finished, without a notice", { route: "/finish", nth: 1, when: "after" }, false],
    ["with its notice signed and not posted", { route: "/finish", nth: 2, when: "before" }, false],
    ["when its notice is posted", { route: "/finish", nth: 2, when: "after" }, true],
  ];
  it.each(byCall)("%s: nothing is sent again, and one notice stands", async (_when, stop, joins) => {
    const child = send(stop);
    await child.says("stopped");
    await child.kill();
    expect(uploaded().size).toBe(PARTS);
    const notice = await (await expectSent(uploaded())).says("notice");
    expect(notice.joined).toBe(joins);
  });

  it("when its notice stands on the chain: the same notice is waited for", async () => {
    const child = send();
    const { notice } = await child.says("notice");
    await eventually(async () => ((await eventsOf("Noticed")).length > 0 ? true : null));
    await child.kill();
    expect(await (await expectSent(uploaded())).says("notice")).toEqual({ notice, joined: true });
  });

  it("when its recipient has verified: the next process is told so at once", async () => {
    const child = send();
    await child.says("notice");
    const receiving = cast.process(to).channel.receiveStream({ source: cast.accounts[from]!, tag });
    await receiving;
    await child.kill();
    const before = succeeded("UploadPart");
    expect(await send().result()).toBe(cast.accounts[to]);
    expect(succeeded("UploadPart")).toBe(before);
    await expectOnce();
  });
});
