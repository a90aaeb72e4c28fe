import { defineConfig, type ViteUserConfig } from "vitest/config";
import { shared } from "./vitest.config.ts";

/** What Waybill relies on in an S3, tried on the server that WAYBILL_S3_ENDPOINT names: `npm run test:s3`. */
const config: ViteUserConfig = defineConfig({
  test: {
    ...shared,
    include: ["test/s3/**/*.test.ts"],
    globalSetup: [shared.globalSetup ?? [], "test/s3/setup.ts"].flat(),
    reporters: process.env.CI ? ["default", "json"] : ["default"],
    outputFile: { json: "node_modules/.s3/results.json" },
  },
});

export default config;
