import { defineConfig, type ViteUserConfigExport } from "vitest/config";
import { shared } from "../../../vitest.config.ts";

/** The suite's own set-up, over tests that leak. */
const config: ViteUserConfigExport = defineConfig({
  test: { ...shared, include: ["test/support/leaking/*.fixture.ts"], reporters: ["default"] },
});

export default config;
