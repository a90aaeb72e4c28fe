import { unzipSync } from "fflate";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TestAccount } from "./support/account.ts";
import type { Deployed } from "./support/deployed.ts";
import { RPC, settings } from "./support/graph.ts";
import { blocksOf, handbook } from "./support/operator.ts";
import { decide, statementsOf } from "./support/policy.ts";

// The operator's path with the real `sst`, in its order: each test goes on where the one before it ended.

let account: TestAccount;

beforeAll(async () => {
  account = await TestAccount.open();
});
afterAll(async () => {
  await account?.close();
});

/** Runs a command that must do what it is asked for, or refuse it; answers its output, which is also what a failure shows. */
async function done(...args: string[]): Promise<string> {
  const { code, output } = await account.project.sst(...args);
  expect(code, output).toBe(0);
  return output;
}
async function refused(...args: string[]): Promise<string> {
  const { code, output } = await account.project.sst(...args);
  expect(code, output).not.toBe(0);
  return output;
}
function expectAll(output: string, ...texts: string[]): void {
  for (const text of texts) expect(output, output).toContain(text);
}
/** Everything of a stage that has a name of its own, by its URN. */
const names = (deployed: Deployed): Record<string, unknown> =>
  Object.fromEntries(
    deployed.resources.map(({ urn, id, outputs }) => [urn, [id, outputs.arn, outputs.name, outputs.url]]),
  );
const functionsOf = (deployed: Deployed): string[] =>
  deployed
    .of("aws:lambda/function:Function")
    .map(({ name }) => name)
    .sort();

const FUNCTIONS = ["DownloadsFunction", "PublisherFunction", "SweeperFunction", "TasksFunction", "UploadsFunction"];

describe("a stage that isn't set up yet", () => {
  it("is not deployed, and every setting that it lacks is named", async () => {
    const output = await refused("deploy", "--stage", "test");
    const needed = ["WAYBILL_CHAIN_ID", "WAYBILL_CONTRACT", "WAYBILL_OWNERS", "WAYBILL_MAX_FEE_PER_GAS"];
    expectAll(output, ...needed, ".env.test");
    expect(functionsOf(account.deployed("test"))).toEqual([]);
  });

  it("is not deployed without its secret, and the command that sets it is named", async () => {
    await account.project.configure("test", settings);
    const output = await refused("deploy", "--stage", "test");
    expectAll(output, "Rpc", "sst secret set");
    expect(functionsOf(account.deployed("test"))).toEqual([]);
  });

  it("is not deployed with a secret that is no URL, and that is not repeated", async () => {
    await done("secret", "set", "Rpc", "wss://rpc.example.org/v1/KEY-OF-THE-NODE", "--stage", "test");
    const output = await refused("deploy", "--stage", "test");
    expectAll(output, "The secret Rpc must be");
    expect(output).not.toContain("KEY-OF-THE-NODE");
    expect(functionsOf(account.deployed("test"))).toEqual([]);
  });
});

describe("a stage", () => {
  it("keeps its secret where nobody can read it", async () => {
    await done("secret", "set", "Rpc", RPC, "--stage", "test");
    expectAll(await done("secret", "list", "--stage", "test"), `Rpc=${RPC}`);
    for (const bytes of account.home.objects.values())
      expect(bytes.toString("latin1")).not.toContain("KEY-OF-THE-NODE");
  });

  it("is shown before it is made, without its secret, and showing makes nothing", async () => {
    const output = await done("diff", "--stage", "test");
    expectAll(output, "Bucket", "Bell", "RelayerKey1", "Publisher", "Sweeper", "Api");
    expect(output).not.toContain("KEY-OF-THE-NODE");
    expect(functionsOf(account.deployed("test"))).toEqual([]);
  });

  it("is deployed", async () => {
    const output = await done("deploy", "--stage", "test");
    expect(output).not.toContain("KEY-OF-THE-NODE");
    const deployed = account.deployed("test");
    expect(functionsOf(deployed)).toEqual(FUNCTIONS);
    expectAll(output, account.account.api, String(deployed.of("aws:s3/bucket:Bucket")[0]?.id));
    for (const { outputs } of deployed.of("aws:lambda/function:Function")) {
      const files = Object.values(unzipSync(account.home.objects.get(`${outputs.s3Bucket}/${outputs.s3Key}`)!));
      expect(files.some(({ length }) => length > 1_000)).toBe(true);
      for (const bytes of files) expect(Buffer.from(bytes).toString("latin1")).not.toContain("KEY-OF-THE-NODE");
    }
  });

  it("stays as it is when it is deployed again, its names included", async () => {
    const before = names(account.deployed("test"));
    const output = await done("deploy", "--stage", "test");
    expect(output).not.toMatch(/Created|Updated|Deleted/);
    expect(names(account.deployed("test"))).toEqual(before);
  });

  it("changes where a setting changed, and keeps its names", async () => {
    const before = names(account.deployed("test"));
    await account.project.configure("test", { ...settings, WAYBILL_CONFIRMATIONS: "7" });
    const shown = await done("diff", "--stage", "test");
    expectAll(shown, "PublisherFunction");
    expect(shown).not.toContain("KEY-OF-THE-NODE");
    const output = await done("deploy", "--stage", "test");
    expectAll(output, "Updated");
    expect(output).not.toMatch(/Created|Deleted/);
    const deployed = account.deployed("test");
    expect(names(deployed)).toEqual(before);
    for (const { outputs } of deployed.of("aws:lambda/function:Function"))
      expect(outputs).toMatchObject({ environment: { variables: { WAYBILL_CONFIRMATIONS: "7" } } });
  });
});

describe("production", () => {
  it("is deployed with what people would miss kept from being deleted", async () => {
    await account.project.configure("production", settings);
    await done("secret", "set", "Rpc", RPC, "--stage", "production");
    await done("deploy", "--stage", "production");
    const deployed = account.deployed("production");
    expect(deployed.of("aws:s3/bucket:Bucket")).toMatchObject([{ protected: true, retained: true }]);
    expect(deployed.of("aws:kms/key:Key")).toMatchObject([{ retained: true }]);
  });

  it("refuses to be removed", async () => {
    const before = names(account.deployed("production"));
    const output = await refused("remove", "--stage", "production");
    expect(output).toMatch(/protected/i);
    expect(names(account.deployed("production"))).toEqual(before);
  });

  it("has nothing in common with another stage", () => {
    const [own, others] = ["production", "test"].map((stage) => Object.values(names(account.deployed(stage))).flat());
    // An API's own stage is called so everywhere, and all APIs here are at one address.
    const common = new Set(["$default", account.account.api, undefined, ""]);
    expect(others!.filter((name) => own!.includes(name) && !common.has(name as string))).toEqual([]);
  });
});

describe("a stage that nobody needs any more", () => {
  it("goes without a trace of itself, and takes nothing of another one along", async () => {
    const before = names(account.deployed("production"));
    await done("remove", "--stage", "test");
    expect(account.deployed("test").resources).toEqual([]);
    expect(names(account.deployed("production"))).toEqual(before);
  });
});

it("asked of AWS what the rights in docs/operate.md allow", async () => {
  const statements = statementsOf(blocksOf(await handbook(), "json")[0]!);
  const asked = [...new Set(account.aws.calls.map((call) => call.split(" ")[0]!))].sort();
  expect(asked).toEqual(["ecr", "s3", "ssm"]);
  for (const service of asked)
    expect(decide(statements, { action: `${service}:Any`, resource: "any" }), service).toBe("allowed");
});

it("never asked AWS for anything that the stand-in doesn't know", () => {
  expect(account.aws.unknown).toEqual([]);
});
