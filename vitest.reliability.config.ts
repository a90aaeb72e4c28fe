import { defineConfig, type ViteUserConfig } from "vitest/config";
import { shared } from "./vitest.config.ts";

/** The long runs, one at a time: `npm run faults|kill|soak|fuzz|load` (test/reliability/run.mjs). */
const config: ViteUserConfig = defineConfig({
  test: {
    ...shared,
    include: ["test/reliability/**/*.run.ts"],
    // They say themselves how long they take.
    testTimeout: 0,
    maxWorkers: 1,
    disableConsoleIntercept: true,
  },
});

export default config;
