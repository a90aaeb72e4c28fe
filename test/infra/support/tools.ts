import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** The project's root. */
export const root: string = join(import.meta.dirname, "../../..");
/** What these tests fetch and make, kept from run to run. */
export const cache: string = join(root, "node_modules/.infra");

/** An npm package that only these tests use, installed beside the project's own on demand; answers its folder. */
export async function installed(name: string, version: string): Promise<string> {
  const folder = join(cache, "tools", `${name.replace("/", "+")}@${version}`);
  const found = join(folder, "node_modules", name);
  if (existsSync(found)) return found;
  await made(folder, async (fresh) => {
    await writeFile(join(fresh, "package.json"), JSON.stringify({ private: true }));
    const options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"];
    await run("npm", ["install", ...options, `${name}@${version}`], { cwd: fresh });
  });
  return found;
}

/**
 * Makes a folder as a whole or not at all: whoever is killed in between leaves nothing that looks ready. Of several that make
 * it at once the first one's stands, and is never taken away again: somebody may be using it already.
 */
export async function made(folder: string, make: (fresh: string) => Promise<void>): Promise<void> {
  await mkdir(dirname(folder), { recursive: true });
  const fresh = await mkdtemp(`${folder}.`);
  try {
    await make(fresh);
    await rename(fresh, folder).catch((error: NodeJS.ErrnoException) => {
      if (!existsSync(folder)) throw error;
    });
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}
