import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  appendFile,
  copyFile,
  link,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type ErrorCode, WaybillError } from "../lib/protocol/errors.ts";
import { compositeChecksum, encodeManifest, type Manifest, manifestDigest } from "../lib/protocol/manifest.ts";
import { partsOf } from "../lib/protocol/plan.ts";
import { openOwn } from "../lib/transfer/file.ts";
import { readJournal } from "../lib/transfer/journal.ts";
import { Lock } from "../lib/transfer/lock.ts";
import { type Received, type Target, targetOf } from "../lib/transfer/target.ts";

// What a call leaves behind, and what the next one makes of it, on the file system alone. Whole processes that are killed are in
// resume.kills.test.ts.

const PART = 1000;
const bytes = randomBytes(9 * PART + 7);
const sender = `0x${"a".repeat(40)}`;
const coded = (code: string) => expect.objectContaining({ name: "WaybillError", code });

function manifestFor(payload: Buffer, tag = "round/1"): Manifest {
  const count = Math.max(1, Math.ceil(payload.length / PART));
  const parts = Array.from({ length: count }, (_, i) =>
    createHash("sha256")
      .update(payload.subarray(i * PART, (i + 1) * PART))
      .digest("base64"),
  );
  const checksum = compositeChecksum(parts);
  return { version: 1, tag, size: payload.length, partSize: PART, parts, checksum, contentType: "a/b" };
}

const manifest = manifestFor(bytes);
const PARTS = manifest.parts.length;
const hexOf = (of: Manifest): string => manifestDigest(encodeManifest(of)).slice(2, 18);
const PART_NAME = `model.${hexOf(manifest)}.part`;
const JOURNAL_NAME = `${PART_NAME}.journal`;

let root: string;
let home: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "waybill-test-resume-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));
beforeEach(async () => {
  home = await mkdtemp(join(root, "home-"));
});

/** Brings what is missing, and says which parts that were. */
async function fetchInto(target: Target<Received>, of: Manifest, payload: Buffer, most = Infinity): Promise<number[]> {
  const sink = await target.begin(of, sender);
  if (!sink) return [];
  const missing = partsOf(of).filter(({ number, length }) => length > 0 && !sink.held?.has(number));
  const now = missing.slice(0, most);
  for (const part of now) await sink.write(part, payload.subarray(part.start, part.start + part.length));
  return now.map(({ number }) => number);
}

const targetIn = (dir: string, force = false): Promise<Target<Received>> =>
  targetOf({ path: join(dir, "model") }, { force });

/** Receives to the end; says which parts were fetched. */
async function receive(dir = home, force = false): Promise<number[]> {
  const target = await targetIn(dir, force);
  try {
    const fetched = await fetchInto(target, manifest, bytes);
    await target.commit();
    return fetched;
  } catch (error) {
    await target.discard(error);
    throw error;
  }
}

/** A folder as a process leaves it that is killed after so many parts: its claims are a dead process's, which count for nothing. */
async function killedAfter(parts: number): Promise<string> {
  const dir = await mkdtemp(join(root, "killed-"));
  const target = await targetIn(dir);
  await fetchInto(target, manifest, bytes, parts);
  const left = await mkdtemp(join(root, "left-"));
  for (const name of [PART_NAME, JOURNAL_NAME]) await copyFile(join(dir, name), join(left, name));
  await target.discard(new WaybillError("CORRUPT", ""));
  expect(await readdir(dir)).toEqual([]);
  return left;
}

