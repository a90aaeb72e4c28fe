import type { Hono } from "hono";
import { beforeAll, describe, expect, it } from "vitest";
import { createDownloads } from "../../functions/downloads.ts";
import { routes as table } from "../../functions/routes.ts";
import { createTasks } from "../../functions/tasks.ts";
import { createUploads } from "../../functions/uploads.ts";
import { routes } from "../../infra/routes.ts";
import { readStage } from "../../infra/stages.ts";
import { ApiWorld } from "../support/api.ts";
import { evaluate, type Graph, settings } from "./support/graph.ts";
import { blocksOf, handbook } from "./support/operator.ts";
import { decide, statementsOf } from "./support/policy.ts";
import { promises } from "./support/promises/all.ts";
import { type Promised, type Scene, scenes } from "./support/promises/promise.ts";

// What a deployment would make, without AWS: every promise of the design held against it.

const ofScene = (scene: Scene): [string, Promised][] =>
  promises.filter((one) => one.scene === scene).map((one) => [one.says, one]);

describe.each(Object.keys(scenes) as Scene[])("the stage of the scene %s", (scene) => {
  let graph: Graph;
  beforeAll(async () => {
    graph = await evaluate(scenes[scene]);
  });

  it.each(ofScene(scene))("%s", (_says, { holds }) => {
    expect(graph.errors).toEqual([]);
    holds(graph);
  });
});

describe("what an operator must set", () => {
  it.each([
    ["WAYBILL_CHAIN_ID", ""],
    ["WAYBILL_CONTRACT", "0x12"],
    ["WAYBILL_OWNERS", "*"],
    ["WAYBILL_BLOCK_TIME", "2s"],
    ["WAYBILL_MAX_FEE_PER_GAS", "2 gwei"],
    ["WAYBILL_ORIGINS", "*"],
    ["WAYBILL_ORIGINS", "https://*.example.org"],
    ["WAYBILL_DOMAIN", "https://api.example.org"],
    ["WAYBILL_ALARM_EMAIL", "nobody"],
    ["WAYBILL_MIN_BALANCE", ""],
    ["WAYBILL_PROTECTED", "true"],
    ["WAYBILL_API_RATE", "0"],
    ["WAYBILL_LOG_DAYS", "31"],
    ["WAYBILL_RETENTION", String(30 * 24 * 3_600_000)],
    ["WAYBILL_RELAYER_GENERATION", "1.5"],
  ])("%s as %j is refused by its name", (name, value) => {
    const env = { ...settings, [name]: value };
    expect(() => readStage("alice", env)).toThrow(new RegExp(`malformed: ${name}\\. .*\\.env\\.alice`));
  });

  it("more owners than a function's environment takes are refused", () => {
    const owners = Array(70).fill(`0x${"0a".repeat(20)}`);
    const env = { ...settings, WAYBILL_OWNERS: owners.join() };
    expect(() => readStage("alice", env)).toThrow("malformed: WAYBILL_OWNERS.");
    expect(readStage("alice", { ...env, WAYBILL_OWNERS: owners.slice(0, 55).join() }).name).toBe("alice");
  });

  it("all that is missing is named at once, and stops the deployment", async () => {
    const nothing = Object.fromEntries(Object.keys(settings).map((name) => [name, undefined]));
    const { errors } = await evaluate({ stage: "alice", env: nothing });
    for (const name of ["CHAIN_ID", "CONTRACT", "CONFIRMATIONS", "BLOCK_TIME", "OWNERS", "MAX_FEE_PER_GAS"])
      expect(errors.join()).toContain(`WAYBILL_${name}`);
  });

  it("the nodes' URLs are a secret that must be set", async () => {
    const { errors } = await evaluate({ stage: "alice", secrets: {} });
    expect(errors.join()).toContain("sst secret set Rpc");
  });

  it("a malformed secret is refused and not repeated", async () => {
    const { errors } = await evaluate({ stage: "alice", secrets: { Rpc: "wss://KEY-OF-THE-NODE" } });
    expect(errors.join()).toContain("The secret Rpc must be");
    expect(errors.join()).not.toContain("KEY-OF-THE-NODE");
  });
});

describe("the rights that docs/operate.md asks for", () => {
  /** AWS's own prefixes of actions, where they aren't the provider's names of its modules. */
  const ACTIONS: Readonly<Record<string, readonly string[]>> = {
    apigatewayv2: ["apigateway:POST"],
    "cloudwatch/logGroup": ["logs:CreateLogGroup", "logs:CreateLogDelivery"],
    "cloudwatch/logMetricFilter": ["logs:PutMetricFilter"],
    iam: ["iam:CreateRole", "iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy", "iam:PassRole", "iam:DeleteRole"],
  };

  it("are enough to make everything that a deployment makes", async () => {
    const [policy] = blocksOf(await handbook(), "json");
    const statements = statementsOf(policy!);
    const { resources } = await evaluate(scenes.production);
    const modules = new Set(resources.flatMap(({ type }) => /^aws:([^:]+):/.exec(type)?.[1] ?? []));
    expect(modules.size).toBeGreaterThan(20);
    for (const module of modules) {
      const service = module.split("/")[0]!;
      for (const action of ACTIONS[module] ?? ACTIONS[service] ?? [`${service}:Create`])
        expect([action, decide(statements, { action, resource: "any" })]).toEqual([action, "allowed"]);
    }
    expect(decide(statements, { action: "ec2:RunInstances", resource: "any" })).toBe("not allowed");
  });
});

describe("the routes", () => {
  it("are those of the functions' own table, under its names", () => {
    const { health, openapi, docs, ...tasks } = routes.tasks;
    const listed = { ...routes.uploads, ...routes.downloads, ...tasks };
    expect(listed).toEqual(
      Object.fromEntries(Object.entries(table).map(([name, { method, path }]) => [name, `${method} ${path}`])),
    );
    expect([health, openapi, docs]).toEqual(["GET /health", "GET /openapi.json", "GET /docs"]);
  });

  it("lead to the function whose app serves them", async () => {
    const world = await ApiWorld.start();
    try {
      const apps = {
        uploads: createUploads(world.deps),
        downloads: createDownloads(world.deps),
        tasks: createTasks(world.deps),
      };
      for (const [name, app] of Object.entries(apps))
        expect([name, servedBy(app)]).toEqual([name, Object.values(routes[name as keyof typeof apps]).sort()]);
    } finally {
      await world.stop();
    }
  });
});

/** An app's routes as API Gateway writes them. */
function servedBy(app: Hono): string[] {
  const keys = app.routes.map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, "{$1}")}`);
  return [...new Set(keys)].filter((key) => !key.startsWith("ALL ")).sort();
}
