import { randomBytes } from "node:crypto";
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Store } from "../functions/store.ts";
import { compositeChecksum, type Manifest } from "../lib/protocol/manifest.ts";
import { partsOf } from "../lib/protocol/plan.ts";
import { download } from "../lib/transfer/download.ts";
import { NodeTransport } from "../lib/transfer/node-http.ts";
import type { Progress } from "../lib/transfer/parts.ts";
import { type Payload, sourceOf } from "../lib/transfer/source.ts";
import { targetOf } from "../lib/transfer/target.ts";
import { type Digested, digest, type UploadJob, upload } from "../lib/transfer/upload.ts";
import { type Store as LocalStore, startStore } from "../local/store/store.ts";

// The engine against a real store, with small parts.

const PART = 1000;
const sender = `0x${"a".repeat(40)}`;
const coded = (code: string) => expect.objectContaining({ name: "WaybillError", code });

let local: LocalStore;
let store: Store;
let dir: string;
/** Moves the store's clock, so that URLs are dead on arrival. */
let shift = 0;
let requests: { method: string; status: number }[] = [];
const transport = new NodeTransport();

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-test-transfer-"));
  local = await startStore({
    minPartSize: 1,
    now: () => Date.now() + shift,
    onRequest: ({ method, status }) => requests.push({ method, status }),
  });
  const { bucket, region, endpoint, credentials } = local;
  store = new Store({ bucket, region, s3Endpoint: endpoint, s3Credentials: credentials });
});
afterAll(async () => {
  transport.close();
  store?.close();
  await local?.stop();
  await rm(dir, { recursive: true, force: true });
});

let keys = 0;
interface Upload {
  readonly key: string;
  readonly id: string;
}

async function begin(): Promise<Upload> {
  const key = `payload/${++keys}`;
  return { key, id: await store.createUpload(key, "application/octet-stream") };
}

async function send(to: Upload, payload: Payload, more: Partial<UploadJob> = {}): Promise<Digested> {
  const source = await sourceOf(payload);
  const reader = await source.open();
  try {
    return await upload({
      reader,
      plan: { size: source.size, partSize: PART },
      stored: new Map(),
      sign: (parts) => store.presignParts(to.key, to.id, parts),
      transport,
      storeOrigin: local.endpoint,
      ...more,
    });
  } finally {
    await reader.close();
  }
}

async function complete({ key, id }: Upload, { size, partSize, parts }: Digested): Promise<Manifest> {
  const held = (await store.listParts(key, id)) ?? [];
  expect(await store.complete(key, id, held)).toBe("done");
  const contentType = "application/octet-stream";
  return { version: 1, tag: "round/1", size, partSize, parts, checksum: compositeChecksum(parts), contentType };
}

async function receive(key: string, manifest: Manifest, to: unknown, force = false): Promise<unknown> {
  const target = await targetOf(to, { force });
  await target.check();
  const found = await store.head(key);
  const url = () => store.presignGet(key, found?.etag ?? "");
  try {
    const sink = await target.begin(manifest, sender);
    const issued = performance.now();
    const job = { manifest, url: await url(), issued, refresh: url, transport, storeOrigin: local.endpoint };
    if (sink) await download({ ...job, sink });
    return await target.commit();
  } catch (error) {
    await target.discard(error);
    throw error;
  }
}

const sizes = [0, 1, PART - 1, PART, PART + 1, 25 * PART + 7];

