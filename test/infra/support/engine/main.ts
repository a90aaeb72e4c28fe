import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parseArgs } from "node:util";
import { EventLog } from "./events.ts";
import { runProgram } from "./program.ts";
import type { Cloud } from "./provider.ts";
import { Registry, removed } from "./registry.ts";
import { type Stack, StateFile, stackOf } from "./state.ts";
import { upload } from "./uploads.ts";

// Poses as Pulumi's command, as far as sst uses it: `stack init`, `preview`, `up` and `destroy`, in the working folder.
// Nothing is made anywhere: what AWS would answer, provider.ts answers. Anything else that is asked for fails.

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    stack: { type: "string" },
    "event-log": { type: "string" },
    config: { type: "string", multiple: true, default: [] },
    "non-interactive": { type: "boolean" },
    yes: { type: "boolean" },
    "skip-preview": { type: "boolean", short: "f" },
  },
});

async function main(): Promise<boolean> {
  const [command, ...rest] = positionals;
  if (command === "stack" && rest[0] === "init" && rest.length === 2) {
    new StateFile(process.cwd(), stackOf(rest[1])).write([]);
    return true;
  }
  if (rest.length > 0 || !values["event-log"]) throw new Error(`unknown command: ${process.argv.slice(2).join(" ")}`);
  const [stack, log] = [stackOf(values.stack), new EventLog(values["event-log"])];
  log.begin();
  const done = await run(command, stack, log).catch((error: Error) => {
    log.say("error", error.message);
    return false;
  });
  log.end();
  return done;
}

async function run(command: string | undefined, stack: Stack, log: EventLog): Promise<boolean> {
  const state = new StateFile(process.cwd(), stack);
  if (command === "destroy") {
    for (const one of state.read().reverse()) removed(one, log, false);
    state.write([]);
    return true;
  }
  if (command !== "up" && command !== "preview") throw new Error(`unknown command: ${command}`);
  const [cloud, planning] = [cloudFromEnv(), command === "preview"];
  const registry = new Registry({ stack, cloud, log, planning, before: state.read() });
  const entry = /^main: (.+)$/m.exec(readFileSync("Pulumi.yaml", "utf8"))?.[1];
  if (!entry) throw new Error("Pulumi.yaml names no program.");
  const platform = dirname(entry);
  const places = { main: entry, platform, root: resolve(platform, "../..") };
  const done = await runProgram({ stack, cloud, log, registry, planning, ...places, config: settings() });
  if (done) registry.sweep();
  if (!done || planning) return done;
  await upload(registry.resources, cloud);
  state.write(registry.resources);
  return true;
}

/** `--config aws:region=eu-central-1` and the like. */
function settings(): Record<string, string> {
  const pairs = values.config.map((text) => /^([^=]+)=(.*)$/s.exec(text)!.slice(1) as [string, string]);
  return Object.fromEntries(pairs);
}

function cloudFromEnv(): Cloud {
  const { AWS_REGION, AWS_ENDPOINT_URL, STAND_IN_ACCOUNT, STAND_IN_API } = process.env;
  if (!AWS_REGION || !AWS_ENDPOINT_URL || !STAND_IN_ACCOUNT || !STAND_IN_API)
    throw new Error("AWS_REGION, AWS_ENDPOINT_URL, STAND_IN_ACCOUNT and STAND_IN_API must be set.");
  return { region: AWS_REGION, account: STAND_IN_ACCOUNT, endpoint: AWS_ENDPOINT_URL, api: STAND_IN_API };
}

/** Without the sst that started it there is nobody to work for. */
const parent = process.ppid;
setInterval(() => process.ppid !== parent && process.exit(1), 1_000).unref();
process.exitCode = (await main()) ? 0 : 255;
