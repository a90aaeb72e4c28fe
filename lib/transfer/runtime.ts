import { WaybillError } from "../protocol/errors.ts";

/** Whether this is Node, Deno or Bun, with files and sockets; asked for like this, no bundler trips over it. */
export const isNode: boolean = globalThis.process?.getBuiltinModule?.("node:fs") !== undefined;

/** @throws WaybillError USAGE where there are no files, as in a browser. */
export function needFiles(what: string): void {
  if (!isNode) throw new WaybillError("USAGE", `There are no files here, so ${what}.`);
}
