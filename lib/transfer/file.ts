import { type FileHandle, statfs } from "node:fs/promises";
import { WaybillError } from "../protocol/errors.ts";

// What all that write files have in common.

/** Says of a file operation's failure what it means to the caller. */
export async function attempt<T>(path: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG") throw noSpace(path, cause);
    if (code === "EEXIST") throw exists(path);
    throw unwritable(path, cause);
  }
}

/** @throws WaybillError NO_SPACE when the disk of this folder certainly has no room. */
export async function checkSpace(dir: string, path: string, size: number): Promise<void> {
  const disk = await statfs(dir).catch(() => null);
  if (disk && disk.bavail * disk.bsize < size) throw noSpace(path);
}

export async function writeAll(file: FileHandle, bytes: Uint8Array, start: number): Promise<void> {
  for (let done = 0; done < bytes.length; )
    done += (await file.write(bytes, done, bytes.length - done, start + done)).bytesWritten;
}

export function exists(path: string): WaybillError {
  return new WaybillError("TARGET_EXISTS", `${path} exists. Receive to another place, or overwrite it with force.`);
}

export function unwritable(path: string, cause?: unknown): WaybillError {
  const message = `${path} can't be written. Its folder must exist already, and be yours to write.`;
  return new WaybillError("TARGET_UNWRITABLE", message, { cause });
}

function noSpace(path: string, cause?: unknown): WaybillError {
  return new WaybillError("NO_SPACE", `There is no space for ${path}. Free some, then receive again.`, { cause });
}
