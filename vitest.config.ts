import { configDefaults, defineConfig, type ViteUserConfigExport } from "vitest/config";

const config: ViteUserConfigExport = defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: [...configDefaults.exclude, "test/infra/**"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Two cores: more workers than that only make anvil and the store miss their turns.
    maxWorkers: 2,
    reporters: process.env.CI ? ["default", "json"] : ["default"],
    outputFile: { json: "node_modules/.vitest/results.json" },
  },
});

export default config;
