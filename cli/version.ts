import { createRequire } from "node:module";

/** The package's. */
export function version(): string {
  return (createRequire(import.meta.url)("waybill/package.json") as { version: string }).version;
}
