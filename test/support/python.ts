import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ROOT, run } from "./packed.ts";

/** What examples/python-participant.py imports, at the versions that it is tried with. */
const PACKAGES = ["eth-account==0.14.0", "requests==2.34.2", "rfc8785==0.1.4", "tenacity==9.1.2"];
/** Beside the packages of npm, with which it goes. */
const HOME: string = join(ROOT, "node_modules/.python");
const PROGRAM: string = join(HOME, process.platform === "win32" ? "Scripts/python.exe" : "bin/python");
const OLDEST = "import sys; sys.exit(sys.version_info < (3, 10))";

/** A Python with the example's packages, or why there is none. */
export type Python =
  | { readonly program: string; readonly missing: null }
  | { readonly program: ""; readonly missing: string };

/**
 * Makes an environment with the example's packages, once. Nobody who has only Node is kept from testing: then the reason is told,
 * and tests are skipped with it. In CI, a Python that is there must do.
 */
export async function pythonOf(): Promise<Python> {
  const system = await run("python3", ["-c", OLDEST], ROOT);
  if (system.code !== 0) return { program: "", missing: "there is no python3 of 3.10 or newer" };
  const mark = join(HOME, PACKAGES.join(" "));
  if (existsSync(mark)) return { program: PROGRAM, missing: null };
  await rm(HOME, { recursive: true, force: true });
  const made = await run("python3", ["-m", "venv", HOME], ROOT);
  const filled = made.code === 0 ? await run(PROGRAM, ["-m", "pip", "install", "--quiet", ...PACKAGES], ROOT) : made;
  if (filled.code === 0) {
    await writeFile(mark, "");
    return { program: PROGRAM, missing: null };
  }
  const why = `pip could not install ${PACKAGES.join(" and ")}`;
  if (process.env.CI) throw new Error(`${why}: ${filled.stderr}${filled.stdout}`);
  return { program: "", missing: why };
}
