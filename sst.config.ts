/// <reference path="./.sst/platform/config.d.ts" />

// Waybill on AWS: `npx sst deploy --stage production`. docs/operate.md says what to set before; infra/ has the rooms.
export default $config({
  app(input) {
    const production = input.stage === "production";
    return {
      name: "waybill",
      home: "aws",
      version: "~4.17",
      // Nobody removes production by a slip: `sst remove` is refused, and what it would delete for ever is kept.
      protect: production,
      removal: production ? "retain" : "remove",
      providers: { aws: { defaultTags: { tags: { app: "waybill", stage: input.stage } } } },
    };
  },
  async run() {
    const { deploy } = await import("./infra/deploy.ts");
    return deploy();
  },
});
