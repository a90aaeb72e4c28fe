import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT } from "./support/packed.ts";

// What comes from others: only what the lockfile names, whole, and without running anything at installation.

interface Entry {
  readonly resolved?: string;
  readonly integrity?: string;
  readonly hasInstallScript?: boolean;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly cpu?: readonly string[];
}

const text = (path: string): string => readFileSync(join(ROOT, path), "utf8");
const lock = JSON.parse(text("package-lock.json")) as { packages: Record<string, Entry> };
const entries = Object.entries(lock.packages).filter(([path]) => path !== "");

describe("the lockfile", () => {
  it("names each package's digest, but of other machines' builds of a tool", () => {
    expect(entries.length).toBeGreaterThan(100);
    const without = entries.filter(([, { integrity = "" }]) => !/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity));
    // npm asks the registry for those, whose packages the lockfile's maker could not fetch; no user of the library has them.
    expect(without.filter(([, { dev, optional, cpu }]) => !(dev && optional && cpu))).toEqual([]);
  });

  it("sends nobody to a registry of ours, nor past one", () => {
    const elsewhere = entries.filter(
      ([, { resolved }]) => !(resolved ?? "https://registry.npmjs.org/").startsWith("https://registry.npmjs.org/"),
    );
    expect(elsewhere).toEqual([]);
  });

  it("has no package that must run something when a user of the library installs it", () => {
    const scripts = entries.filter(([, { hasInstallScript }]) => hasInstallScript);
    expect(scripts.filter(([, { dev }]) => !dev)).toEqual([]);
  });

  it("is what CI installs from, without any install script", () => {
    expect(text(".ci/run")).toMatch(/^tests\(\) \{ npm cit \|\| .*\}\nstep tests/m);
    expect(text(".ci/run")).not.toMatch(/npm (i|install)\b/);
    expect(text(".npmrc")).toMatch(/^ignore-scripts=true$/m);
  });
});

describe("the licences of what a user of the library installs", () => {
  it("are listed, and all permissive", () => {
    const listed = execFileSync(process.execPath, [join(ROOT, ".ci/licences.mjs")], { encoding: "utf8" });
    expect(listed).toMatch(/^MIT +ethers \d/m);
    expect(listed.trim().split("\n").length).toBeLessThan(20);
  });
});
