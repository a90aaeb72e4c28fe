import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The sources as plain JavaScript in a folder of their own, for tests whose subject is a whole operating-system process. */
export interface Compiled {
  /** The path of a compiled module, such as `local/anvil.js`. */
  path(module: string): string;
  remove(): void;
}

/** Compiles afresh, so no test ever judges a stale dist/. Takes about a second. */
export function compileSources(): Compiled {
  const root = join(import.meta.dirname, "../..");
  const folder = mkdtempSync(join(tmpdir(), "waybill-compiled-"));
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "-p", join(root, "tsconfig.build.json"), "--outDir", folder], { stdio: "pipe" });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"), "junction");
  return { path: (module) => join(folder, module), remove: () => rmSync(folder, { recursive: true, force: true }) };
}
