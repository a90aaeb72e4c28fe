import { cp, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cache, root } from "./tools.ts";

/** A mistake that somebody could make in the deployment's code. */
export interface Mutation {
  readonly mistake: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** What begins the sentence of the promise that finds it, or what the compiler says. */
  readonly breaks: string;
}

/** A copy of the deployment's code with mistakes in it; answers its folder. */
export async function planted(mutations: readonly Mutation[], place: string): Promise<string> {
  const folder = join(cache, "mutants", `${process.pid}-${place}`);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const copied of ["sst.config.ts", "infra"])
    await cp(join(root, copied), join(folder, copied), { recursive: true });
  for (const linked of ["functions", "lib", "package.json"]) await symlink(join(root, linked), join(folder, linked));
  for (const mutation of mutations) await plant(mutation, folder);
  return folder;
}

async function plant({ mistake, file, from, to }: Mutation, folder: string): Promise<void> {
  const path = join(folder, file);
  const source = await readFile(path, "utf8");
  if (source.split(from).length !== 2) throw new Error(`"${mistake}" does not fit ${file} in exactly one place.`);
  await writeFile(
    path,
    source.replace(from, () => to),
  );
}

/** Removes the copies of this process. */
export async function removeMutants(): Promise<void> {
  const mine = (await readdir(join(cache, "mutants"))).filter((name) => name.startsWith(`${process.pid}-`));
  await Promise.all(mine.map((name) => rm(join(cache, "mutants", name), { recursive: true, force: true })));
}
