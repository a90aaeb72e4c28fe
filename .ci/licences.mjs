// Lists the licences of what a user of the library installs, from the lockfile, and fails on one that isn't known to be fine.
import { readFileSync } from "node:fs";

/** Permissive ones: whoever passes the package on keeps their texts, and owes nothing else. */
const ALLOWED = new Set(["0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "Unlicense"]);

const { packages } = JSON.parse(readFileSync(new URL("../package-lock.json", import.meta.url), "utf8"));
const installed = Object.entries(packages).filter(
  ([path, { dev, peer, devOptional }]) => path && !dev && !peer && !devOptional,
);
for (const [path, { version, license = "none" }] of installed)
  console.log(
    `${license.padEnd(12)} ${path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length)} ${version}`,
  );
const strange = installed.filter(([, { license }]) => !ALLOWED.has(license));
if (installed.length === 0 || strange.length > 0) {
  console.error(`Not on the list of licences: ${strange.map(([path]) => path).join(", ") || "nothing was found"}`);
  process.exit(1);
}