async function expectWhole(dir: string): Promise<void> {
  expect(Buffer.compare(await readFile(join(dir, "model")), bytes)).toBe(0);
  expect(await readdir(dir)).toEqual(["model"]);
}

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe("a call that goes on from what a killed one left", () => {
  it("fetches what is missing, and leaves nothing beside the file", async () => {
    for (const parts of [0, 1, PARTS - 1, PARTS]) {
      const dir = await killedAfter(parts);
      expect(await receive(dir)).toEqual(numbers(parts + 1, PARTS));
      await expectWhole(dir);
    }
  });

  it("goes on again and again, each time from where the last one was killed", async () => {
    let dir = await killedAfter(2);
    for (const parts of [3, 1, 2]) {
      const target = await targetIn(dir);
      const before = (await readFile(join(dir, JOURNAL_NAME), "utf8")).match(/^[0-9]+$/gm)!.length;
      expect(await fetchInto(target, manifest, bytes, parts)).toEqual(numbers(before + 1, before + parts));
      const next = await mkdtemp(join(root, "left-"));
      for (const name of [PART_NAME, JOURNAL_NAME]) await copyFile(join(dir, name), join(next, name));
      await target.discard(null);
      dir = next;
    }
    expect(await receive(dir)).toEqual([9, 10]);
    await expectWhole(dir);
  });

  /** What may have become of the two files; and the parts that are fetched then. */
  const damages: [string, (part: string, journal: string) => unknown, number[]][] = [
    ["bytes that a power cut has kept from the disk", (part) => zero(part, 2 * PART, 2 * PART), [3, 4, 7, 8, 9, 10]],
    ["a part file that a power cut has cut short", (part) => truncate(part, 3 * PART + 1), [4, 5, 6, 7, 8, 9, 10]],
    ["a part file without a byte", (part) => truncate(part), numbers(1, PARTS)],
    ["a part file that is longer than the payload", (part) => appendFile(part, Buffer.alloc(20 * PART)), [7, 8, 9, 10]],
    ["a flipped bit", (part) => flip(part, 5 * PART), [6, 7, 8, 9, 10]],
    ["a journal whose last line is torn", (_, journal) => cutTail(journal, 1), numbers(6, PARTS)],
    ["a journal whose last line is zeros", (_, journal) => appendFile(journal, Buffer.alloc(512)), [7, 8, 9, 10]],
    [
      "a journal with garbage",
      (_, journal) => appendFile(journal, "x\n-1\n0\n11\n99999999\n1e1\n 7\n\n"),
      [7, 8, 9, 10],
    ],
    ["a journal that names parts which never came", (_, journal) => appendFile(journal, "9\n10\n"), [7, 8, 9, 10]],
    ["a journal that names each part ten times", (_, journal) => repeat(journal, 10), [7, 8, 9, 10]],
    ["no journal", (_, journal) => rm(journal), numbers(1, PARTS)],
    ["an empty journal", (_, journal) => truncate(journal), numbers(1, PARTS)],
    ["a journal of zeros", (_, journal) => writeFile(journal, Buffer.alloc(100)), numbers(1, PARTS)],
    ["a journal that is endless", (_, journal) => truncate(journal, 2 ** 40), numbers(1, PARTS)],
    ["a journal of another version", (_, journal) => edit(journal, "journal 1 ", "journal 2 "), numbers(1, PARTS)],
    ["a journal of another payload", (_, journal) => edit(journal, " 0x", " 0xf"), numbers(1, PARTS)],
    ["a journal of another part size", (_, journal) => edit(journal, " 1000\n", " 500\n"), numbers(1, PARTS)],
    ["no part file", (part) => rm(part), numbers(1, PARTS)],
    ["a pipe for a part file", (part) => pipe(part), numbers(1, PARTS)],
    ["a pipe for a journal", (_, journal) => pipe(journal), numbers(1, PARTS)],
  ];
  it.each(damages)("finds %s", async (_what, damage, fetched) => {
    const dir = await killedAfter(6);
    await damage(join(dir, PART_NAME), join(dir, JOURNAL_NAME));
    expect(await receive(dir)).toEqual(fetched);
    await expectWhole(dir);
  });

  it.each([
    ["as it was", async () => {}, []],
    ["with other bytes", (part: string) => writeFile(part, Buffer.alloc(PART - 1)), [1]],
    ["cut short", (part: string) => cutTail(part, 1), [1]],
    ["with more behind it", (part: string) => appendFile(part, "more"), []],
  ] as const)("needs no journal for a payload of one part, and finds it %s", async (_name, damage, fetched) => {
    const small = bytes.subarray(0, PART - 1);
    const about = manifestFor(small);
    const name = `model.${hexOf(about)}.part`;
    const killed = await targetIn(home);
    await fetchInto(killed, about, small);
    expect((await readdir(home)).filter((one) => !one.endsWith(".lock"))).toEqual([name]);
    const dir = await mkdtemp(join(root, "left-"));
    await copyFile(join(home, name), join(dir, name));
    await killed.discard(null);
    await damage(join(dir, name));
    const target = await targetIn(dir);
    expect(await fetchInto(target, about, small)).toEqual(fetched);
    await target.commit();
    expect(Buffer.compare(await readFile(join(dir, "model")), small)).toBe(0);
    expect(await readdir(dir)).toEqual(["model"]);
  });

  it("loses no line of its own behind a torn one", async () => {
    const dir = await killedAfter(6);
    await cutTail(join(dir, JOURNAL_NAME), 1);
    const target = await targetIn(dir);
    expect(await fetchInto(target, manifest, bytes, 2)).toEqual([6, 7]);
    await target.discard(null);
    expect(await receive(dir)).toEqual([8, 9, 10]);
  });

  it("believes no file of another user", async () => {
    const path = join(await killedAfter(6), PART_NAME);
    const { uid } = await lstat(path);
    expect(await openOwn(path, { uid: uid + 1 }, "write")).toBeNull();
    const own = await openOwn(path, { uid }, "write");
    expect(own).not.toBeNull();
    await own!.close();
  });

  it("follows no link, and writes to no file that has another name", async () => {
    const precious = join(home, "precious");
    for (const name of [PART_NAME, JOURNAL_NAME])
      for (const tie of [symlink, link]) {
        const dir = await killedAfter(6);
        await rm(precious, { force: true });
        await rename(join(dir, name), precious);
        const before = await readFile(precious);
        await tie(precious, join(dir, name));
        expect(await receive(dir)).toEqual(numbers(1, PARTS));
        await expectWhole(dir);
        expect(Buffer.compare(await readFile(precious), before)).toBe(0);
      }
  });

  it("removes no folder that has the name", async () => {
    for (const name of [PART_NAME, JOURNAL_NAME]) {
      const dir = await mkdtemp(join(root, "folder-"));
      await mkdir(join(dir, name));
      await writeFile(join(dir, name, "precious"), "");
      await expect(receive(dir)).rejects.toThrow(coded("TARGET_UNWRITABLE"));
      expect(await readdir(dir)).toEqual([name]);
    }
  });

  it("in a folder finds the file of this sender and tag", async () => {
    const first = await targetOf({ dir: home }, {});
    expect(await fetchInto(first, manifest, bytes, 4)).toEqual([1, 2, 3, 4]);
    await first.discard(new WaybillError("TIMEOUT", ""));
    const other = await targetOf({ dir: home }, {});
    expect(await fetchInto(other, manifestFor(bytes, "round/2"), bytes)).toEqual(numbers(1, PARTS));
    await other.commit();
    const second = await targetOf({ dir: home }, {});
    expect(await fetchInto(second, manifest, bytes)).toEqual(numbers(5, PARTS));
    expect(Buffer.compare(await readFile(String(await second.commit())), bytes)).toBe(0);
    expect(await readdir(home)).toHaveLength(2);
  });

  it("is not found where a pipe has its name, and nobody waits for who writes into that", async () => {
    const target = await targetOf({ path: join(home, "model") }, {});
    await fetchInto(target, manifest, bytes);
    await target.commit();
    const again = await targetOf({ path: join(home, "model") }, {});
    expect(await again.holds!(manifest, sender, AbortSignal.timeout(60_000))).toBe(join(home, "model"));
    await pipe(join(home, "model"));
    expect(await again.holds!(manifest, sender, AbortSignal.timeout(60_000))).toBeNull();
  });

  it("works with names as long as names may be", async () => {
    const other = await targetOf({ path: join(home, `${"m".repeat(254)}n`) }, {});
    await other.begin(manifest, sender); // has nothing to do with the others
    for (const name of ["m".repeat(255), "ü".repeat(127)]) {
      const path = join(home, name);
      const first = await targetOf({ path }, {});
      await fetchInto(first, manifest, bytes, 4);
      await first.discard(null);
      const second = await targetOf({ path }, {});
      expect(await fetchInto(second, manifest, bytes)).toEqual(numbers(5, PARTS));
      await second.commit();
    }
    await other.discard(new WaybillError("CORRUPT", ""));
    expect((await readdir(home)).sort()).toEqual(["m".repeat(255), "ü".repeat(127)]);
  });

  it("ends with its signal while it verifies", async () => {
    const dir = await killedAfter(6);
    const target = await targetIn(dir);
    const reason = new Error("enough");
    await expect(target.begin(manifest, sender, AbortSignal.abort(reason))).rejects.toBe(reason);
    await target.discard(reason);
    expect(await receive(dir)).toEqual([7, 8, 9, 10]);
  });

  it("knows ten thousand parts", async () => {
    const digest = createHash("sha256").update("ab").digest("base64");
    const parts = Array.from({ length: 10_000 }, () => digest);
    const many = { ...manifest, size: 20_000, partSize: 2, parts };
    const payload = Buffer.from("ab".repeat(10_000));
    const first = await targetIn(home);
    await fetchInto(first, many, payload, 9_999);
    await first.discard(null);
    const second = await targetIn(home);
    expect(await fetchInto(second, many, payload)).toEqual([10_000]);
    await second.commit();
    expect(Buffer.compare(await readFile(join(home, "model")), payload)).toBe(0);
  });

  it("receives a payload of no bytes", async () => {
    const empty = manifestFor(Buffer.alloc(0));
    const target = await targetIn(home);
    await fetchInto(target, empty, Buffer.alloc(0));
    await target.discard(null);
    await fetchInto(target, empty, Buffer.alloc(0));
    await target.commit();
    expect(await readFile(join(home, "model"))).toHaveLength(0);
    expect(await readdir(home)).toEqual(["model"]);
  });
});

