import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type FunctionName, functionNames } from "./functions/bundle.ts";
import {
  type Bench,
  bundleAll,
  type FunctionRow,
  measureFunction,
  measureRoutes,
  type RouteRow,
  startAll,
} from "./functions/measure.ts";
import { node24 } from "./functions/node24.ts";
import { World } from "./functions/world.ts";
import { tableOf } from "./table.ts";

// What a function of Lambda's costs before it does anything, and how much one does: its bundle, made as SST makes it, on Node 24,
// against the embedded store and chain on this machine, whose work is in the figures. Exit code 1 if one is over its target.

const HELP = `npm run bench:functions -- [--json]

--json   one object with all rows`;

/** KiB of the bundle, and milliseconds of its import. */
const TARGETS: Readonly<Record<FunctionName, { readonly kib?: number; readonly importMs?: number }>> = {
  uploads: { kib: 750, importMs: 100 },
  downloads: { kib: 350, importMs: 50 },
  tasks: { kib: 200 },
  publisher: { kib: 350 },
  sweeper: {},
};
/** Milliseconds that 63 more URLs may take. */
const SIGNING_TARGET = 10;

interface Report {
  readonly functions: readonly FunctionRow[];
  readonly routes: readonly RouteRow[];
  readonly signingMs: number;
}

async function measure(): Promise<Report> {
  const dir = await mkdtemp(join(tmpdir(), "waybill-bundles-"));
  const world = await World.start().catch(async (error: unknown) => {
    await rm(dir, { recursive: true, force: true });
    throw error;
  });
  try {
    const bench = { world, node: await node24(), bundles: await bundleAll(dir) };
    await prepare(bench);
    const functions: FunctionRow[] = [];
    for (const name of functionNames) {
      process.stderr.write(`${name}\n`);
      functions.push(await measureFunction(bench, name));
    }
    const routes = await measureRoutes(bench);
    return { functions, routes, signingMs: signingOf(routes) };
  } finally {
    await world.stop();
    await rm(dir, { recursive: true, force: true });
  }
}

async function prepare(bench: Bench): Promise<void> {
  const instances = await startAll(bench);
  try {
    await bench.world.prepare(instances);
  } finally {
    await Promise.all(Object.values(instances).map((instance) => instance.stop()));
  }
}

/** What signing itself takes: the same request for many URLs and for one. */
function signingOf(routes: readonly RouteRow[]): number {
  const [one, many] = routes.filter(({ name }) => name.startsWith("sign")) as [RouteRow, RouteRow];
  return Math.round(100 * (many.medianMs - one.medianMs)) / 100;
}

function misses({ functions, signingMs }: Report): string[] {
  const over = functions.flatMap(({ name, kib, importMs }) => {
    const target = TARGETS[name];
    return [
      kib > (target.kib ?? Number.POSITIVE_INFINITY) ? [`${name}: ${kib} KiB > ${target.kib}`] : [],
      importMs > (target.importMs ?? Number.POSITIVE_INFINITY)
        ? [`${name}: import ${importMs} ms > ${target.importMs}`]
        : [],
    ].flat();
  });
  return signingMs > SIGNING_TARGET ? [...over, `signing: ${signingMs} ms > ${SIGNING_TARGET}`] : over;
}

function describe(report: Report): string {
  const functions = tableOf(
    [
      "function",
      "KiB loaded",
      "target",
      "in the zip",
      "import ms",
      "target",
      "its CPU ms",
      "first ms",
      "100th ms",
      "RSS MiB",
    ],
    report.functions.map(({ name, kib, allKib, importMs, importCpuMs, firstMs, hundredthMs, rssMiB }) => [
      ...[name, kib, TARGETS[name].kib ?? "", allKib, importMs, TARGETS[name].importMs ?? ""],
      ...[importCpuMs, firstMs, hundredthMs, rssMiB],
    ]),
  );
  const routes = tableOf(
    ["one warm process", "per s", "median ms", "its CPU ms"],
    report.routes.map(({ name, perSecond, medianMs, cpuMs }) => [name, perSecond, medianMs, cpuMs]),
  );
  const signing = `Signing 64 URLs takes ${report.signingMs} ms more than signing one (target ${SIGNING_TARGET}).`;
  return [functions, routes, signing, ...misses(report).map((miss) => `OVER ${miss}`)].join("\n\n");
}

const options = { json: { type: "boolean" }, help: { type: "boolean" } } as const;
const { values } = parseArgs({ options });
if (values.help) {
  process.stdout.write(`${HELP}\n`);
} else {
  const report = await measure();
  process.stdout.write(`${values.json ? JSON.stringify({ ...report, misses: misses(report) }) : describe(report)}\n`);
  if (misses(report).length > 0) process.exitCode = 1;
}
