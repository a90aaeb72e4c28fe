import { Bucket } from "./bucket.ts";
import type { Disk } from "./disk.ts";
import { S3Error } from "./errors.ts";
import { Locks } from "./locks.ts";

/** S3's alphabet for a bucket's name, which is harmless as a folder's, too. */
const NAME = /^[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]$/;

/** All buckets of a store. */
export class Buckets {
  readonly all: Map<string, Bucket> = new Map();
  readonly #disk: Disk;
  readonly #locks = new Locks();

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  /** Finds again what an earlier life of the store kept. */
  async load(): Promise<void> {
    await this.#disk.prepare();
    for (const name of await this.#disk.bucketNames()) this.all.set(name, await Bucket.open(this.#disk, name));
  }

  get(name: string): Bucket {
    const bucket = this.all.get(name);
    if (!bucket) throw new S3Error("NoSuchBucket");
    return bucket;
  }

  async create(name: string): Promise<void> {
    if (!NAME.test(name)) throw new S3Error("InvalidBucketName");
    await this.#locks.run(name, async () => {
      if (this.all.has(name)) throw new S3Error("BucketAlreadyOwnedByYou");
      this.all.set(name, await Bucket.open(this.#disk, name));
    });
  }
}
