import { readPayloadKey } from "../keys.ts";
import type { TransferRecord } from "../records.ts";
import type { OpenUpload } from "../store.ts";
import type { Reason } from "./report.ts";
import { DAY_MS, giveUp, ORPHAN_MS, type Scene } from "./scene.ts";

/**
 * What is to become of an unfinished upload; by "abort" no record names it (any more). A client that is still at it is
 * told so by the store, and begins again.
 */
export async function judgeUpload(scene: Scene, upload: OpenUpload): Promise<"abort" | Reason> {
  const age = scene.now - upload.initiated.getTime();
  if (age < ORPHAN_MS) return "young";
  const place = readPayloadKey(upload.key);
  const found = place && (await scene.records.read(place.ref));
  if (!place || !found || !isNamed(found.record, place.generation, upload)) return "abort";
  if (age < DAY_MS) return "active";
  const active = await scene.store.hasPartSince(upload.key, upload.uploadId, scene.now - DAY_MS);
  if (active !== false) return active ? "active" : "changed";
  return (await giveUp(scene, place.ref, found)) ? "abort" : "changed";
}

function isNamed(record: TransferRecord, generation: number, { uploadId }: OpenUpload): boolean {
  return record.state === "open" && record.uploadId === uploadId && (record.generation ?? 0) === generation;
}