describe("a process killed when the file had got its name", () => {
  it("before the part file lost its own: nothing is fetched, and that goes", async () => {
    const dir = await killedAfter(PARTS);
    await link(join(dir, PART_NAME), join(dir, "model"));
    expect(await receive(dir)).toEqual([]);
    await expectWhole(dir);
  });

  it("before the journal went: nothing is fetched, and that goes, also with force", async () => {
    const dir = await killedAfter(PARTS);
    await rename(join(dir, PART_NAME), join(dir, "model"));
    expect(await receive(dir, true)).toEqual([]);
    await expectWhole(dir);
  });

  it("or was about to, where there are no links: its empty placeholder is none of somebody else's", async () => {
    const dir = await killedAfter(PARTS);
    await writeFile(join(dir, "model"), "");
    expect(await receive(dir)).toEqual([]);
    await expectWhole(dir);
    const other = await killedAfter(PARTS - 1);
    await writeFile(join(other, "model"), "");
    await expect(receive(other)).rejects.toThrow(coded("TARGET_EXISTS"));
    expect(await readdir(other)).toEqual(["model"]);
    expect(await readFile(join(other, "model"))).toHaveLength(0);
  });

  it("and somebody has moved and changed it since: that file stays as it is", async () => {
    const dir = await killedAfter(PARTS);
    await link(join(dir, PART_NAME), join(dir, "mine"));
    await flip(join(dir, "mine"), 3 * PART);
    const mine = await readFile(join(dir, "mine"));
    expect(await receive(dir)).toEqual(numbers(1, PARTS));
    expect(Buffer.compare(await readFile(join(dir, "mine")), mine)).toBe(0);
    expect(await readdir(dir)).toEqual(["mine", "model"]);
  });
});

