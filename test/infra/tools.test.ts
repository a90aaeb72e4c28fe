import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { made } from "./support/tools.ts";

async function scratch(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "waybill-made-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

it("of two that make a folder at once, the first one's stands and is never taken away: it may be in use", async () => {
  const folder = join(await scratch(), "node");
  const maker = (name: string, before: Promise<void>) =>
    made(folder, async (fresh) => {
      await writeFile(join(fresh, "program"), name);
      await before;
    });
  let finish = (): void => {};
  const slow = maker("slow", new Promise((resolve) => (finish = resolve)));
  await maker("quick", Promise.resolve());
  finish();
  await slow;
  expect(await readFile(join(folder, "program"), "utf8")).toBe("quick");
  expect(await readdir(join(folder, ".."))).toEqual(["node"]);
});

it("a folder that could not be made isn't there, not even in part", async () => {
  const parent = await scratch();
  const failing = made(join(parent, "node"), async (fresh) => {
    await writeFile(join(fresh, "program"), "half");
    throw new Error("the registry does not answer");
  });
  await expect(failing).rejects.toThrow("the registry does not answer");
  expect(await readdir(parent)).toEqual([]);
});