describe("a payload", () => {
  const kinds: Record<string, (bytes: Buffer) => Payload | Promise<Payload>> = {
    bytes: (bytes) => bytes,
    "a Blob": (bytes) => new Blob([bytes as Uint8Array<ArrayBuffer>]),
    "a file": async (bytes) => {
      const path = join(dir, `source-${bytes.length}`);
      await writeFile(path, bytes);
      return { path };
    },
    "a Node stream": (bytes) => Readable.from(bytes.length === 0 ? [] : [bytes.subarray(0, 1), bytes.subarray(1)]),
    "a web stream": (bytes) => new Blob([bytes as Uint8Array<ArrayBuffer>]).stream(),
  };

  it.each(Object.entries(kinds))("given as %s arrives byte by byte, whatever its size", async (_name, make) => {
    for (const size of sizes) {
      const bytes = randomBytes(size);
      const to = await begin();
      const digested = await send(to, await make(bytes));
      expect(digested.size).toBe(size);
      expect(digested.parts).toHaveLength(Math.max(1, Math.ceil(size / PART)));
      const manifest = await complete(to, digested);
      expect(Buffer.compare((await receive(to.key, manifest, "bytes")) as Uint8Array, bytes)).toBe(0);
      const path = join(dir, `target-${keys}`);
      expect(await receive(to.key, manifest, { path })).toBe(path);
      expect(Buffer.compare(await readFile(path), bytes)).toBe(0);
    }
  });

  it("has the same digests when it is only read", async () => {
    const bytes = randomBytes(3 * PART + 1);
    const sent = await send(await begin(), bytes);
    const reader = await (await sourceOf(bytes)).open();
    expect(await digest({ reader, plan: { size: bytes.length, partSize: PART } })).toEqual(sent);
  });

  it("is not sent again where the store has its parts", async () => {
    const bytes = randomBytes(10 * PART);
    const to = await begin();
    const { parts } = await send(to, bytes);
    requests = [];
    const stored = new Map([1, 2, 3, 4, 5, 6, 7, 8].map((number) => [number, parts[number - 1]!]));
    stored.set(8, parts[0]!); // other bytes
    await send(to, bytes, { stored });
    expect(requests.filter(({ method }) => method === "PUT")).toHaveLength(3);
  });

  it("reports progress from nothing to everything, up and down", async () => {
    const seen: Progress[] = [];
    await send(await begin(), randomBytes(2 * PART + 5), { onProgress: (progress) => seen.push(progress) });
    expect(seen[0]).toEqual({ transferredBytes: 0, totalBytes: 2005, partsDone: 0, partsTotal: 3 });
    expect(seen.at(-1)).toEqual({ transferredBytes: 2005, totalBytes: 2005, partsDone: 3, partsTotal: 3 });
    expect(seen).toHaveLength(4);
  });

  it("that is none is refused before anything is done", async () => {
    for (const payload of ["model.bin", 5, null, {}, [1, 2]])
      await expect(sourceOf(payload)).rejects.toThrow(coded("USAGE"));
    await expect(sourceOf({ path: join(dir, "nowhere") })).rejects.toThrow(coded("SOURCE_MISSING"));
    await expect(sourceOf({ path: dir })).rejects.toThrow(coded("SOURCE_MISSING"));
    await expect(send(await begin(), Readable.from(["text"]))).rejects.toThrow(coded("USAGE"));
  });

  it("that does not have the recorded size is a conflict, and longer bytes are not sent", async () => {
    for (const size of [PART, 3 * PART]) {
      const plan = { size: 2 * PART, partSize: PART };
      await expect(send(await begin(), randomBytes(size), { plan })).rejects.toThrow(coded("CONFLICT"));
    }
  });

  it("of 10,001 parts is refused", async () => {
    const plan = { size: null, partSize: 1 };
    const run = async () => {
      const reader = await (await sourceOf(Readable.from([new Uint8Array(10_001)]))).open();
      return digest({ reader, plan });
    };
    await expect(run()).rejects.toThrow(coded("PAYLOAD_TOO_LARGE"));
  });
});

describe("a file that changes while it is sent", () => {
  it.each([
    ["grows", (path: string) => appendFile(path, "x")],
    ["shrinks", (path: string) => writeFile(path, "x")],
    ["is replaced", (path: string) => rm(path).then(() => writeFile(path, randomBytes(3 * PART)))],
    ["is rewritten", (path: string) => writeFile(path, randomBytes(3 * PART))],
    ["is gone", (path: string) => rm(path)],
  ])("and %s fails as SOURCE_CHANGED", async (name, change) => {
    const path = join(dir, name);
    await writeFile(path, randomBytes(3 * PART));
    const source = await sourceOf({ path });
    const reader = await source.open();
    await reader.next(PART, () => new Uint8Array(PART));
    await change(path);
    const rest = digest({ reader, plan: { size: null, partSize: PART } });
    await expect(rest).rejects.toThrow(coded("SOURCE_CHANGED"));
    await reader.close();
  });
});

