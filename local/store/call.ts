import type { Body } from "./body.ts";
import type { Bucket } from "./bucket.ts";
import type { Reply } from "./reply.ts";
import type { S3Request } from "./request.ts";

/** One authenticated request to a bucket that exists. */
export interface Call {
  readonly request: S3Request;
  readonly bucket: Bucket;
  readonly body: Body;
  readonly now: number;
  /** Buckets that a copy may read from. */
  readonly buckets: ReadonlyMap<string, Bucket>;
  /** The least size of a part that is not the last. */
  readonly minPartSize: number;
}

export type Operation = (call: Call) => Promise<Reply>;
