import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { access, type FileHandle, link, lstat, open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { WaybillError } from "../protocol/errors.ts";
import type { Manifest } from "../protocol/manifest.ts";
import { partsOf } from "../protocol/plan.ts";
import { transferId } from "../protocol/statements.ts";
import type { PartSink } from "./download.ts";
import { attempt, checkSpace, exists, unwritable, writeAll } from "./file.ts";
import { sha256 } from "./hash.ts";
import type { Target, TargetOptions } from "./target.ts";

/** File systems take names of 255 bytes; the temporary name needs some of them. */
const MAX_NAME = 200;

/** One file. */
export function fileTarget(path: string, options: TargetOptions): Target<string> {
  const whole = resolve(path);
  return new FileTarget(dirname(whole), () => basename(whole), options, whole);
}

/** A file of its own for every payload, in a folder. */
export function folderTarget(dir: string, options: TargetOptions): Target<string> {
  return new FileTarget(resolve(dir), nameFor, options);
}

/**
 * No name that a sender chooses leads out of the folder or hides in it, and no two payloads share one: a tag that had to be
 * changed, that differs from another in upper case only, or that looks like a suffixed one gets a suffix of its id.
 */
function nameFor(manifest: Manifest, sender: string): string {
  const plain = manifest.tag.replace(/[^A-Za-z0-9._-]/g, "_").slice(0, MAX_NAME - sender.length - 10);
  const own = plain === manifest.tag && plain === plain.toLowerCase() && !/-[0-9a-f]{8}$/.test(plain);
  return `${sender}-${plain}${own ? "" : `-${transferId(manifest.tag).slice(2, 10)}`}`;
}

function isFolder(path: string): WaybillError {
  return new WaybillError("TARGET_UNWRITABLE", `${path} is a folder. Name a file, or say to: { dir }.`);
}

class FileTarget implements Target<string> {
  readonly #dir: string;
  readonly #nameFor: (manifest: Manifest, sender: string) => string;
  readonly #force: boolean;
  /** The file's path, where it is known from the beginning. */
  readonly #whole: string | undefined;
  #path = "";
  #part = "";
  #file: FileHandle | null = null;

  constructor(
    dir: string,
    name: (manifest: Manifest, sender: string) => string,
    { force = false }: TargetOptions,
    whole?: string,
  ) {
    this.#dir = dir;
    this.#whole = whole;
    this.#nameFor = name;
    this.#force = force;
  }

  async check(): Promise<void> {
    if (this.#whole !== undefined && (await stat(this.#whole).catch(() => null))?.isDirectory())
      throw isFolder(this.#whole);
    const found = await stat(this.#dir).catch((cause: unknown) => {
      throw unwritable(this.#dir, cause);
    });
    if (!found.isDirectory()) throw unwritable(this.#dir);
    await access(this.#dir, constants.W_OK).catch((cause: unknown) => {
      throw unwritable(this.#dir, cause);
    });
  }

  async begin(manifest: Manifest, sender: string): Promise<PartSink | null> {
    this.#path = join(this.#dir, this.#nameFor(manifest, sender));
    const standing = await lstat(this.#path).catch(() => null);
    if (standing?.isDirectory()) throw isFolder(this.#path);
    if (standing?.isFile() && (await isPayload(this.#path, manifest))) return null;
    if (standing && !this.#force) throw exists(this.#path);
    await checkSpace(this.#dir, this.#path, manifest.size);
    // A name of its own, so that two receivers with one target never write into each other's file.
    this.#part = `${this.#path}.${randomBytes(6).toString("hex")}.part`;
    this.#file = await attempt(this.#path, () => open(this.#part, "wx"));
    const file = this.#file;
    return {
      memory: () => null,
      write: ({ start }, bytes) => attempt(this.#path, () => writeAll(file, bytes, start)),
    };
  }

  async commit(): Promise<string> {
    const file = this.#file;
    if (!file) return this.#path; // it was there already
    await attempt(this.#path, async () => {
      await file.sync();
      await file.close();
      this.#file = null;
      await (this.#force ? rename(this.#part, this.#path) : publish(this.#part, this.#path));
      this.#part = "";
      await syncFolder(this.#dir);
    });
    return this.#path;
  }

  async discard(): Promise<void> {
    const file = this.#file;
    this.#file = null;
    await file?.close().catch(() => {});
    if (this.#part !== "") await rm(this.#part, { force: true }).catch(() => {});
    this.#part = "";
  }
}

/** Gives the file its name unless somebody else was faster. */
async function publish(part: string, path: string): Promise<void> {
  try {
    await link(part, path); // unlike rename it never replaces anything
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") throw error;
    const placeholder = await open(path, "wx"); // a file system without links: who makes this may replace it
    await placeholder.close();
    return rename(part, path).catch(async (cause: unknown) => {
      await rm(path, { force: true });
      throw cause;
    });
  }
  await rm(part, { force: true });
}

/** So that the name survives a power cut too, where the system lets a folder be synced. */
async function syncFolder(dir: string): Promise<void> {
  const folder = await open(dir, "r").catch(() => null);
  await folder?.sync().catch(() => {});
  await folder?.close();
}

/** Is this file the payload that the manifest describes? */
async function isPayload(path: string, manifest: Manifest): Promise<boolean> {
  const file = await open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0)).catch(() => null);
  if (!file) return false;
  try {
    if ((await file.stat()).size !== manifest.size) return false;
    const memory = new Uint8Array(manifest.partSize);
    for (const { number, start, length } of partsOf(manifest)) {
      const { bytesRead } = await file.read(memory, 0, length, start);
      if (bytesRead !== length || (await sha256(memory.subarray(0, length))) !== manifest.parts[number - 1])
        return false;
    }
    await file.sync(); // another process may have written it a moment ago
    return true;
  } finally {
    await file.close();
  }
}