describe("an upload", () => {
  it("asks for a new URL when one has expired, and does not count that as a failure", async () => {
    const to = await begin();
    let signed = 0;
    shift = 3_600_000; // to the store, every URL is an hour old
    try {
      await send(to, randomBytes(PART), {
        sign: (parts) => {
          if (++signed === 3) shift = 0;
          return store.presignParts(to.key, to.id, parts);
        },
      });
    } finally {
      shift = 0;
    }
    expect(signed).toBe(3);
  });

  it("renews a URL that is near its end by our own clock, before it is used", async () => {
    const to = await begin();
    let signed = 0;
    const sign: UploadJob["sign"] = async (parts) => {
      const answer = await store.presignParts(to.key, to.id, parts);
      return { ...answer, expiresIn: ++signed === 1 ? 0 : answer.expiresIn };
    };
    requests = [];
    await send(to, randomBytes(10), { sign });
    expect(requests.map(({ status }) => status)).toEqual([200]);
  });

  it("ends at once when the store knows no such upload", async () => {
    const to = await begin();
    await store.abort(to.key, to.id);
    await expect(send(to, randomBytes(10))).rejects.toThrow(
      expect.objectContaining({ code: "GONE", details: expect.objectContaining({ storeCode: "NoSuchUpload" }) }),
    );
  });

  it("believes no URL for another part, another store, or without the checksum among its signed headers", async () => {
    const to = await begin();
    const other = Buffer.alloc(32).toString("base64");
    const edits: ((url: { number: number; url: string; headers: Record<string, string> }) => object)[] = [
      (url) => ({ ...url, url: url.url.replace("127.0.0.1", "localhost") }),
      (url) => ({ ...url, url: url.url.replace("http://", "http://user:pw@") }),
      (url) => ({ ...url, headers: {} }),
      (url) => ({ ...url, headers: { ...url.headers, "x-amz-checksum-sha256": other } }),
      (url) => ({ ...url, headers: { ...url.headers, cookie: "x" } }),
      (url) => ({ ...url, number: 2 }),
    ];
    requests = [];
    for (const edit of edits) {
      const sign: UploadJob["sign"] = async (parts) => {
        const answer = await store.presignParts(to.key, to.id, parts);
        return { ...answer, urls: answer.urls.map((url) => edit(url) as typeof url) };
      };
      await expect(send(to, randomBytes(10), { sign })).rejects.toThrow(coded("BAD_SERVER"));
    }
    expect(requests.filter(({ method }) => method === "PUT")).toEqual([]);
  });

  it("ends with its signal's reason, even while its stream hangs", async () => {
    const end = new AbortController();
    const reason = new Error("enough");
    async function* hanging(): AsyncGenerator<Uint8Array> {
      yield randomBytes(PART);
      end.abort(reason);
      await new Promise(() => {});
    }
    await expect(send(await begin(), hanging(), { signal: end.signal })).rejects.toBe(reason);
  });

  it("ends with what its progress callback throws", async () => {
    const mistake = new Error("mine");
    const onProgress = (): void => {
      throw mistake;
    };
    await expect(send(await begin(), randomBytes(10), { onProgress })).rejects.toBe(mistake);
  });
});

