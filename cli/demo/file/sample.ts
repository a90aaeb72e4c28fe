import { createHash, randomBytes } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { stat } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { WaybillError } from "../../../lib/index.ts";
import { MiB } from "../../../lib/protocol/limits.ts";

/** What the trip takes along when asked for a sample. */
export const SAMPLE_SIZE: number = 64 * MiB;

/** Writes `size` random bytes: a compressing file system or proxy must not flatter the numbers. */
export async function writeSample(path: string, size: number): Promise<void> {
  function* blocks(): Generator<Uint8Array> {
    for (let left = size; left > 0; left -= MiB) yield randomBytes(Math.min(left, MiB));
  }
  await pipeline(Readable.from(blocks()), createWriteStream(path, { flags: "wx" }));
}

/**
 * The size of a regular file.
 * @throws WaybillError SOURCE_MISSING
 */
export async function sizeOf(path: string): Promise<number> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new WaybillError("SOURCE_MISSING", `There is no readable file ${path}. Name a file that exists.`, { cause });
  });
  if (!found.isFile()) throw new WaybillError("SOURCE_MISSING", `${path} is not a file. Name a regular file.`);
  return found.size;
}

/** SHA-256 of a file in hex, read again from the disk: the demo believes no transfer's own word. */
export async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: MiB }), hash);
  return hash.digest("hex");
}
