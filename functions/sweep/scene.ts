import type { TransferRef } from "../keys.ts";
import type { Records, TransferRecord, Versioned } from "../records.ts";
import type { Store } from "../store.ts";
import type { Closing } from "./closing.ts";

const HOUR_MS = 3_600_000;
/** For an upload without news, and for a payload that nobody was told of: a sender that was cut off comes back within that. */
export const DAY_MS: number = 24 * HOUR_MS;
/** A begin makes its upload first and the record that names it then. It lasts seconds; nobody may be at it any more by now. */
export const ORPHAN_MS: number = HOUR_MS;

/** What is judged by. */
export interface Scene {
  readonly store: Store;
  readonly records: Records;
  readonly closing: Closing;
  /** Milliseconds that a payload outlives its last deadline. */
  readonly retention: number;
  /** Milliseconds since 1970, by the store's clock, which dates what it lists. */
  readonly now: number;
}

/**
 * Writes into the record that its upload or payload goes; false when the record has changed, and then nothing may go.
 * From here on no begin uses its key again, so what is under it can be removed at any later time, by anybody.
 */
export async function giveUp({ records }: Scene, ref: TransferRef, { record, etag }: Versioned): Promise<boolean> {
  return records.replace(ref, etag, await givenUp(records, ref, record));
}

/** A bound transfer stays bound. One whose manifest was written is bound to that, though its record doesn't know it yet. */
async function givenUp(records: Records, ref: TransferRef, record: TransferRecord): Promise<TransferRecord> {
  if (record.digest !== null) return { ...record, state: "swept" };
  const written = await records.writtenManifest(ref);
  if (written === null) return { ...record, state: "aborted" };
  const { size, partSize, contentType } = written.manifest;
  return { ...record, state: "swept", digest: written.digest, size, partSize, contentType };
}
