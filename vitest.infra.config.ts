import { defineConfig, type ViteUserConfig } from "vitest/config";
import { shared } from "./vitest.config.ts";

/** The deployment's own tests: `npm run test:infra`. They fetch SST's platform once, so `npm test` is without them. */
const config: ViteUserConfig = defineConfig({
  test: {
    ...shared,
    include: ["test/infra/**/*.test.ts"],
    globalSetup: [shared.globalSetup ?? [], "test/infra/support/setup.ts"].flat(),
    maxConcurrency: 2,
    reporters: process.env.CI ? ["default", "json"] : ["default"],
    outputFile: { json: "node_modules/.infra/results.json" },
  },
});

export default config;
