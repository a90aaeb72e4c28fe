import { defineConfig, type ViteUserConfigExport } from "vitest/config";

const config: ViteUserConfigExport = defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Two cores: more workers than that only make anvil and the store miss their turns.
    maxWorkers: 2,
    // CI's machines are shared and stall for seconds: a test must fail twice there to be called broken. Never so at a desk.
    retry: process.env.CI ? 1 : 0,
    reporters: process.env.CI ? ["default", "json"] : ["default"],
    outputFile: { json: "node_modules/.vitest/results.json" },
  },
});

export default config;
