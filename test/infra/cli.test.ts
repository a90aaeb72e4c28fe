import { unzipSync } from "fflate";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TestAccount } from "./support/account.ts";
import type { Deployed } from "./support/deployed.ts";
import { RPC, settings } from "./support/graph.ts";
import type { Ran } from "./support/project.ts";

// The operator's path with the real `sst`, in its order: each test goes on where the one before it ended.

let account: TestAccount;

beforeAll(async () => {
  account = await TestAccount.open();
});
afterAll(async () => {
  await account?.close();
});

const sst = (...args: string[]): Promise<Ran> => account.project.sst(...args);
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
    const { code, output } = await sst("deploy", "--stage", "test");
    expect(code, output).not.toBe(0);
    for (const name of [
      "WAYBILL_CHAIN_ID",
      "WAYBILL_CONTRACT",
      "WAYBILL_OWNERS",
      "WAYBILL_MAX_FEE_PER_GAS",
      ".env.test",
    ])
      expect(output).toContain(name);
    expect(functionsOf(account.deployed("test"))).toEqual([]);
  });

  it("is not deployed without its secret, and the command that sets it is named", async () => {
    await account.project.configure("test", settings);
    const { code, output } = await sst("deploy", "--stage", "test");
    expect(code, output).not.toBe(0);
    expect(output).toContain("Rpc");
    expect(output).toContain("sst secret set");
    expect(functionsOf(account.deployed("test"))).toEqual([]);
  });

  it("is not deployed with a secret that is no URL, and that is not repeated", async () => {
    expect(
      await sst("secret", "set", "Rpc", "wss://rpc.example.org/v1/KEY-OF-THE-NODE", "--stage", "test"),
    ).toMatchObject({ code: 0 });
    const { code, output } = await sst("deploy", "--stage", "test");
    expect(code, output).not.toBe(0);
    expect(output).toContain("The secret Rpc must be");
    expect(output).not.toContain("KEY-OF-THE-NODE");
    expect(functionsOf(account.deployed("test"))).toEqual([]);
  });
});

describe("a stage", () => {
  it("keeps its secret where nobody can read it", async () => {
    expect(await sst("secret", "set", "Rpc", RPC, "--stage", "test")).toMatchObject({ code: 0 });
    expect((await sst("secret", "list", "--stage", "test")).output).toContain(`Rpc=${RPC}`);
    for (const bytes of account.home.objects.values())
      expect(bytes.toString("latin1")).not.toContain("KEY-OF-THE-NODE");
  });

  it("is shown before it is made, without its secret, and showing makes nothing", async () => {
    const { code, output } = await sst("diff", "--stage", "test");
    expect(code, output).toBe(0);
    for (const name of ["Bucket", "Bell", "RelayerKey1", "Publisher", "Sweeper", "Api"]) expect(output).toContain(name);
    expect(output).not.toContain("KEY-OF-THE-NODE");
    expect(functionsOf(account.deployed("test"))).toEqual([]);
  });

  it("is deployed", async () => {
    const { code, output } = await sst("deploy", "--stage", "test");
    expect(code, output).toBe(0);
    expect(output).not.toContain("KEY-OF-THE-NODE");
    const deployed = account.deployed("test");
    expect(functionsOf(deployed)).toEqual(FUNCTIONS);
    for (const text of [account.account.api, String(deployed.of("aws:s3/bucket:Bucket")[0]?.id)])
      expect(output).toContain(text);
    for (const { outputs } of deployed.of("aws:lambda/function:Function")) {
      const files = Object.values(unzipSync(account.home.objects.get(`${outputs.s3Bucket}/${outputs.s3Key}`)!));
      expect(files.some(({ length }) => length > 1_000)).toBe(true);
      for (const bytes of files) expect(Buffer.from(bytes).toString("latin1")).not.toContain("KEY-OF-THE-NODE");
    }
  });

  it("stays as it is when it is deployed again, its names included", async () => {
    const before = names(account.deployed("test"));
    const { code, output } = await sst("deploy", "--stage", "test");
    expect(code, output).toBe(0);
    expect(output).not.toMatch(/Created|Updated|Deleted/);
    expect(names(account.deployed("test"))).toEqual(before);
  });

  it("changes where a setting changed, and keeps its names", async () => {
    const before = names(account.deployed("test"));
    await account.project.configure("test", { ...settings, WAYBILL_CONFIRMATIONS: "7" });
    const shown = await sst("diff", "--stage", "test");
    expect(shown.output).toContain("PublisherFunction");
    expect(shown.output).not.toContain("KEY-OF-THE-NODE");
    const { code, output } = await sst("deploy", "--stage", "test");
    expect(code, output).toBe(0);
    expect(output).toContain("Updated");
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
    expect(await sst("secret", "set", "Rpc", RPC, "--stage", "production")).toMatchObject({ code: 0 });
    const { code, output } = await sst("deploy", "--stage", "production");
    expect(code, output).toBe(0);
    const deployed = account.deployed("production");
    expect(deployed.of("aws:s3/bucket:Bucket")).toMatchObject([{ protected: true, retained: true }]);
    expect(deployed.of("aws:kms/key:Key")).toMatchObject([{ retained: true }]);
  });

  it("refuses to be removed", async () => {
    const before = names(account.deployed("production"));
    const { code, output } = await sst("remove", "--stage", "production");
    expect(code).not.toBe(0);
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
    const { code, output } = await sst("remove", "--stage", "test");
    expect(code, output).toBe(0);
    expect(account.deployed("test").resources).toEqual([]);
    expect(names(account.deployed("production"))).toEqual(before);
  });
});

it("never asked AWS for anything that the stand-in doesn't know", () => {
  expect(account.aws.unknown).toEqual([]);
});