describe("what was verified", () => {
  const kept: ErrorCode[] = ["TIMEOUT", "ABORTED", "UNREACHABLE", "UNAVAILABLE", "BAD_SERVER", "GONE", "INTERNAL"];
  const gone: ErrorCode[] = [
    ...(["CORRUPT", "TOO_LARGE", "REFUSED", "CONFLICT", "EXPELLED"] as const),
    ...(["TARGET_EXISTS", "TARGET_UNWRITABLE", "NO_SPACE"] as const),
  ];

  async function endWith(error: unknown): Promise<string[]> {
    const target = await targetIn(home);
    await fetchInto(target, manifest, bytes, 4);
    await target.discard(error);
    return (await readdir(home)).sort();
  }

  it.each(kept)("stays after %s, with its journal and nothing else", async (code) => {
    expect(await endWith(new WaybillError(code, ""))).toEqual([PART_NAME, JOURNAL_NAME]);
    expect(await receive()).toEqual(numbers(5, PARTS));
  });

  it("stays after a stranger's error, such as a callback's", async () => {
    expect(await endWith(new TypeError("mine"))).toEqual([PART_NAME, JOURNAL_NAME]);
  });

  it.each(gone)("goes after %s", async (code) => {
    expect(await endWith(new WaybillError(code, ""))).toEqual([]);
  });

  it("goes when the payload is turned down", async () => {
    await endWith(null);
    await (await targetIn(home)).forget!(manifest, sender);
    expect(await readdir(home)).toEqual([]);
  });

  it("goes when the file is there with another payload, and others' files stay", async () => {
    await endWith(null);
    for (const name of ["model.part", "model.1234.part", "model.txt", "other.0123456789abcdef.part"])
      await writeFile(join(home, name), "");
    const payload = randomBytes(PART);
    const target = await targetIn(home);
    await fetchInto(target, manifestFor(payload), payload);
    await target.commit();
    expect(await readdir(home)).toEqual(
      ["model", "model.1234.part", "model.part", "model.txt", "other.0123456789abcdef.part"].sort(),
    );
  });

  it("does not become the file when somebody has made it shorter or longer meanwhile", async () => {
    for (const change of [(part: string) => truncate(part, 5), (part: string) => appendFile(part, "x")]) {
      const target = await targetIn(home);
      await fetchInto(target, manifest, bytes);
      await change(join(home, PART_NAME));
      const error = await target.commit().catch((error: unknown) => error);
      expect(error).toEqual(coded("TARGET_UNWRITABLE"));
      await target.discard(error);
      expect(await readdir(home)).toEqual([]);
    }
  });
});

