// What the oracle judges by (oracle.ts). Plain facts, and none of them is the product's own opinion: raw logs, files of the store,
// what passed two fronts, and what calls gave back to whoever made them.

/** A log as a node gives it. */
export interface RawLog {
  readonly topics: readonly string[];
  readonly data: string;
  readonly blockNumber: number;
  readonly logIndex: number;
}

/** An object as it lies in the store. */
export interface StoredObject {
  readonly bytes: Uint8Array;
  readonly etag: string;
}

/** A multipart upload that was neither completed nor aborted. Times in milliseconds. */
export interface OpenUpload {
  readonly key: string;
  readonly id: string;
  /** When it began, or its newest part came. */
  readonly moved: number;
}

export interface BucketContents {
  readonly objects: ReadonlyMap<string, StoredObject>;
  readonly uploads: readonly OpenUpload[];
  /** Files that belong to nothing. */
  readonly strays: readonly string[];
}

/** One request to the API and its answer, as a front between client and functions saw them. */
export interface Exchange {
  /** Recovered from the request's signature; null when that can't be read. Lower-case. */
  readonly account: string | null;
  readonly method: string;
  readonly path: string;
  /** JSON, or null. */
  readonly asked: unknown;
  readonly status: number;
  readonly answer: unknown;
  /** The chain's newest block when the request came, and when its answer went. */
  readonly from: number;
  readonly to: number;
  /** Milliseconds, by this machine's clock. */
  readonly at: number;
  /** For a receipt of who receives into a file: what stood there when it passed, as SHA-256 in hex; null: nothing. */
  readonly file?: string | null;
}

/** Bytes of the store's that a front let through unchanged. */
export interface Served {
  /** The signature in the URL, by which its owner is found. */
  readonly signature: string;
  readonly key: string;
  readonly from: number;
  readonly length: number;
}

/** What a sender really sent. Accounts and hex in lower case. */
export interface Truth {
  readonly task: string;
  readonly sender: string;
  readonly tag: string;
  readonly size: number;
  /** SHA-256 in hex. */
  readonly sha256: string;
}

/** How a call ended. `code` null: it threw something that is no error of ours. `killed`: its process died under it. */
export type End =
  | { readonly state: "resolved" }
  | { readonly state: "rejected"; readonly code: string | null; readonly words: string }
  | { readonly state: "killed" }
  | { readonly state: "unfinished" };

interface Made {
  readonly name: string;
  readonly task: string;
  readonly by: string;
  readonly end: End;
  /** No fault, reorg or abort was at work while it ran: it must not fail for such a reason. */
  readonly calm: boolean;
}

/** A sending call. `received`: whom it counted, resolved or rejected. */
export interface SendMade extends Made {
  readonly kind: "send";
  readonly tag: string;
  readonly targets: readonly string[];
  readonly received: readonly string[];
  /** The notices that it published or joined. */
  readonly notices: readonly string[];
}

/** A payload as a receiving call gave it back. */
export interface Delivered {
  readonly source: string;
  readonly size: number;
  readonly sha256: string;
  /** The notice that it was found by; null when an earlier call had found it, and it was held ready. */
  readonly notice: string | null;
}

/** A receiving call. */
export interface ReceiveMade extends Made {
  readonly kind: "receive";
  readonly tag: string | null;
  readonly delivered: readonly Delivered[];
  /** The notices that it found. */
  readonly notices: readonly string[];
  /** The files that it could have written, as they are after it: SHA-256 in hex, or null where there is none. */
  readonly files: readonly { readonly source: string; readonly sha256: string | null }[];
  /** It asked for a notice that it may have verified before: it must give the same bytes, and says nothing of a receipt. */
  readonly again: boolean;
}

/** Anything else that somebody asked for: a message, a change of the roster, a withdrawal. */
export interface OtherMade extends Made {
  readonly kind: "other";
}
export type CallMade = SendMade | ReceiveMade | OtherMade;

/** A world at rest: all faults off, nothing under way, `confirmations` blocks on top of everything. */
export interface Evidence {
  readonly domain: { readonly chainId: number; readonly contract: string };
  /** All logs of the contract on the chain as it stands. */
  readonly logs: readonly RawLog[];
  /** The blocks' times in seconds, at least of those with logs. */
  readonly times: ReadonlyMap<number, number>;
  /** When blocks were undone (ms), and the lowest of them. */
  readonly reorgs: readonly { readonly at: number; readonly lowest: number }[];
  readonly bucket: BucketContents;
  /** By which the store judges URLs. */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string; readonly region: string };
  readonly bucketName: string;
  /** The store's own log. */
  readonly requests: readonly { readonly operation: string; readonly key: string; readonly status: number }[];
  readonly exchanges: readonly Exchange[];
  readonly served: readonly Served[];
  readonly payloads: readonly Truth[];
  readonly calls: readonly CallMade[];
  /** Everything that anybody logged or told in an error. */
  readonly lines: readonly string[];
  /** What must not be in there; the URLs' and requests' signatures are added to it. */
  readonly secrets: readonly string[];
  /** Names of files in the recipients' folders that are neither a payload nor a reading position. */
  readonly leftovers: readonly string[];
  /** Milliseconds that an upload may lie still, and the present time. */
  readonly sweepAge: number;
  readonly now: number;
  /** The most seconds for which a URL may be good. */
  readonly ttlCap: number;
}
