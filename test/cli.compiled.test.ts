import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { isOwn } from "../cli/compiled.ts";

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-compiled-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

it("what the command loads is kept in a folder into which nobody else can write, and in no other", async () => {
  const [own, open, link, file] = ["own", "open", "link", "file"].map((name) => join(dir, name)) as [
    string,
    ...string[],
  ];
  await mkdir(own, { mode: 0o700 });
  await mkdir(open!);
  await chmod(open!, 0o777);
  await symlink(own, link!);
  await writeFile(file!, "");
  expect([own, open!, link!, file!].map(isOwn)).toEqual([true, false, false, false]);
  await chmod(own, 0o775);
  expect(isOwn(own)).toBe(false);
});
