import { parseArgs } from "node:util";
import { Bed, type Mining } from "./chain/bed.ts";
import { type Kind, kinds, Party } from "./chain/load.ts";
import { type Run, run } from "./chain/run.ts";
import { tableOf } from "./table.ts";

// Statements per second and gas per statement through the publisher, and how long an event takes, for more and more
// statements that are outstanding together: they lie in the outbox when its bell rings. All figures are medians.

const HELP = `npm run bench:chain -- [--json] [--quick] [--blocks B] [--kind K] [--outstanding N]

--json         one object with all rows
--quick        one run of each, and not the longest ones
--blocks       "instant" or "2" (seconds) alone
--kind         ${kinds.map((kind) => `"${kind}"`).join(", ")} alone
--outstanding  so many statements at once, instead of the usual numbers`;

/** The backlog is what a second or two of 500 statements leaves: rates that a burst can't show. */
const SIZES = [1, 10, 50, 500, 2_000];
const QUICK_SIZES = [1, 50, 500];
const MININGS: readonly Mining[] = ["instant", 2];
/** Blocks that come by themselves meet the bell at any moment, so small loads, which are quick, need more runs. */
const runsOf = (size: number): number => (size <= 50 ? 7 : 3);
/** Receipts per second at 2 s blocks, by the design. */
const TARGETS: Partial<Record<Kind, string>> = {
  "receipts grouped": ">= 500",
  "receipts ungrouped": "~ 170 / tx per block",
};

interface Row {
  readonly blocks: Mining;
  readonly kind: Kind;
  readonly outstanding: number;
  readonly perSecond: number;
  readonly gasEach: number;
  /** Milliseconds from finish to event. */
  readonly p50: number;
  readonly p95: number;
  readonly transactions: number;
  readonly inBlocks: number;
  /** Milliseconds until the outbox was empty. */
  readonly settled: number;
  /** To the bucket, per statement. */
  readonly requestsEach: number;
  /** Milliseconds of CPU time per statement: the publisher's, the chain's, the bucket's; null where the system doesn't tell. */
  readonly cpuEach: number;
  readonly chainCpuEach: number | null;
  readonly bucketCpuEach: number | null;
  readonly target: string;
}

interface Choice {
  readonly minings: readonly Mining[];
  readonly kinds: readonly Kind[];
  readonly sizes: readonly number[];
  readonly quick: boolean;
}

async function measure({ minings, kinds, sizes, quick }: Choice): Promise<Row[]> {
  const bed = await Bed.start();
  try {
    const party = await Party.open(bed);
    const rows: Row[] = [];
    for (const mining of minings)
      for (const kind of kinds)
        for (const size of sizes)
          rows.push(rowOf(mining, kind, size, await runs(bed, party, mining, kind, size, quick ? 1 : runsOf(size))));
    return rows;
  } finally {
    await bed.stop();
  }
}

async function runs(bed: Bed, party: Party, mining: Mining, kind: Kind, size: number, count: number): Promise<Run[]> {
  const found: Run[] = [];
  for (let i = 0; i < count; i++) {
    await bed.mine("instant");
    const load = await party.load(kind, size);
    await bed.mine(mining);
    process.stderr.write(`${mining} ${kind} ${size}: run ${i + 1} of ${count}\n`);
    found.push(await run(bed, await bed.hire(mining), load));
  }
  return found;
}

function rowOf(blocks: Mining, kind: Kind, outstanding: number, found: readonly Run[]): Row {
  const of = (figure: (run: Run) => number): number => Math.round(quantile(found.map(figure), 0.5));
  const tenths = (figure: (run: Run) => number): number => of((one) => 10 * figure(one)) / 10;
  return {
    blocks,
    kind,
    outstanding,
    perSecond: tenths(({ took }) => outstanding / (took / 1_000)),
    gasEach: of(({ gas }) => gas / outstanding),
    p50: of(({ latencies }) => quantile(latencies, 0.5)),
    p95: of(({ latencies }) => quantile(latencies, 0.95)),
    transactions: of(({ transactions }) => transactions),
    inBlocks: of((one) => one.blocks),
    settled: of(({ settled }) => settled),
    requestsEach: tenths(({ requests }) => requests / outstanding),
    cpuEach: tenths(({ cpu }) => cpu.publisher / outstanding),
    chainCpuEach: orNull(tenths(({ cpu }) => cpu.chain / outstanding)),
    bucketCpuEach: orNull(tenths(({ cpu }) => cpu.bucket / outstanding)),
    target: blocks === 2 ? (TARGETS[kind] ?? "") : "",
  };
}

const orNull = (figure: number): number | null => (Number.isNaN(figure) ? null : figure);

function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.ceil(q * sorted.length) - 1]!;
}

const columns: readonly (readonly [head: string, cell: (row: Row) => string | number])[] = [
  ["blocks", ({ blocks }) => (blocks === "instant" ? blocks : `${blocks} s`)],
  ["kind", ({ kind }) => kind],
  ["outstanding", ({ outstanding }) => outstanding],
  ["per s", ({ perSecond }) => perSecond],
  ["gas each", ({ gasEach }) => gasEach],
  ["p50 ms", ({ p50 }) => p50],
  ["p95 ms", ({ p95 }) => p95],
  ["txs", ({ transactions }) => transactions],
  ["in blocks", ({ inBlocks }) => inBlocks],
  ["settled ms", ({ settled }) => settled],
  ["S3 each", ({ requestsEach }) => requestsEach],
  ["CPU ms each", ({ cpuEach }) => cpuEach],
  ["chain's", ({ chainCpuEach }) => chainCpuEach ?? "?"],
  ["bucket's", ({ bucketCpuEach }) => bucketCpuEach ?? "?"],
  ["target per s", ({ target }) => target],
];

function describe(rows: readonly Row[]): string {
  return tableOf(
    columns.map(([head]) => head),
    rows.map((row) => columns.map(([, cell]) => cell(row))),
  );
}

function choose(): Choice & { readonly json: boolean; readonly help: boolean } {
  const flag = { type: "boolean", default: false } as const;
  const text = { type: "string" } as const;
  const options = { json: flag, quick: flag, help: flag, blocks: text, kind: text, outstanding: text };
  const { json, quick, help, blocks, kind, outstanding } = parseArgs({ options }).values;
  return {
    json,
    quick,
    help,
    minings: MININGS.filter((mining) => blocks === undefined || String(mining) === blocks),
    kinds: kinds.filter((name) => kind === undefined || name === kind),
    sizes: outstanding === undefined ? (quick ? QUICK_SIZES : SIZES) : [Number(outstanding)],
  };
}

const choice = choose();
if (choice.help) process.stdout.write(`${HELP}\n`);
else {
  const rows = await measure(choice);
  process.stdout.write(`${choice.json ? JSON.stringify({ rows }) : describe(rows)}\n`);
}
