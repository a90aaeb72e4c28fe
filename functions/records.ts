import * as z from "zod/mini";
import { WaybillError } from "../lib/protocol/errors.ts";
import { type Hex, wordHex } from "../lib/protocol/hex.ts";
import { decodeManifest, type Manifest, manifestDigest } from "../lib/protocol/manifest.ts";
import { id32, signedNotice } from "../lib/protocol/requests.ts";
import { noticeId } from "../lib/protocol/statements.ts";
import { manifestKey, noticeKey, recordKey, type TransferRef } from "./keys.ts";
import type { Objects } from "./objects.ts";

const count = z.int().check(z.gte(0));

/**
 * What the server remembers of a transfer. `open`: an upload is under way (that it was completed already, S3 tells);
 * `finished`: stored under `digest` for ever; `swept`: the payload was deleted; `aborted`: given up before it was finished.
 */
const recordSchema = z.strictObject({
  state: z.enum(["open", "finished", "swept", "aborted"]),
  uploadId: z.string(),
  size: z.nullable(count),
  partSize: count,
  contentType: z.string(),
  /** The manifest's. Once it is set, it never changes. */
  digest: z.nullable(id32),
  /** Seconds. */
  storedAt: z.nullable(count),
  keepUntil: count,
  notices: z.array(id32),
  /** Which of the transfer's payload keys it is about; without it, the first. It rises when a new upload follows one that was given up. */
  generation: z.optional(count),
});
export type TransferRecord = z.infer<typeof recordSchema>;
export type SignedNotice = z.output<typeof signedNotice>;

/** A record with the version that a change of it must name. */
export interface Versioned {
  readonly record: TransferRecord;
  readonly etag: string;
}

/** Losing this often against other writers of one record is no accident any more. */
const TRIES = 10;

/** The transfers' records, manifests and notices in the bucket. */
export class Records {
  readonly #store: Objects;

  constructor(store: Objects) {
    this.#store = store;
  }

  async read(ref: TransferRef): Promise<Versioned | null> {
    const found = await this.#store.getJson(recordKey(ref));
    return found && { record: trusted(recordSchema, found.value), etag: found.etag };
  }

  /** Writes the first record; false when there is one already. */
  async create(ref: TransferRef, record: TransferRecord): Promise<boolean> {
    return (await this.#store.putJson(recordKey(ref), record, { ifNoneMatch: true })) !== null;
  }

  /** Writes over exactly that version; false when it is gone. */
  async replace(ref: TransferRef, etag: string, record: TransferRecord): Promise<boolean> {
    return (await this.#store.putJson(recordKey(ref), record, { ifMatch: etag })) !== null;
  }

  /**
   * Changes the record as it stands, again from its newest version when somebody else was faster. `change` answers the
   * same record to leave it.
   * @throws WaybillError UNKNOWN_TRANSFER, and what `change` throws.
   */
  async amend(ref: TransferRef, change: (record: TransferRecord) => TransferRecord): Promise<TransferRecord> {
    for (let tries = 0; tries < TRIES; tries++) {
      const { record, etag } = (await this.read(ref)) ?? unknownTransfer();
      const changed = change(record);
      if (changed === record || (await this.replace(ref, etag, changed))) return changed;
    }
    throw contended();
  }

  /** Writes the manifest; false when there is one already. */
  async createManifest(ref: TransferRef, bytes: Uint8Array): Promise<boolean> {
    return (await this.#store.putBytes(manifestKey(ref), bytes, "application/json", { ifNoneMatch: true })) !== null;
  }

  /** The manifest's exact bytes, if they are those of the digest. */
  async manifest(ref: TransferRef, digest: Hex): Promise<{ bytes: Uint8Array; manifest: Manifest } | null> {
    const bytes = await this.#store.getBytes(manifestKey(ref));
    return bytes && manifestDigest(bytes) === digest ? { bytes, manifest: decodeManifest(bytes) } : null;
  }

  /** Whatever manifest was written, also when no record names it yet. */
  async writtenManifest(ref: TransferRef): Promise<{ digest: Hex; manifest: Manifest } | null> {
    const bytes = await this.#store.getBytes(manifestKey(ref));
    return bytes && { digest: manifestDigest(bytes), manifest: decodeManifest(bytes) };
  }

  /** Writes a notice; false when it is there already. */
  async createNotice(notice: SignedNotice): Promise<boolean> {
    const id = noticeId(notice.notice);
    const json = { ...notice, notice: { ...notice.notice, recipients: wordHex(notice.notice.recipients) } };
    return (await this.#store.putJson(noticeKey(notice.notice.task, id), json, { ifNoneMatch: true })) !== null;
  }

  /** A notice, if what is stored under its id is that notice: its fields hash to the id, so the record needs no trust. */
  async notice(task: Hex, id: Hex): Promise<SignedNotice | null> {
    const found = await this.#store.getJson(noticeKey(task, id));
    if (found === null) return null;
    const notice = trusted(signedNotice, found.value);
    return notice.notice.task === task && noticeId(notice.notice) === id ? notice : null;
  }
}

/** What we wrote ourselves; anything else in its place is our fault, and is not believed either. */
function trusted<T>(schema: z.ZodMiniType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new WaybillError("INTERNAL", "A record in the store is not one of ours.");
}

export function unknownTransfer(): never {
  throw new WaybillError("UNKNOWN_TRANSFER", "You have no such transfer in this task. Begin it first.");
}

export function contended(): WaybillError {
  return new WaybillError("UNAVAILABLE", "Others change this transfer at the same time. Try again.");
}

/** What to do about a transfer that takes no parts. */
export function notOpen({ state }: TransferRecord): never {
  if (state === "finished") throw new WaybillError("FINISHED", "This transfer is finished. It takes no more parts.");
  throw new WaybillError("NOT_STORED", `This transfer is ${state}. Begin it again.`);
}
