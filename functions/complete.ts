import { WaybillError } from "../lib/protocol/errors.ts";
import type { Manifest } from "../lib/protocol/manifest.ts";
import { partAt } from "../lib/protocol/plan.ts";
import type { Store, UploadedPart } from "./store.ts";

/** A part can change under us; that it does so again and again is no accident. */
const TRIES = 3;
/** Part numbers named in one refusal. */
const MAX_NAMED = 256;

/**
 * Makes the upload an object, if it isn't one already, and tells only what the store itself shows: `stored` means that
 * exactly the manifest's bytes are there, `completing` that the store may still be at it.
 * @throws WaybillError NOT_STORED (with the parts to send), CONFLICT (other bytes are there).
 */
export async function completeUpload(
  store: Store,
  key: string,
  uploadId: string,
  manifest: Manifest,
): Promise<"stored" | "completing"> {
  for (let tries = 0; tries < TRIES; tries++) {
    const held = await store.listParts(key, uploadId);
    if (held === null) return settle(store, key, uploadId, manifest, "gone");
    const completion = await store.complete(key, uploadId, matching(manifest, held));
    if (completion === "done") return "stored";
    if (completion !== "invalid") return settle(store, key, uploadId, manifest, completion);
    // Somebody sent a part again since we listed them: the new list says which.
  }
  throw new WaybillError("UNAVAILABLE", "The store does not take the parts that it holds. Try again.");
}

/** Without a plain "done", only the object itself can tell. Nothing is ever sent again because of a 409 alone. */
async function settle(
  store: Store,
  key: string,
  uploadId: string,
  manifest: Manifest,
  completion: "exists" | "busy" | "gone" | "unknown",
): Promise<"stored" | "completing"> {
  const object = await store.head(key);
  if (object?.checksum === manifest.checksum && object.size === manifest.size) {
    // Another begin's upload may have got there first; ours is of no use then.
    if (completion === "exists") await store.abort(key, uploadId);
    return "stored";
  }
  if (object) {
    await store.abort(key, uploadId);
    throw new WaybillError("CONFLICT", "This tag stands for other bytes. Send yours under a new tag.");
  }
  if (completion === "gone") throw notStored([], "The upload is gone. Begin the transfer again.");
  return "completing";
}

/** The uploaded parts that the manifest names. @throws WaybillError NOT_STORED with those that lack or differ. */
function matching(manifest: Manifest, held: readonly UploadedPart[]): UploadedPart[] {
  const byNumber = new Map(held.map((part) => [part.number, part]));
  const parts = manifest.parts.map((sha256, i) => {
    const { number, length } = partAt(manifest, i + 1);
    const part = byNumber.get(number);
    return part?.sha256 === sha256 && part.length === length ? part : number;
  });
  const missing = parts.filter((part) => typeof part === "number");
  if (missing.length > 0)
    throw notStored(
      missing,
      `${missing.length} of ${parts.length} parts are not stored. Send them, then finish again.`,
    );
  return parts.filter((part) => typeof part !== "number");
}

function notStored(parts: readonly number[], message: string): WaybillError {
  return new WaybillError("NOT_STORED", message, { details: { parts: parts.slice(0, MAX_NAMED) } });
}
