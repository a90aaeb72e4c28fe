import { renameSync } from "node:fs";
import { rm } from "node:fs/promises";
import type { Received } from "./body.ts";
import { type BucketFolder, type Disk, newBlob, newUploadId, objectRecord, partFile, uploadRecord } from "./disk.ts";
import { S3Error } from "./errors.ts";
import { SortedKeys } from "./keys.ts";
import { loadObjects, loadUploads } from "./load.ts";
import { Locks } from "./locks.ts";
import { type Blob, type ObjectRecord, type UploadRecord, writeRecord } from "./records.ts";

export interface Part extends Blob {
  readonly number: number;
  readonly modified: number;
}

export interface Upload {
  readonly record: UploadRecord;
  readonly parts: Map<number, Part>;
}

/** An object that its reader may rely on until `release`, even if it is overwritten or deleted meanwhile. */
export interface Lease {
  readonly object: ObjectRecord;
  release(): Promise<void>;
}

/**
 * One bucket: an index in memory over records on disk. Whoever changes a key or an upload holds its lock, and judges its
 * conditions under the same lock, so each change is atomic.
 */
export class Bucket {
  readonly name: string;
  readonly folder: BucketFolder;
  readonly keyLocks: Locks = new Locks();
  readonly uploadLocks: Locks = new Locks();
  readonly keys: SortedKeys = new SortedKeys();
  readonly uploads: Map<string, Upload>;
  readonly #disk: Disk;
  readonly #objects: Map<string, ObjectRecord>;
  readonly #readers = new Map<ObjectRecord, number>();
  readonly #retired = new Set<ObjectRecord>();

  private constructor(
    disk: Disk,
    name: string,
    folder: BucketFolder,
    objects: Map<string, ObjectRecord>,
    uploads: Map<string, Upload>,
  ) {
    this.#disk = disk;
    this.name = name;
    this.folder = folder;
    this.#objects = objects;
    this.uploads = uploads;
    for (const key of objects.keys()) this.keys.add(key);
  }

  static async open(disk: Disk, name: string): Promise<Bucket> {
    const folder = await disk.makeBucket(name);
    const objects = await loadObjects(folder);
    return new Bucket(disk, name, folder, objects, await loadUploads(folder, objects));
  }

  /** A path for bytes that are being received. */
  temporary(): string {
    return this.#disk.temporary();
  }

  find(key: string): ObjectRecord | undefined {
    return this.#objects.get(key);
  }

  get(key: string): ObjectRecord {
    const object = this.find(key);
    if (!object) throw new S3Error("NoSuchKey");
    return object;
  }

  lease(object: ObjectRecord): Lease {
    this.#readers.set(object, (this.#readers.get(object) ?? 0) + 1);
    return { object, release: () => this.release(object) };
  }

  private async release(object: ObjectRecord): Promise<void> {
    const left = (this.#readers.get(object) ?? 1) - 1;
    if (left > 0) {
      this.#readers.set(object, left);
      return;
    }
    this.#readers.delete(object);
    if (this.#retired.delete(object)) await this.erase(object);
  }

  /** Makes received bytes the object of a key. Under the key's lock. */
  async store(received: Received, record: Omit<ObjectRecord, "blobs" | "size">): Promise<void> {
    const blob = { file: newBlob(), size: received.size, sha256: received.sha256 };
    try {
      renameSync(received.file, this.folder.path(blob.file));
      await this.put({ ...record, size: received.size, blobs: [blob] });
    } catch (error) {
      await this.folder.remove(blob.file);
      throw error;
    }
  }

  /** Makes a record the object of its key. Under the key's lock. */
  async put(object: ObjectRecord): Promise<void> {
    writeRecord(this.folder.path(objectRecord(object.key)), this.temporary(), object);
    const old = this.#objects.get(object.key);
    this.#objects.set(object.key, object);
    this.keys.add(object.key);
    if (old) await this.retire(old);
  }

  /** Under the key's lock. */
  async remove(object: ObjectRecord): Promise<void> {
    await this.folder.remove(objectRecord(object.key));
    this.#objects.delete(object.key);
    this.keys.remove(object.key);
    await this.retire(object);
  }

  private async retire(object: ObjectRecord): Promise<void> {
    if (this.#readers.has(object)) this.#retired.add(object);
    else await this.erase(object);
  }

  private async erase(object: ObjectRecord): Promise<void> {
    if (object.upload !== undefined) await this.folder.remove(`uploads/${object.upload}`);
    else for (const { file } of object.blobs) await this.folder.remove(file);
  }

  async beginUpload(record: Omit<UploadRecord, "id">): Promise<string> {
    const id = newUploadId(record.modified);
    const upload = { record: { ...record, id }, parts: new Map<number, Part>() };
    await this.folder.make(`uploads/${id}`);
    writeRecord(this.folder.path(uploadRecord(id)), this.temporary(), upload.record);
    this.uploads.set(id, upload);
    return id;
  }

  /** The unfinished upload of this id, which must be the key's. */
  upload(key: string, id: string): Upload {
    const upload = this.uploads.get(id);
    if (upload?.record.key !== key) throw new S3Error("NoSuchUpload");
    return upload;
  }

  /** Makes received bytes a part, in place of any earlier one of that number. */
  async storePart(key: string, id: string, number: number, received: Received, now: number): Promise<Part> {
    return this.uploadLocks
      .run(id, async () => {
        const { parts } = this.upload(key, id); // it may have ended while the body came in
        const { size, sha256 } = received;
        const part = { number, size, sha256, modified: now, file: partFile(id, number, sha256) };
        renameSync(received.file, this.folder.path(part.file));
        const old = parts.get(number);
        parts.set(number, part);
        if (old && old.file !== part.file) await this.folder.remove(old.file);
        return part;
      })
      .catch(async (error: unknown) => {
        await rm(received.file, { force: true });
        throw error;
      });
  }

  /** Ends an upload: its record goes, and every part that no object keeps. Under the upload's lock. */
  async endUpload({ record, parts }: Upload, kept: ReadonlySet<number>): Promise<void> {
    this.uploads.delete(record.id);
    if (kept.size === 0) {
      await this.folder.remove(`uploads/${record.id}`);
      return;
    }
    await this.folder.remove(uploadRecord(record.id));
    for (const part of parts.values()) if (!kept.has(part.number)) await this.folder.remove(part.file);
  }
}