describe("two calls for one file", () => {
  it("are one that receives and one that is told TARGET_BUSY, which may try again", async () => {
    const [one, two] = [await targetIn(home), await targetIn(home)];
    await fetchInto(one, manifest, bytes, 4);
    const error = await two.begin(manifest, sender).catch((error: unknown) => error);
    expect(error).toEqual(coded("TARGET_BUSY"));
    expect(error).toMatchObject({ retryable: true });
    await two.discard(error);
    await one.discard(new WaybillError("TIMEOUT", ""));
    expect(await fetchInto(two, manifest, bytes)).toEqual(numbers(5, PARTS));
    await two.commit();
    await expectWhole(home);
  });

  it("of other payloads, too", async () => {
    const [one, two] = [await targetIn(home), await targetIn(home)];
    await fetchInto(one, manifest, bytes, 4);
    await expect(two.begin(manifestFor(randomBytes(5)), sender)).rejects.toThrow(coded("TARGET_BUSY"));
    await one.discard(null);
  });

  it("are both served when the file is there", async () => {
    await receive();
    const lock = await Lock.take(home, "model");
    expect(await receive()).toEqual([]);
    await lock!.release();
  });

  it("one turns the payload down while the other receives it: its parts stay", async () => {
    const one = await targetIn(home);
    await fetchInto(one, manifest, bytes, 4);
    await (await targetIn(home)).forget!(manifest, sender);
    expect(await readdir(home)).toContain(PART_NAME);
    await one.discard(null);
  });
});

