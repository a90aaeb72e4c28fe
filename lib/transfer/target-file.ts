import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { access, link, lstat, open, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { WaybillError } from "../protocol/errors.ts";
import type { Hex } from "../protocol/hex.ts";
import { encodeManifest, type Manifest, manifestDigest, transferId } from "../protocol/manifest.ts";
import type { PartSink } from "./download.ts";
import { attempt, busy, exists, syncFolder, unwritable } from "./file.ts";
import { Lock } from "./lock.ts";
import { isWhole, Partial, removePartial } from "./partial.ts";
import type { Target, TargetOptions } from "./target.ts";

/** File systems take names of 255 bytes; what stands beside a file while it is received needs some of them. */
const MAX_NAME = 200;

/**
 * After these the payload comes no more, or can't go where it should. After everything else (a time that is over, a signal, the
 * network, the store, a callback, a withdrawal that another notice may follow) a later call goes on with what is verified.
 */
const LAST: ReadonlySet<string> = new Set([
  "CORRUPT",
  "TOO_LARGE",
  "REFUSED",
  "CONFLICT",
  "EXPELLED",
  "NOT_MEMBER",
  "NOT_RECIPIENT",
  "TARGET_EXISTS",
  "TARGET_UNWRITABLE",
  "NO_SPACE",
]);

/** Whether nobody can go on after this error with what it has of the payload. */
function comesNoMore(error: unknown): boolean {
  return error instanceof WaybillError && LAST.has(error.code);
}

/** One file. */
export function fileTarget(path: string, options: TargetOptions): Target<string> {
  const whole = resolve(path);
  return new FileTarget(dirname(whole), () => basename(whole), options, whole);
}

/** A file of its own for every payload, in a folder. */
export function folderTarget(dir: string, options: TargetOptions, named?: unknown): Target<string> {
  if (named !== undefined && named !== "tag")
    throw new WaybillError("USAGE", '`named` must be "tag", or be left out for a name of sender and tag.');
  return new FileTarget(resolve(dir), named === "tag" ? nameByTag : nameFor, options);
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

/** What a file beside another may not be called: it would be taken for what is left of a download. */
const OURS = /\.(part|journal|lock)$/;

/** On Windows these are devices, whatever comes behind a dot. */
const DEVICE = /^(?=(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$))/i;

/** The same without the sender: a name that would hide, or look like an option, a device or a file of ours, is changed, too. */
function nameByTag({ tag }: Manifest): string {
  const id = transferId(tag).slice(2, 10);
  const plain = tag
    .replace(/[^A-Za-z0-9._-]/g, "_")
    .replace(/^[.-]/, "_")
    .replace(DEVICE, "_")
    .slice(0, MAX_NAME - id.length - 1);
  const own = plain === tag && plain === plain.toLowerCase() && !/-[0-9a-f]{8}$/.test(plain) && !OURS.test(plain);
  return own ? plain : `${plain}-${id}`;
}

class FileTarget implements Target<string> {
  readonly #dir: string;
  readonly #nameFor: (manifest: Manifest, sender: string) => string;
  readonly #force: boolean;
  /** The file's path, where it is known from the beginning. */
  readonly #whole: string | undefined;
  #path = "";
  #replaces = false;
  #part = "";
  #lock: Lock | null = null;
  #partial: Partial | null = null;

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

  async begin(manifest: Manifest, sender: string, signal?: AbortSignal): Promise<PartSink | null> {
    const digest = this.#find(manifest, sender);
    const free = await this.#take(signal);
    const standing = await lstat(this.#path).catch(() => null);
    if (standing?.isDirectory()) throw isFolder(this.#path);
    if (standing?.isFile() && (await isPayload(this.#path, manifest, signal))) {
      if (free) await this.#leave(); // an earlier call may have ended before it was done
      return null;
    }
    if (!free) throw busy(this.#path);
    this.#replaces = this.#force;
    if (standing && !this.#force && !(standing.isFile() && standing.size === 0)) throw exists(this.#path);
    const place = { path: this.#path, part: this.#part, makers: this.#lock! };
    this.#partial = await Partial.open(place, manifest, digest, signal);
    if (standing && !this.#force) this.#checkOurs(manifest, this.#partial);
    return this.#partial;
  }

  async commit(): Promise<string> {
    const partial = this.#partial;
    if (!partial) return this.#path; // it was there already
    await partial.finish();
    this.#partial = null;
    await attempt(this.#path, () =>
      this.#replaces ? rename(this.#part, this.#path) : publish(this.#part, this.#path),
    );
    await syncFolder(this.#dir);
    await this.#leave();
    return this.#path;
  }

  async discard(reason: unknown): Promise<void> {
    await this.#partial?.close().catch(() => {});
    this.#partial = null;
    if (this.#lock && comesNoMore(reason)) await removePartial(this.#part);
    await this.#lock?.release();
    this.#lock = null;
  }

  async holds(manifest: Manifest, sender: string, signal: AbortSignal): Promise<string | null> {
    this.#find(manifest, sender);
    return (await isPayload(this.#path, manifest, signal)) ? this.#path : null;
  }

  async forget(manifest: Manifest, sender: string): Promise<void> {
    this.#find(manifest, sender);
    if (!(await this.#take().catch(() => false))) return;
    await removePartial(this.#part);
    await this.#lock?.release();
    this.#lock = null;
  }

  /** An empty file is the placeholder of a call that was killed in `publish`, if everything else was done. */
  #checkOurs({ parts }: Manifest, { held }: Partial): void {
    if (held.size < parts.length) throw exists(this.#path);
    this.#replaces = true;
  }

  /** A restarted process finds the same names. */
  #find(manifest: Manifest, sender: string): Hex {
    const digest = manifestDigest(encodeManifest(manifest));
    this.#path = join(this.#dir, this.#nameFor(manifest, sender));
    this.#part = join(this.#dir, `${this.#stem}.${digest.slice(2, 18)}.part`);
    return digest;
  }

  /** Begins the names of what stands beside the file while it is received. */
  get #stem(): string {
    const name = basename(this.#path);
    if (Buffer.byteLength(name) <= MAX_NAME) return name;
    return `${Buffer.from(name).subarray(0, MAX_NAME / 2)}.${createHash("sha256").update(name).digest("hex").slice(0, 16)}`;
  }

  async #take(signal?: AbortSignal): Promise<boolean> {
    this.#lock = await attempt(this.#path, () => Lock.take(this.#dir, this.#stem, signal), signal);
    return this.#lock !== null;
  }

  /** The file is there. What was begun for it, this payload or others, has no place any more. */
  async #leave(): Promise<void> {
    for (const name of await readdir(this.#dir).catch(() => [])) {
      const rest = name.startsWith(`${this.#stem}.`) ? name.slice(this.#stem.length + 1) : "";
      const path = join(this.#dir, name);
      if (/^[0-9a-f]{16}\.part$/.test(rest) && path !== this.#part) await removePartial(path);
    }
    await removePartial(this.#part);
    await this.#lock?.release();
    this.#lock = null;
  }
}

/** Gives the file its name unless somebody else was faster. The part file may stay as a second name of it. */
async function publish(part: string, path: string): Promise<void> {
  try {
    await link(part, path); // unlike rename it never replaces anything
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") throw error;
    const placeholder = await open(path, "wx"); // a file system without links: who makes this may replace it
    await placeholder.close();
    await rename(part, path).catch(async (cause: unknown) => {
      await rm(path, { force: true });
      throw cause;
    });
  }
}

/** Is this file the payload that the manifest describes? */
async function isPayload(path: string, manifest: Manifest, signal?: AbortSignal): Promise<boolean> {
  // What was a file a moment ago may be a pipe by now: opening it must not wait for who writes into it.
  const flags = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);
  const file = await open(path, flags).catch(() => null);
  if (!file) return false;
  try {
    const whole = (await file.stat()).isFile() && (await isWhole(file, manifest, signal));
    if (whole) await file.sync(); // another process may have written it a moment ago
    return whole;
  } finally {
    await file.close();
  }
}
