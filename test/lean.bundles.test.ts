import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Bundle, FunctionName } from "../bench/functions/bundle.ts";
import { documentServer, openapiDocument } from "../functions/document.ts";
import { openapi } from "../functions/openapi.ts";
import { openapiText } from "../functions/openapi-text.ts";

// What is in the functions' bundles, made as SST makes them. `npm run bench:functions` says how long they take.

const { bundle, functionNames } = (await import(
  new URL("../dist/bench/functions/bundle.js", import.meta.url).href
)) as typeof import("../bench/functions/bundle.ts");

const dir = mkdtempSync(join(tmpdir(), "waybill-bundles-"));
const bundles = {} as Record<FunctionName, Bundle>;
beforeAll(async () => {
  for (const name of functionNames) bundles[name] = await bundle(name, dir);
});
afterAll(() => rmSync(dir, { recursive: true }));

const packagesOf = (name: FunctionName): string[] => [...bundles[name].holds.keys()];

describe("a function's bundle", () => {
  it.each<[FunctionName, number]>([
    ["uploads", 560],
    ["downloads", 250],
    ["tasks", 247],
    ["publisher", 290],
    ["sweeper", 475],
  ])("of %s has at most %d KiB in memory", (name, kib) => {
    expect(bundles[name].bytes / 1024).toBeLessThan(kib);
  });

  it.each(["uploads", "sweeper"] as const)("of %s looks for credentials in no more places than it must", (name) => {
    expect(
      packagesOf(name).filter((owner) => /nested-clients|credential-provider-(ini|sso|login)/.test(owner)),
    ).toEqual([]);
  });

  it("of tasks has the API's description in files of its own", () => {
    expect(readFileSync(bundles.tasks.path, "utf8")).not.toContain(openapiText);
    const pages = bundles.tasks.spare.filter((path) => readFileSync(path, "utf8").includes(openapiText));
    expect(pages).toHaveLength(1);
  });

  it.each(["downloads", "tasks", "publisher"] as const)("of %s holds no client of the AWS SDK", (name) => {
    expect(packagesOf(name).filter((owner) => /^@aws-sdk\/(client-|core|credential-provider)/.test(owner))).toEqual([]);
  });

  it.each(["uploads", "downloads", "tasks"] as const)("of %s holds no keystore, and no wallet's word lists", (name) => {
    expect(packagesOf(name).filter((owner) => /^(aes-js|@adraffy|ws)/.test(owner))).toEqual([]);
  });
});

const textOf = (name: FunctionName): string =>
  readdirSync(dirname(bundles[name].path))
    .map((file) => readFileSync(join(dirname(bundles[name].path), file), "utf8"))
    .join("\n");

it.each(functionNames)("%s' bundle holds no tables of zod's languages", (name) => {
  expect(textOf(name)).not.toMatch(/Ungültige|Entrée invalide|Invoer/);
});

it.each(functionNames)("%s' bundle holds no schema of an answer: functions need their types alone", (name) => {
  expect(textOf(name)).not.toContain('["completing","finished"]');
});

describe("openapi.json", () => {
  it("is written from the schemas as they are (npm run openapi)", () => {
    const written = brotliDecompressSync(Buffer.from(openapiText, "base64")).toString();
    expect(JSON.parse(written)).toEqual(JSON.parse(JSON.stringify(openapi())));
  });

  it("is compressed for whom it may be, and may be kept for an hour", async () => {
    const serve = documentServer({ apiOrigin: "https://api.waybill.test" });
    const ask = (accepted?: string) =>
      serve(
        new Request("https://api.waybill.test", {
          headers: accepted === undefined ? {} : { "accept-encoding": accepted },
        }),
      );
    for (const accepted of ["gzip", "br, gzip", "gzip;q=0.5, br"]) {
      const { headers } = ask(accepted);
      expect(headers.get("cache-control")).toBe("public, max-age=3600");
      expect(headers.get("vary")).toBe("accept-encoding");
      expect([accepted, headers.get("content-encoding")]).toEqual([accepted, "gzip"]);
    }
    for (const accepted of [undefined, "br", "gzip;q=0", "gzip;q=0.0, br", "xgzip"])
      expect([accepted, ask(accepted).headers.get("content-encoding")]).toEqual([accepted, null]);
    const [bytes, text] = [Buffer.from(await ask("gzip").arrayBuffer()), await ask().text()];
    expect(gunzipSync(bytes).toString()).toBe(text);
    expect(bytes.length).toBeLessThan(text.length / 5);
  });

  it("names the API's own origin", () => {
    const apiOrigin = "https://api.waybill.test";
    expect(openapiDocument({ apiOrigin })).toEqual(JSON.parse(JSON.stringify(openapi({ apiOrigin }))));
  });
});