describe("a lock", () => {
  const LIVING = "model.ffffffffffff.lock"; // after every other in the order of names
  const OLD = new Date(Date.now() - 3_600_000);

  const age = (ms: number): Promise<void> =>
    utimes(join(home, LIVING), new Date(Date.now() - ms), new Date(Date.now() - ms));

  /** Somebody's claim, as it would be written by this process. */
  async function claim(change: object, at?: Date): Promise<void> {
    const own = (await Lock.take(home, "model"))!;
    const [name] = (await readdir(home)).filter((one) => one.endsWith(".lock"));
    const text = await readFile(join(home, name!), "utf8");
    await own.release();
    await writeFile(join(home, LIVING), JSON.stringify({ ...JSON.parse(text), ...change }));
    if (at) await utimes(join(home, LIVING), at, at);
  }

  async function expectFree(): Promise<void> {
    const lock = await Lock.take(home, "model");
    expect(lock).not.toBeNull();
    expect(await readdir(home)).toHaveLength(1);
    await lock!.release();
    expect(await readdir(home)).toEqual([]);
  }

  async function expectTaken(): Promise<void> {
    expect(await Lock.take(home, "model")).toBeNull();
    expect(await readdir(home)).toEqual([LIVING]);
  }

  async function endedProcess(): Promise<number> {
    const child = spawn(process.execPath, ["-e", ""], { stdio: "ignore" });
    await once(child, "exit");
    return child.pid!;
  }

  it("of a living process stands, however long it has said nothing", async () => {
    await claim({}, OLD);
    await expectTaken();
  });

  it("of a process that has ended is free at once", async () => {
    await claim({ pid: await endedProcess() });
    await expectFree();
  });

  it("of a process that has ended is free at once also where processes don't say when they began", async () => {
    await claim({ pid: await endedProcess(), start: "" });
    await expectFree();
  });

  it("of a process whose id another one has now is free", async () => {
    await claim({ start: "1" });
    await age(14_500); // where processes don't say when they began, nothing but this tells
    await expectFree();
  });

  /** Claims by which nobody can tell whether their process lives. */
  const silent: [string, () => Promise<void>][] = [
    ["of another machine", () => claim({ machine: "elsewhere" })],
    ["of a process that doesn't say when it began", () => claim({ start: "" })],
    ...["", "{", "[]", "null", '{"machine":1}', '{"machine":"x","pid":-1,"start":""}'].map(
      (text): [string, () => Promise<void>] => [`that says ${text}`, () => writeFile(join(home, LIVING), text)],
    ),
  ];
  it.each(silent)("%s stands when it is heard of", async (_whose, write) => {
    await write();
    const beat = setInterval(() => void appendFile(join(home, LIVING), " "), 100);
    try {
      await expectTaken();
    } finally {
      clearInterval(beat);
    }
  });

  it.each(silent)("%s is free when it has not been heard of for a while", async (_whose, write) => {
    await write();
    await age(14_500);
    await expectFree();
    await write();
    await age(3_600_000);
    await expectFree();
  });

  it("that may be a dead one's is not waited for longer than the signal says", async () => {
    await claim({ machine: "elsewhere" });
    const end = new AbortController();
    const reason = new Error("enough");
    const target = await targetIn(home);
    const begun = target.begin(manifest, sender, end.signal);
    setTimeout(() => end.abort(reason), 50);
    await expect(begun).rejects.toBe(reason);
    await target.discard(reason);
    expect(await readdir(home)).toEqual([LIVING]);
  });

  it("of another name is none", async () => {
    for (const name of ["model.lock", "models.ffffffffffff.lock", "model.x.ffffffffffff.lock"])
      await writeFile(join(home, name), "");
    const lock = await Lock.take(home, "model");
    expect(lock).not.toBeNull();
    await lock!.release();
    expect(await readdir(home)).toHaveLength(3);
  });

  it("is taken by exactly one of many that find a dead one's, again and again", async () => {
    const pid = await endedProcess();
    for (let round = 0; round < 5; round++) {
      await claim({ pid });
      const locks = await Promise.all(Array.from({ length: 12 }, () => Lock.take(home, "model")));
      expect(locks.filter((lock) => lock !== null)).toHaveLength(1);
      for (const lock of locks) await lock?.release();
      expect(await readdir(home)).toEqual([]);
    }
  });
});

const about = { digest: manifestDigest(encodeManifest(manifest)), size: manifest.size, partSize: PART };

it("a file that is named by its tag is no device of Windows, whatever comes behind the dot", async () => {
  for (const tag of ["nul", "con.bin", "com1", "aux.tar.gz"]) {
    const target = await targetOf({ dir: home, named: "tag" }, {});
    await fetchInto(target, manifestFor(bytes, tag), bytes);
    const path = String(await target.commit());
    expect(basename(path)).toMatch(new RegExp(`^_${tag}-[0-9a-f]{8}$`));
  }
  const target = await targetOf({ dir: home, named: "tag" }, {});
  await fetchInto(target, manifestFor(bytes, "null.bin"), bytes);
  expect(basename(String(await target.commit()))).toBe("null.bin");
});

