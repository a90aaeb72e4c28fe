import { cp, rename, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** What every part of a manifest has, whose parts are not verified. */
export const UNHASHED: string = Buffer.alloc(32).toString("base64");

const built = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const root: string = fileURLToPath(new URL("../../../", import.meta.url));

/** Stands in for lib/transfer/hash.js: every part is the right one. */
const MODULE = `export { sharable } from "./hash-true.js";
export const sha256 = async () => ${JSON.stringify(UNHASHED)};
`;

/**
 * Copies the build into a folder, with another lib/transfer/hash.js that hashes nothing. Nothing in Waybill can be told to do
 * without SHA-256, and a loader that replaces one module costs a thread and a quarter of a second.
 * @returns the client in it.
 */
export async function makeUnverified(dir: string): Promise<string> {
  for (const room of ["lib", "bench"]) await cp(built(room), join(dir, room), { recursive: true });
  await writeFile(join(dir, "package.json"), '{ "type": "module" }');
  await symlink(join(root, "node_modules"), join(dir, "node_modules"));
  const hash = join(dir, "lib", "transfer", "hash.js");
  await rename(hash, join(dir, "lib", "transfer", "hash-true.js"));
  await writeFile(hash, MODULE);
  return join(dir, "bench", "transfer", "client.js");
}
