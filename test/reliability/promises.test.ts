import { existsSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";

const page = readFileSync(new URL("../../docs/reliability.md", import.meta.url), "utf8");
const named = [...page.matchAll(/`([a-z0-9./-]+)` › (.+?)(?=<br>| \|)/g)].map(
  ([, file, words]) => [file!, words!] as const,
);

it("every promise of docs/reliability.md names tests that are there", () => {
  const missing = named.filter(([file, words]) => {
    const path = new URL(`../${file}.test.ts`, import.meta.url);
    return !existsSync(path) || !readFileSync(path, "utf8").includes(words);
  });
  expect(named.length).toBeGreaterThan(80);
  expect(missing).toEqual([]);
});
