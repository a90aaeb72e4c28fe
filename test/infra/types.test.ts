import { execFile } from "node:child_process";
import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { type Mutation, planted, removeMutants } from "./support/mutants.ts";
import { preparePlatform } from "./support/platform.ts";
import { root } from "./support/tools.ts";

// The deployment's code against the types of SST's own platform.

const run = promisify(execFile);

/** What the compiler says about a copy of the code; "" if nothing. */
async function complaints(mutation: Mutation | null, place: string): Promise<string> {
  const folder = await planted(mutation, `types-${place}`);
  await symlink(join((await preparePlatform()).home, ".sst"), join(folder, ".sst"));
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  try {
    await run(process.execPath, [tsc, "-p", join(folder, "infra")]);
    return "";
  } catch (error) {
    return String((error as { stdout?: unknown }).stdout);
  }
}

const mutation = (file: string, breaks: string, from: string, to: string): Mutation => ({
  ...{ mistake: to, file, breaks, from, to },
});

describe("the compiler", () => {
  afterAll(removeMutants);

  it("has nothing to say about the deployment's code", async () => {
    expect(await complaints(null, "none")).toBe("");
  });

  it.each([
    mutation("infra/functions.ts", "nodejs99.x", '"nodejs24.x"', '"nodejs99.x"'),
    mutation("infra/functions.ts", "architectur", "architecture:", "architectur:"),
    mutation("infra/queue.ts", "visibilityTimeout", "} seconds`,", "} secs`,"),
    mutation("infra/queue.ts", "maximumConcurency", "maximumConcurrency", "maximumConcurency"),
    mutation("infra/bucket.ts", "enforceHttp", "enforceHttps", "enforceHttp"),
    mutation("infra/bucket.ts", "BucketOwnershipControl", "s3.BucketOwnershipControls(", "s3.BucketOwnershipControl("),
    mutation("infra/relayer.ts", "keySpec", "customerMasterKeySpec", "keySpec"),
    mutation("infra/api.ts", "throttlingRate", "throttlingRateLimit", "throttlingRate"),
    mutation("sst.config.ts", "protected", "protect: production", "protected: production"),
    mutation("infra/deploy.ts", "urls", "api.url, $interpolate", "api.urls, $interpolate"),
  ])("finds $to", async (planting) => {
    const said = await complaints(planting, planting.breaks);
    expect(said).toContain(planting.file);
    expect(said).toContain(planting.breaks);
  });
});
