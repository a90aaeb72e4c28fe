/// <reference path="./.sst/platform/config.d.ts" />

// Waybill on AWS: `npx sst deploy --stage production`. docs/operate.md says what to set before; infra/ has the rooms.
export default $config({
  app(input) {
    // .env.<stage> has been read by now. Not by name alone: another stage may be as dear to its people.
    const kept = input.stage === "production" || process.env.WAYBILL_PROTECTED === "1";
    return {
      name: "waybill",
      home: "aws",
      version: "~4.17",
      // Nobody removes such a stage by a slip: `sst remove` is refused, and what it would delete for ever is kept.
      protect: kept,
      removal: kept ? "retain" : "remove",
      providers: { aws: { defaultTags: { tags: { app: "waybill", stage: input.stage } } } },
    };
  },
  async run() {
    const { deploy } = await import("./infra/deploy.ts");
    return deploy();
  },
});
