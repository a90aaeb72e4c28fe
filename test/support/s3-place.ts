import { randomUUID } from "node:crypto";
import { inject } from "vitest";
import { Store } from "../../functions/store.ts";
import { startStore } from "../../local/store/store.ts";
import { differences, type ServerName } from "../s3/differences.ts";
import { S3Probe, type S3Target } from "./s3.ts";
import { makeBucket, type OwnBucket } from "./s3-bucket.ts";
import { secret } from "./secrets.ts";

/** What `npm run test:s3` tells every test file. */
export interface ForeignTarget extends S3Target {
  readonly server: ServerName;
}

declare module "vitest" {
  interface ProvidedContext {
    s3: ForeignTarget;
  }
}

/** A bucket to try, and the clients that try it. */
export class Place {
  readonly target: ForeignTarget;
  readonly bucket: string;
  readonly s3: S3Probe;
  /** The bucket as the functions see it. */
  readonly store: Store;
  readonly #stop: () => Promise<void>;

  private constructor(target: ForeignTarget, stop: () => Promise<void>) {
    secret(target.credentials.secretAccessKey);
    this.target = target;
    this.bucket = target.bucket;
    this.s3 = new S3Probe(target);
    this.store = this.open();
    this.#stop = stop;
  }

  /** Our own store, new, or the server that the run was told of. */
  static async open(): Promise<Place> {
    const foreign = inject("s3") as ForeignTarget | undefined;
    if (foreign) return new Place(foreign, async () => {});
    const { endpoint, region, bucket, credentials, stop } = await startStore();
    return new Place({ server: "waybill", endpoint, region, bucket, credentials }, stop);
  }

  async close(): Promise<void> {
    this.s3.close();
    this.store.close();
    await this.#stop();
  }

  /** What the functions would have of it, or of another bucket there. */
  open(s3Endpoint: string = this.target.endpoint, bucket: string = this.bucket): Store {
    const { region, credentials: s3Credentials } = this.target;
    return new Store({ bucket, region, s3Endpoint, s3Credentials });
  }

  /** A bucket with nothing in it. */
  async ownBucket(): Promise<OwnBucket> {
    if (this.target.server === "waybill") return { bucket: this.bucket, remove: async () => {} };
    return makeBucket(this.target);
  }

  /** A key of the test's own, so that the suite may run on a bucket in use. */
  key(): string {
    return `waybill-test/${randomUUID()}`;
  }

  /** What S3 answers, or what this server is known to answer instead. A test asserts either of them exactly. */
  expected(name: string, onS3: unknown): unknown {
    const known = differences[this.target.server][name];
    return known === undefined ? onS3 : known.answer;
  }
}
