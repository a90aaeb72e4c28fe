import { expect } from "vitest";
import { inDev, inKept, inProduction, type Promised } from "./promise.ts";

export const appPromises: readonly Promised[] = [
  inProduction("the config can be evaluated", (graph) => expect(graph.errors).toEqual([])),
  inProduction("production is protected: `sst remove` is refused, and what holds data stays", (graph) => {
    expect(graph.app).toMatchObject({ name: "waybill", home: "aws", protect: true, removal: "retain" });
  }),
  inKept("so is any other stage whose settings say so", (graph) => {
    expect(graph.app).toMatchObject({ protect: true, removal: "retain" });
    const { inputs, protect, retainOnDelete } = graph.one("aws:s3/bucket:Bucket");
    expect([inputs.forceDestroy, protect, retainOnDelete]).toEqual([false, true, true]);
    expect(graph.one("aws:kms/key:Key").retainOnDelete).toBe(true);
  }),
  inDev("any other stage can be removed without a trace", (graph) => {
    expect(graph.app).toMatchObject({ protect: false, removal: "remove" });
    expect(graph.resources.filter((resource) => resource.protect || resource.retainOnDelete)).toEqual([]);
  }),
  inProduction(
    "everything carries the names of its app and stage, and SST's version is the one that was tried",
    (graph) => {
      expect(graph.app.providers).toMatchObject({
        aws: { defaultTags: { tags: { app: "waybill", stage: "production" } } },
      });
      expect(graph.app.version).toBe("~4.17");
    },
  ),
  inProduction("the operator is told what members and sponsors need", (graph) => {
    const { deployment, relayerKey } = graph.outputs;
    expect(JSON.parse(String(deployment))).toEqual({
      api: "https://api.invalid",
      chainId: 84532,
      contract: `0x${"c0".repeat(20)}`,
      storeOrigin: expect.stringMatching(/^https:\/\/[a-z0-9-]+\.s3\.eu-central-1\.amazonaws\.com$/),
      confirmations: 3,
      blockTime: 2000,
      maxBlockAge: 30_000,
      fromBlock: 12345,
    });
    expect(relayerKey).toBe(graph.environmentOf("publisher").WAYBILL_RELAYER_KMS_KEY);
  }),
];
