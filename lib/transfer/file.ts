import { constants } from "node:fs";
import { type FileHandle, open, statfs, unlink } from "node:fs/promises";
import { WaybillError } from "../protocol/errors.ts";

// What all that write files have in common.

/** Says of a file operation's failure what it means to the caller. */
export async function attempt<T>(path: string, act: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  try {
    return await act();
  } catch (cause) {
    if (signal?.aborted && cause === signal.reason) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG") throw noSpace(path, cause);
    if (code === "EEXIST") throw exists(path);
    throw unwritable(path, cause);
  }
}

/** Who owns what we make in a folder. */
export interface Makers {
  readonly uid: number;
}

const ACCESS = { write: constants.O_RDWR, append: constants.O_RDWR | constants.O_APPEND };
/** A name that can be known beforehand may be a link to somewhere else. */
const NO_LINK: number = constants.O_NOFOLLOW ?? 0;

/**
 * A file that an earlier call has made, to read and write it; null when there is none. Others' files are none, nor is what has
 * a second name: somebody else may write to it, or care for what is in it.
 */
export async function openOwn(path: string, { uid }: Makers, access: keyof typeof ACCESS): Promise<FileHandle | null> {
  const file = await open(path, ACCESS[access] | NO_LINK).catch(() => null);
  if (!file) return null;
  const found = await file.stat();
  if (found.isFile() && found.nlink === 1 && found.uid === uid) return file;
  await file.close();
  return null;
}

/** It may be gone already. Node's own `rm` looks twice before it does this. */
export async function removeFile(path: string): Promise<void> {
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
}

/** A new file to read and write, instead of what has its name. */
export async function makeFile(path: string, access: keyof typeof ACCESS): Promise<FileHandle> {
  await removeFile(path);
  return open(path, ACCESS[access] | constants.O_CREAT | constants.O_EXCL);
}

/** So that names survive a power cut too, where the system lets a folder be synced. */
export async function syncFolder(dir: string): Promise<void> {
  const folder = await open(dir, "r").catch(() => null);
  await folder?.sync().catch(() => {});
  await folder?.close();
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

/** @param path A folder, or a file in one. */
export function unwritable(path: string, cause?: unknown): WaybillError {
  const { code } = (cause ?? {}) as NodeJS.ErrnoException;
  const why = code === "ENOENT" ? "The folder must exist already." : "The folder must be one, and yours to write.";
  const message = `Nothing can be written at ${path}${code ? ` (${code})` : ""}. ${why}`;
  return new WaybillError("TARGET_UNWRITABLE", message, { cause });
}

export function busy(path: string): WaybillError {
  const message = `${path} is being received by another call or process. Wait for it, or receive to another place.`;
  return new WaybillError("TARGET_BUSY", message);
}

function noSpace(path: string, cause?: unknown): WaybillError {
  return new WaybillError("NO_SPACE", `There is no space for ${path}. Free some, then receive again.`, { cause });
}
