import { configDefaults, defineConfig, type ViteUserConfig } from "vitest/config";
import { fatalReporter } from "./test/support/fatal.ts";

/** What every run of tests has in common. */
export const shared: NonNullable<ViteUserConfig["test"]> = {
  // Ends what hangs, and is no test's subject: a machine ten times slower than usual gets there, too.
  testTimeout: 300_000,
  hookTimeout: 300_000,
  expect: { poll: { timeout: 120_000 } },
  // For two cores: most tests wait for blocks more than they compute; with more, anvil and the store miss their turns.
  maxWorkers: 3,
  // Every log line of the run is kept and looked through for secrets: one that is found fails the run.
  globalSetup: ["test/support/log-setup.ts"],
  setupFiles: ["test/support/secrets.ts"],
};

const config: ViteUserConfig = defineConfig({
  test: {
    ...shared,
    include: ["test/**/*.test.ts"],
    exclude: [...configDefaults.exclude, "test/infra/**"],
    reporters: process.env.CI ? ["default", "json", fatalReporter] : ["default"],
    outputFile: { json: "node_modules/.vitest/results.json" },
  },
});

export default config;