describe("a journal", () => {
  const text = (named: readonly number[]): string =>
    [`waybill journal 1 ${about.digest} ${about.size} ${about.partSize}`, ...named, ""].join("\n");
  const parts = fc.array(fc.integer({ min: 1, max: PARTS }), { maxLength: 30 });

  it("that is cut at any byte names the parts whose lines are whole", () => {
    fc.assert(
      fc.property(parts, (named) => {
        const whole = text(named);
        const head = text([]).length;
        for (let length = 0; length <= whole.length; length++) {
          const cut = whole.slice(0, length);
          const lines = cut.slice(head).split("\n").slice(0, -1).map(Number);
          expect(readJournal(cut, about)).toEqual(length < head ? null : new Set(lines));
        }
      }),
      { numRuns: 30 },
    );
  });

  it("with any bytes in it names nothing but parts of the payload", () => {
    const noise = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 40 });
    fc.assert(
      fc.property(parts, noise, (named, changes) => {
        const bytes = Buffer.from(text(named), "latin1");
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
        const found = readJournal(bytes.toString("latin1"), about);
        const strange = [...(found ?? [])].filter((number) => !numbers(1, PARTS).includes(number));
        expect(strange).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });
});

it("whatever becomes of both files, the next call ends with the exact bytes and fetches no right part that is named", async () => {
  const left = await killedAfter(6);
  const files = [await readFile(join(left, PART_NAME)), await readFile(join(left, JOURNAL_NAME))] as const;
  const damage = fc.record({
    file: fc.constantFrom(0, 1),
    how: fc.constantFrom("cut", "zero", "noise", "grow"),
    at: fc.nat({ max: 10_000 }),
    length: fc.integer({ min: 1, max: 3_000 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(damage, { minLength: 1, maxLength: 4 }), async (damages) => {
      const now = files.map((file) => Buffer.from(file));
      for (const { file, how, at, length } of damages) {
        const from = at % (now[file]!.length + 1);
        const noise = how === "zero" ? Buffer.alloc(length) : randomBytes(length);
        if (how === "cut") now[file] = now[file]!.subarray(0, from);
        else if (how === "grow") now[file] = Buffer.concat([now[file]!, noise]);
        else noise.copy(now[file]!, from);
      }
      const dir = await mkdtemp(join(root, "damaged-"));
      await writeFile(join(dir, PART_NAME), now[0]!);
      await writeFile(join(dir, JOURNAL_NAME), now[1]!);
      const named = readJournal(now[1]!.toString("latin1"), about) ?? new Set();
      const right = partsOf(manifest).filter(({ number, start, length }) => {
        const end = start + length;
        return named.has(number) && Buffer.compare(now[0]!.subarray(start, end), bytes.subarray(start, end)) === 0;
      });
      const fetched = await receive(dir);
      expect(fetched).toHaveLength(PARTS - right.length);
      await expectWhole(dir);
      await rm(dir, { recursive: true });
    }),
    { numRuns: 60 },
  );
});

async function zero(path: string, from: number, length: number): Promise<void> {
  const file = await open(path, "r+");
  await file.write(Buffer.alloc(length), 0, length, from);
  await file.close();
}

async function flip(path: string, at: number): Promise<void> {
  const data = await readFile(path);
  data[at]! ^= 1;
  await writeFile(path, data);
}

async function cutTail(path: string, bytes: number): Promise<void> {
  await truncate(path, (await lstat(path)).size - bytes);
}

async function repeat(path: string, times: number): Promise<void> {
  const lines = (await readFile(path, "utf8")).split("\n").slice(1).join("\n");
  for (let i = 0; i < times; i++) await appendFile(path, lines);
}

async function edit(path: string, from: string, to: string): Promise<void> {
  await writeFile(path, (await readFile(path, "utf8")).replace(from, to));
}

async function pipe(path: string): Promise<void> {
  await rm(path, { force: true });
  const child = spawn("mkfifo", [path], { stdio: "ignore" });
  await once(child, "exit");
  expect((await lstat(path)).isFIFO(), basename(path)).toBe(true);
}
