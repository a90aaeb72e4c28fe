import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { GiB, MiB } from "../lib/protocol/limits.ts";
import { tableOf } from "./table.ts";
import { Bed } from "./transfer/bed.ts";
import { QUICK_SIZE, sideBySide, type Wanted } from "./transfer/cases.ts";
import { further } from "./transfer/further.ts";
import { findPeers, installPeers } from "./transfer/peers.ts";
import { record } from "./transfer/record.ts";
import { play, type Row } from "./transfer/trial.ts";

// How fast a payload goes, next to other tools: the same files, servers and machine, in turns. All figures are medians.

const HELP = `npm run bench -- [--quick] [--json] [--record] [--size MiB] [--runs N] [--only TOOL,..] [--case WORD,..]

--quick    256 MiB, 3 runs, the download and the upload alone: under a minute on an idle machine
--json     one object with all rows
--record   also writes docs/performance.md
--size     of the large file, in MiB; 1024 without it
--runs     of each tool in each case; 5 without it
--only     tools whose names hold one of these words
--case     cases whose names hold one of these words
--install  installs the other tools into ~/.cache/waybill-bench (or $WAYBILL_BENCH_PEERS), and ends`;

const flag = { type: "boolean", default: false } as const;
const text = { type: "string" } as const;
const { values } = parseArgs({
  options: {
    ...{ json: flag, quick: flag, record: flag, install: flag, help: flag },
    ...{ size: text, runs: text, only: text, case: text },
  },
});

const words = (value: string | undefined): string[] => value?.split(",").map((word) => word.trim()) ?? [];

async function measure(): Promise<void> {
  const { quick, json } = values;
  const size = values.size === undefined ? (quick ? QUICK_SIZE : GiB) : Number(values.size) * MiB;
  const runs = Number(values.runs ?? (quick ? 3 : 5));
  if (!(size >= 1 && runs >= 1)) throw new Error("--size and --runs must be numbers above 0.");
  const wanted: Wanted = { size, only: words(values.only), cases: words(values.case), quick };
  const { found, missing } = findPeers();
  process.stderr.write(`Not found: ${missing.join(", ") || "none"}\n`);
  const began = new Date();
  const [load = 0] = loadavg();
  const rows: Row[] = [];
  const bed = await Bed.make(found);
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => void bed.stop().then(() => process.exit(130)));
  try {
    const sections = [...sideBySide(bed, wanted), ...(quick ? [] : further(bed, wanted))];
    for (const section of sections) rows.push(...(await play(bed, section, runs)));
  } finally {
    await bed.stop();
  }
  const peers = [...found.values()].map(({ name, version }) => ({ name, version }));
  if (values.record) await record({ began, rows, peers, missing, size, runs, load });
  process.stdout.write(`${json ? JSON.stringify({ rows, peers, missing }) : describe(rows, missing)}\n`);
  if (rows.some(({ error }) => error !== undefined)) process.exitCode = 1;
}

function describe(rows: readonly Row[], missing: readonly string[]): string {
  const heads = ["case", "tool", "verifies", "wall s", "GiB/s", "CPU s", "RSS MiB", ""];
  const cells = rows.map((row) => [
    ...[row.case, row.tool, row.verify],
    ...[row.wallS, row.gibPerS, row.cpuS, row.rssMiB].map((figure) => figure ?? "-"),
    row.error === undefined ? "" : `FAILED: ${row.error.split("\n").at(-1)}`,
  ]);
  return `${tableOf(heads, cells)}\n\nNot found: ${missing.join(", ") || "none"}`;
}

if (values.help) process.stdout.write(`${HELP}\n`);
else if (values.install) installPeers();
else await measure();
