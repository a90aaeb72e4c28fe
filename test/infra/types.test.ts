import { execFile } from "node:child_process";
import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Mutation, planted, removeMutants } from "./support/mutants.ts";
import { preparePlatform } from "./support/platform.ts";
import { root } from "./support/tools.ts";

// The deployment's code against the types of SST's own platform.

const run = promisify(execFile);

/** What the compiler says about a copy of the code with these mistakes; "" if nothing. */
async function complaints(mutations: readonly Mutation[], place: string): Promise<string> {
  const folder = await planted(mutations, `types-${place}`);
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

/** Each in another place, so that all can be looked for at once: AWS's types alone take seconds to read. */
const mistakes = [
  mutation("infra/functions.ts", "nodejs99.x", '"nodejs24.x"', '"nodejs99.x"'),
  mutation("infra/functions.ts", "'arnn'", "resources: [bucket.arn] }", "resources: [bucket.arnn] }"),
  mutation("infra/queue.ts", "720 secs", "} seconds`,", "} secs`,"),
  mutation("infra/queue.ts", "maximumConcurency", "maximumConcurrency", "maximumConcurency"),
  mutation("infra/bucket.ts", "allowOrigin'", "allowOrigins:", "allowOrigin:"),
  mutation("infra/bucket.ts", "BucketOwnershipControl'", "s3.BucketOwnershipControls(", "s3.BucketOwnershipControl("),
  mutation("infra/relayer.ts", "keySpec", "customerMasterKeySpec", "keySpec"),
  mutation("infra/api.ts", "throttlingRate'", "throttlingRateLimit", "throttlingRate"),
  mutation("infra/topic.ts", "limit'", "limitAmount", "limit"),
  mutation("infra/alarm.ts", "treatMissing'", "treatMissingData", "treatMissing"),
  mutation("infra/deploy.ts", "urls'", "api.url, $interpolate", "api.urls, $interpolate"),
  mutation("sst.config.ts", "retained", 'kept ? "retain"', 'kept ? "retained"'),
];

describe("the compiler", () => {
  let said: string[];
  beforeAll(async () => {
    said = (await complaints(mistakes, "mistakes")).split(/\n(?=\S)/);
  });
  afterAll(removeMutants);

  it("has nothing to say about the deployment's code", async () => {
    expect(await complaints([], "none")).toBe("");
  });

  it.each(mistakes)("finds $to", ({ file, breaks }) => {
    expect(said.filter((complaint) => complaint.includes(`${file}(`)).join("\n")).toContain(breaks);
  });
});
