import { lstatSync, mkdirSync } from "node:fs";
import module from "node:module";
import { dirname, join } from "node:path";
import { cacheHome } from "./places.ts";

/** Others may write there. */
const OTHERS = 0o022;

/**
 * Where Node can (22.1), what is loaded from here on is compiled once and kept: in a folder of this person's alone, because whoever
 * could write there could have us run anything.
 */
export function keepCompiled(): void {
  const { enableCompileCache } = module as { enableCompileCache?: (folder: string) => unknown };
  if (!enableCompileCache) return;
  const folder = join(cacheHome(), "compiled");
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (isOwn(folder) && isOwn(dirname(folder))) enableCompileCache(folder);
  } catch {
    // then it takes a little longer
  }
}

/** Whether nobody else can put anything there. */
export function isOwn(folder: string): boolean {
  const found = lstatSync(folder);
  if (!found.isDirectory()) return false;
  return process.getuid === undefined || (found.uid === process.getuid() && (found.mode & OTHERS) === 0);
}
