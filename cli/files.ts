import { randomBytes } from "node:crypto";
import { link, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { WaybillError } from "../lib/protocol/errors.ts";
import { note } from "./output.ts";
import { printable } from "./words.ts";

/** A full disk, a used-up quota, and a limit on the size of files. */
const NO_ROOM: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/** Only for the person whose it is. */
const MODE = { file: 0o600, folder: 0o700 };

/**
 * Writes a file of one's own that must not be there, or makes its folder too: it appears whole, or not at all.
 * @throws WaybillError TARGET_EXISTS, TARGET_UNWRITABLE
 */
export async function createOwn(path: string, text: string | Uint8Array): Promise<void> {
  await throughDraft(path, text, async (draft) => {
    await link(draft, path);
    await rm(draft);
  });
}

/** As `createOwn`, in place of what may be there. */
export function replaceOwn(path: string, text: string | Uint8Array): Promise<void> {
  return throughDraft(path, text, (draft) => rename(draft, path));
}

async function throughDraft(
  path: string,
  text: string | Uint8Array,
  put: (draft: string) => Promise<void>,
): Promise<void> {
  const draft = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: MODE.folder }).catch(noFolder(path));
    await write(draft, text);
    await put(draft);
  } catch (error) {
    await rm(draft, { force: true }).catch(() => {}); // the folder may be no folder
    if (error instanceof WaybillError) throw error;
    const { code = "unknown" } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") throw new WaybillError("TARGET_EXISTS", `${path} is there already, and is not overwritten.`);
    if (NO_ROOM.has(code)) throw new WaybillError("NO_SPACE", `There is no room for ${path}. Make some.`);
    throw new WaybillError("TARGET_UNWRITABLE", `${path} can't be written (${code}). Check its folder.`);
  }
}

/** What is there in its place may be a file. */
function noFolder(path: string): (error: NodeJS.ErrnoException) => never {
  return ({ code }) => {
    throw new WaybillError("TARGET_UNWRITABLE", `The folder of ${path} can't be made (${code}). Choose another one.`);
  };
}

async function write(path: string, text: string | Uint8Array): Promise<void> {
  const file = await open(path, "wx", MODE.file);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** A warning about a file that is its owner's alone, if others may read it. */
export async function warnOfOthers(file: string): Promise<void> {
  if (process.platform === "win32") return; // its modes say nothing of others' rights
  const found = await stat(file).catch(() => null);
  // A pipe or a device, as in --password-file <(pass waybill), is nobody else's.
  if (found?.isFile() && found.mode & 0o077)
    note(`Warning: others may read ${printable(file, 300)}. Run: chmod 600 ${printable(file, 300)}`);
}

/** Why stdout doesn't take what is written there. */
export function unwritten({ code = "unknown" }: NodeJS.ErrnoException): WaybillError {
  if (NO_ROOM.has(code))
    return new WaybillError("NO_SPACE", "There is no room where stdout leads. Make some, or lead it elsewhere.");
  return new WaybillError("TARGET_UNWRITABLE", `What stdout leads to can't be written (${code}). Lead it elsewhere.`);
}
