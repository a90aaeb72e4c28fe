import { readFile, writeFile } from "node:fs/promises";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { GiB, MiB } from "../../lib/protocol/limits.ts";
import { tools } from "./cases.ts";
import { CAPPED, CAPPED_CONNECTIONS, cappedName, shareOfIdeal } from "./further.ts";
import { judge } from "./targets.ts";
import type { Row } from "./trial.ts";

/** What a run found. */
export interface Found {
  readonly began: Date;
  readonly rows: readonly Row[];
  readonly peers: readonly { readonly name: string; readonly version: string }[];
  readonly missing: readonly string[];
  /** Bytes of the one large file. */
  readonly size: number;
  readonly runs: number;
  /** The load of the machine before it began. */
  readonly load: number;
}

const PAGE: string = join("docs", "performance.md");
/** Between these the harness writes; what stands around them is ours. */
const BEGIN = "<!-- written by npm run bench -- --record -->";
const END = "<!-- end -->";

/** Puts what was found into docs/performance.md. @throws Error when the page has no place for it. */
export async function record(found: Found): Promise<void> {
  const page = await readFile(PAGE, "utf8");
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`${PAGE} has no place for the record.`);
  await writeFile(PAGE, `${page.slice(0, begin)}${BEGIN}\n\n${pageOf(found)}\n\n${page.slice(end)}`);
}

function pageOf(found: Found): string {
  const { rows, size } = found;
  return [
    `## The machine\n\n${machine(found)}`,
    `## The tools\n\n${versions(found)}`,
    `## The targets\n\n${targets(rows)}`,
    `## Side by side\n\nOne file of ${size / MiB} MiB, unless the case says otherwise.\n\n${cases(rows)}`,
    `## A link of ${CAPPED.rate / MiB} MiB/s per connection, answers ${CAPPED.delay} ms later\n\n${capped(rows)}`,
  ].join("\n\n");
}

function machine({ began, runs, load }: Found): string {
  const [cpu] = cpus();
  const memory = `${Math.round(totalmem() / GiB)} GiB of memory`;
  return [
    `${began.toISOString().slice(0, 10)}: ${cpus().length} processors (${cpu?.model.trim()}), ${memory}, Linux ${release()}, Node`,
    `${process.versions.node}; a load of ${load.toFixed(1)} before it began. Medians of ${runs} runs, in turns.`,
  ].join(" ");
}

function versions({ peers, missing }: Found): string {
  const settingsOf = (peer: string): string =>
    tools
      .filter((tool) => tool.peer === peer)
      .map(({ name, settings }) => `${name}: ${settings}`)
      .join("; ");
  const lines = peers.map(({ name, version }) => [name, version, settingsOf(name)]);
  const absent = missing.map((name) => [name, "not found", ""]);
  return markdown(["tool", "version", "settings"], [...lines, ...absent]);
}

function targets(rows: readonly Row[]): string {
  const lines = judge(rows).map(({ target, measured, met }) => [
    target,
    measured,
    met === null ? "not measured" : met ? "met" : "**missed**",
  ]);
  return markdown(["target", "measured", ""], lines);
}

function cases(rows: readonly Row[]): string {
  const names = [...new Set(rows.map((row) => row.case))].filter((name) => !name.startsWith("capped"));
  const groups = names.map((name) => rows.filter((row) => row.case === name));
  return markdown(
    ["case", "tool", "verifies", "wall s", "GiB/s", "CPU s", "RSS MiB", "runs"],
    groups.flat().map((row) => [row.case, row.tool, row.verify, ...figures(row), row.runs]),
  );
}

function capped(rows: readonly Row[]): string {
  const lines = CAPPED_CONNECTIONS.flatMap((connections) =>
    rows
      .filter((row) => row.case === cappedName(connections))
      .map((row) => [connections, row.tool, ...figures(row), percent(row, connections)]),
  );
  const own = rows.filter((row) => row.case === "capped link, as many as pay");
  const open = own.map((row) => ["as many as pay", row.tool, ...figures(row), ""]);
  return markdown(["connections", "tool", "wall s", "GiB/s", "CPU s", "RSS MiB", "of the ideal"], [...lines, ...open]);
}

function percent(row: Row, connections: number): string {
  return `${Math.round(100 * shareOfIdeal(row, connections))} %`;
}

function figures({ wallS, gibPerS, cpuS, rssMiB, error }: Row): (string | number)[] {
  if (error !== undefined) return ["failed", "", "", ""];
  return [wallS, gibPerS, cpuS, rssMiB].map((figure) => figure ?? "");
}

function markdown(heads: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const line = (cells: readonly (string | number)[]): string =>
    `| ${cells.map((cell) => String(cell).replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(heads), line(heads.map(() => "---")), ...rows.map(line)].join("\n");
}
