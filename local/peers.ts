import { createRequire } from "node:module";
import { WaybillError } from "../lib/protocol/errors.ts";

/** Loaded on AWS alone: the metrics' format, and where credentials are looked for. */
const CLOUD = ["@aws-lambda-powertools/metrics", "@aws-sdk/credential-provider-node"];
/** Of the embedded chain and store. */
const EMBEDDED = ["@foundry-rs/anvil", "fast-xml-parser"];
/** Where metrics are told. */
const MONITOR = "prom-client";

const own = createRequire(import.meta.url);

/** The optional peers of the package, with the versions that it takes. */
export function peers(): Readonly<Record<string, string>> {
  return (own("waybill/package.json") as { peerDependencies: Record<string, string> }).peerDependencies;
}

/** What the embedded stack is made of. */
export function stackPeers(): string[] {
  return Object.keys(peers()).filter((name) => ![...CLOUD, MONITOR].includes(name));
}

/** What the functions as one server are made of. */
export function servePeers(): string[] {
  return Object.keys(peers()).filter((name) => ![...CLOUD, ...EMBEDDED].includes(name));
}

/** What tells metrics. */
export function monitorPeers(): string[] {
  return [MONITOR];
}

/**
 * Checks that optional peers are there, before what needs them is loaded.
 * @param who Who needs them, as the message's subject.
 * @throws WaybillError USAGE with the line that adds what is missing.
 */
export function needPeers(names: readonly string[], who: string): void {
  const missing = names.filter((name) => !isInstalled(name));
  if (missing.length === 0) return;
  const ranges = peers();
  const list = missing.map((name) => `"${name}@${ranges[name] ?? "*"}"`).join(" ");
  throw new WaybillError("USAGE", `${who} lacks packages that only it needs; add them with: npm install ${list}`);
}

function isInstalled(name: string): boolean {
  try {
    own.resolve(`${name}/package.json`);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ERR_PACKAGE_PATH_NOT_EXPORTED";
  }
}
