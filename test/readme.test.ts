import { execFile } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const root = new URL("../", import.meta.url);

it("the README's round trip runs when it is pasted into a file", async () => {
  const readme = await readFile(new URL("README.md", root), "utf8");
  const code = /```js\n(.*?)```/s.exec(readme)?.[1] ?? "";
  expect(code.trimEnd().split("\n").length).toBeLessThanOrEqual(16); // ten lines beside imports and stack
  const file = new URL(`trip-${process.pid}.mjs`, root);
  try {
    await writeFile(file, code);
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [fileURLToPath(file)]);
    expect(stdout).toMatch(/^0x\w{40} verified "hello, weights" from 0x\w{40}, and its receipt is on the chain\n$/);
    expect(stderr).toBe("");
  } finally {
    await rm(file, { force: true });
  }
});
