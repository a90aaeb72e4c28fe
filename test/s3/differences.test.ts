/** The table of differences has no dead rows, and the page for operators tells the same. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ROOT } from "../support/packed.ts";
import { differences, serverOf } from "./differences.ts";

const folder = join(ROOT, "test/s3");
const tests = readdirSync(folder).filter((name) => name.endsWith(".test.ts"));
const asked = tests.map((name) => readFileSync(join(folder, name), "utf8")).join("\n");
const rows = Object.entries(differences).flatMap(([server, table]) =>
  Object.entries(table).map(([name, { why }]) => [server, name, why] as const),
);

it.each(rows)("%s: %s is asked for by a test, and explained in docs/stores.md", (_server, name, why) => {
  expect(asked).toContain(JSON.stringify(name));
  expect(readFileSync(join(ROOT, "docs/stores.md"), "utf8")).toContain(`- _${name}_: ${why}\n`);
});

it("servers are known by the name that they give, and nothing is forgiven to others", () => {
  expect(["VERSITYGW", "MinIO", "SeaweedFS 30GB 4.44", "AmazonS3", ""].map(serverOf)).toEqual([
    "versitygw",
    "minio",
    "seaweedfs",
    "other",
    "other",
  ]);
  expect([differences.waybill, differences.other]).toEqual([{}, {}]);
});
