import type { Part, Upload } from "./bucket.ts";
import { type BucketFolder, objectRecord, readPartFile, uploadRecord } from "./disk.ts";
import { type ObjectRecord, readObjectRecord, readUploadRecord } from "./records.ts";

/** Reads a kept bucket's objects, and removes the blobs that a crash left without a record. */
export async function loadObjects(folder: BucketFolder): Promise<Map<string, ObjectRecord>> {
  const objects = new Map<string, ObjectRecord>();
  for (const name of await folder.list("objects")) {
    const object = await readObjectRecord(folder.path(`objects/${name}`));
    if (objectRecord(object.key) !== `objects/${name}`) throw new Error(`objects/${name} is another object's record`);
    objects.set(object.key, object);
  }
  const known = new Set([...objects.values()].flatMap(({ blobs }) => blobs.map(({ file }) => file)));
  for (const name of await folder.list("blobs")) {
    if (!known.has(`blobs/${name}`)) await folder.remove(`blobs/${name}`);
  }
  return objects;
}

/** Reads a kept bucket's unfinished uploads. One whose object exists was completed: the object's record is what counts. */
export async function loadUploads(
  folder: BucketFolder,
  objects: ReadonlyMap<string, ObjectRecord>,
): Promise<Map<string, Upload>> {
  const completed = new Set([...objects.values()].map(({ upload }) => upload));
  const uploads = new Map<string, Upload>();
  for (const id of await folder.list("uploads")) {
    if (completed.has(id)) {
      await folder.remove(uploadRecord(id));
      continue;
    }
    const names = await folder.list(`uploads/${id}`);
    if (!names.includes("upload.json")) {
      await folder.remove(`uploads/${id}`);
      continue;
    }
    const record = await readUploadRecord(folder.path(uploadRecord(id)));
    uploads.set(id, { record, parts: await loadParts(folder, id, names) });
  }
  return uploads;
}

/** Of two files for one part, left by a crash between storing the new and removing the old, the newer one counts. */
async function loadParts(folder: BucketFolder, id: string, names: readonly string[]): Promise<Map<number, Part>> {
  const parts = new Map<number, Part>();
  for (const name of names) {
    const known = readPartFile(name);
    if (!known) continue;
    const file = `uploads/${id}/${name}`;
    const part = { ...known, file, ...(await folder.facts(file)) };
    const other = parts.get(part.number);
    if (!other || other.modified < part.modified) parts.set(part.number, part);
  }
  return parts;
}
