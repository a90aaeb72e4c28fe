import { createHash, randomBytes } from "node:crypto";
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";

/**
 * Where things are, below one folder. No name on disk comes from a client but a bucket's, whose alphabet is harmless: keys
 * are hashed, ids are our own.
 *
 * - `tmp/*`: what is being received; emptied at start
 * - `buckets/{bucket}/objects/{sha256 of the key}.json`: an object's record; its existence is the object's
 * - `buckets/{bucket}/blobs/{id}`: the bytes of a single PUT
 * - `buckets/{bucket}/uploads/{id}/upload.json`: an unfinished upload's record; its parts lie beside it as `{n}-{sha256}` and
 *   stay there when they become an object, so completing 10,000 parts moves no byte
 */
export class Disk {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  async prepare(): Promise<void> {
    await rm(join(this.root, "tmp"), { recursive: true, force: true });
    await mkdir(join(this.root, "tmp"), { recursive: true });
    await mkdir(join(this.root, "buckets"), { recursive: true });
  }

  /** A path that nobody else uses. */
  temporary(): string {
    return join(this.root, "tmp", newId());
  }

  async bucketNames(): Promise<string[]> {
    return readdir(join(this.root, "buckets"));
  }

  async makeBucket(name: string): Promise<BucketFolder> {
    const folder = new BucketFolder(join(this.root, "buckets", name));
    for (const part of ["objects", "blobs", "uploads"]) await mkdir(folder.path(part), { recursive: true });
    return folder;
  }
}

/** A bucket's folder. Files in it are named relative to it, so that a kept store may be moved. */
export class BucketFolder {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  path(file: string): string {
    return join(this.#root, file);
  }

  async make(folder: string): Promise<void> {
    await mkdir(this.path(folder));
  }

  async list(folder: string): Promise<string[]> {
    return readdir(this.path(folder));
  }

  async remove(file: string): Promise<void> {
    await rm(this.path(file), { recursive: true, force: true });
  }

  async facts(file: string): Promise<{ size: number; modified: number }> {
    const { size, mtimeMs } = await stat(this.path(file));
    return { size, modified: mtimeMs };
  }
}

export function objectRecord(key: string): string {
  return `objects/${createHash("sha256").update(key).digest("hex")}.json`;
}

export function uploadRecord(id: string): string {
  return `uploads/${id}/upload.json`;
}

export function newBlob(): string {
  return `blobs/${newId()}`;
}

/** A part's digest is in its name: one rename stores both. */
export function partFile(upload: string, number: number, sha256: string): string {
  return `uploads/${upload}/${number}-${Buffer.from(sha256, "base64").toString("hex")}`;
}

/** The part that a file name tells of, or null for any other file. */
export function readPartFile(name: string): { number: number; sha256: string } | null {
  const [, number, hex] = /^(\d{1,5})-([0-9a-f]{64})$/.exec(name) ?? [];
  if (number === undefined || hex === undefined) return null;
  return { number: Number(number), sha256: Buffer.from(hex, "hex").toString("base64") };
}

/** Ids of uploads sort by their beginning, as S3 lists them. */
export function newUploadId(now: number): string {
  return now.toString(16).padStart(12, "0") + newId();
}

export function newId(): string {
  return randomBytes(16).toString("hex");
}
