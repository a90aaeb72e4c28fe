import { readPayloadKey, type TransferRef } from "../keys.ts";
import type { Versioned } from "../records.ts";
import type { ListedObject } from "../store.ts";
import type { Reason } from "./report.ts";
import { DAY_MS, giveUp, type Scene } from "./scene.ts";

/** What is to become of a payload; by "sweep" its record says that it goes, and nobody will use this key again. */
export async function judgePayload(scene: Scene, payload: ListedObject): Promise<"sweep" | Reason> {
  // A date may be the upload's beginning, so an old one says nothing. But nothing goes sooner after it than this.
  if (scene.now - payload.modified.getTime() < Math.min(DAY_MS, scene.retention)) return "young";
  const place = readPayloadKey(payload.key);
  const found = place && (await scene.records.read(place.ref));
  if (!place || !found) return "unrecorded";
  const { generation = 0, state } = found.record;
  if (place.generation !== generation) return place.generation < generation ? "sweep" : "unrecorded";
  if (state === "open") return judgeUnfinished(scene, place.ref, found, payload);
  if (state === "finished") return judgeFinished(scene, place.ref, found, payload);
  return "sweep";
}

/**
 * Completed, and whoever did it was cut off before the record said so. How long that is ago the store doesn't tell: so its
 * day begins when we first see it, and the record keeps that.
 */
async function judgeUnfinished(
  scene: Scene,
  ref: TransferRef,
  found: Versioned,
  { key }: ListedObject,
): Promise<"sweep" | Reason> {
  const { record, etag } = found;
  if ((await scene.store.hasPartSince(key, record.uploadId, 0)) !== null) return "active";
  const seconds = Math.ceil(scene.now / 1000);
  if (record.keepUntil === 0) {
    const noted = { ...record, keepUntil: seconds + DAY_MS / 1000 };
    return (await scene.records.replace(ref, etag, noted)) ? "unfinished" : "changed";
  }
  if (seconds <= record.keepUntil) return "unfinished";
  return (await giveUp(scene, ref, found)) ? "sweep" : "changed";
}

/** Both clocks must have passed its time: ours can be wrong, and a chain can stand still. */
async function judgeFinished(
  scene: Scene,
  ref: TransferRef,
  found: Versioned,
  { modified }: ListedObject,
): Promise<"sweep" | Reason> {
  const { keepUntil, storedAt } = found.record;
  const published = keepUntil > 0;
  const until = published ? keepUntil * 1000 : Math.max((storedAt ?? 0) * 1000, modified.getTime()) + DAY_MS;
  if (scene.now <= until) return "kept";
  if (published && !(await scene.closing.isClosed(ref.task, found.record))) return "open";
  return (await giveUp(scene, ref, found)) ? "sweep" : "changed";
}
