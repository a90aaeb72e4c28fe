import { defineConfig, type ViteUserConfigExport } from "vitest/config";

/** The deployment's own tests: `npm run test:infra`. They fetch SST's platform once, so `npm test` is without them. */
const config: ViteUserConfigExport = defineConfig({
  test: {
    include: ["test/infra/**/*.test.ts"],
    globalSetup: ["test/infra/support/setup.ts"],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    maxConcurrency: 2,
    reporters: process.env.CI ? ["default", "json"] : ["default"],
    outputFile: { json: "node_modules/.infra/results.json" },
  },
});

export default config;