describe("a file target", () => {
  const bytes = randomBytes(2 * PART + 3);
  let key: string;
  let manifest: Manifest;
  beforeAll(async () => {
    const to = await begin();
    manifest = await complete(to, await send(to, bytes));
    key = to.key;
  });

  it("that exists is not overwritten without force, and nothing is left beside it", async () => {
    const home = await mkdtemp(join(dir, "exists-"));
    const path = join(home, "model");
    await writeFile(path, "mine");
    await expect(receive(key, manifest, { path })).rejects.toThrow(coded("TARGET_EXISTS"));
    expect(await readFile(path, "utf8")).toBe("mine");
    await receive(key, manifest, { path }, true);
    expect(Buffer.compare(await readFile(path), bytes)).toBe(0);
    expect(await readdir(home)).toEqual(["model"]);
  });

  it("that is the payload already counts, and nothing is fetched", async () => {
    const path = join(dir, "already");
    await writeFile(path, bytes);
    requests = [];
    expect(await receive(key, manifest, { path })).toBe(path);
    expect(requests.filter(({ method }) => method === "GET")).toEqual([]);
    const almost = Buffer.from(bytes);
    almost[PART + 1]! ^= 1;
    await writeFile(path, almost);
    await expect(receive(key, manifest, { path })).rejects.toThrow(coded("TARGET_EXISTS"));
  });

  it("that appears meanwhile wins over the one that is being received", async () => {
    const path = join(dir, "race");
    const target = await targetOf({ path }, {});
    const sink = (await target.begin(manifest, sender))!;
    for (const part of partsOf(manifest)) await sink.write(part, bytes.subarray(part.start, part.start + part.length));
    await writeFile(path, "faster");
    const error = await target.commit().catch((error: unknown) => error);
    expect(error).toEqual(coded("TARGET_EXISTS"));
    await target.discard(error);
    expect(await readFile(path, "utf8")).toBe("faster");
    expect((await readdir(dir)).filter((name) => name.endsWith(".part"))).toEqual([]);
  });

  it("that is a symbolic link is not followed", async () => {
    const home = await mkdtemp(join(dir, "link-"));
    await writeFile(join(home, "precious"), "precious");
    await symlink(join(home, "precious"), join(home, "link"));
    await expect(receive(key, manifest, { path: join(home, "link") })).rejects.toThrow(coded("TARGET_EXISTS"));
    await receive(key, manifest, { path: join(home, "link") }, true);
    expect(await readFile(join(home, "precious"), "utf8")).toBe("precious");
  });

  it("that can't be is refused before anything is waited for", async () => {
    await writeFile(join(dir, "plain"), "");
    const check = async (to: unknown) => (await targetOf(to, {})).check();
    await expect(check({ path: join(dir, "no", "where") })).rejects.toThrow(coded("TARGET_UNWRITABLE"));
    await expect(check({ path: join(dir, "plain", "below") })).rejects.toThrow(coded("TARGET_UNWRITABLE"));
    await expect(check({ dir: join(dir, "plain") })).rejects.toThrow(coded("TARGET_UNWRITABLE"));
    await expect(receive(key, manifest, { path: "/proc/waybill" })).rejects.toThrow(coded("TARGET_UNWRITABLE")); // takes no files
    await mkdir(join(dir, "folder"));
    await expect(receive(key, manifest, { path: join(dir, "folder") })).rejects.toThrow(coded("TARGET_UNWRITABLE"));
    for (const to of ["file.bin", 7, {}, { path: 7 }, null])
      await expect(targetOf(to, {})).rejects.toThrow(coded("USAGE"));
  });

  it("with no room for the payload is NO_SPACE, and nothing is left", async () => {
    const home = await mkdtemp(join(dir, "full-"));
    const size = 600 * 2 ** 30;
    const huge = { ...manifest, size, partSize: 64 * 2 ** 20 };
    await expect(receive(key, huge, { path: join(home, "x") })).rejects.toThrow(coded("NO_SPACE"));
    expect(await readdir(home)).toEqual([]);
  });

  it("in a folder has a name that stays in the folder, whatever the tag is", async () => {
    const home = await mkdtemp(join(dir, "inbox-"));
    const names = new Set<string>();
    for (const tag of ["round", "../../etc/passwd", "..", "a/b", "a_b", "a\\b", "\0", "é".repeat(500), "con:1"]) {
      const where = (await receive(key, { ...manifest, tag }, { dir: home })) as string;
      expect(where.startsWith(`${home}/${sender}-`)).toBe(true);
      names.add(where);
    }
    expect(names.size).toBe(9);
    expect(new Set((await readdir(home)).map((name) => join(home, name)))).toEqual(names);
  });
});
