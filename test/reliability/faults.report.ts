import type { Verdict } from "./faults.cell.ts";
import { type Cell, type Column, columnOf, columns } from "./faults.table.ts";
import { origin, table } from "./report.ts";

// A row per fault, a column per kind of request, and in the legend what the letters mean.

interface Fields {
  readonly once: Map<string, string>;
  readonly lasting: Map<string, string>;
}

const links: Readonly<Record<string, string>> = {
  "client-store": "client and store",
  "client-api": "client and API",
  "functions-store": "functions and store",
  "functions-rpc": "functions and RPC",
  "client-rpc": "client and RPC",
};

/** The section of docs/reliability.md. */
export function pageOf(verdicts: readonly Verdict[], command: string): string {
  const letters = lettersOf(verdicts);
  const groups = [...new Set(verdicts.map(({ cells }) => cells[0]!.group))];
  const sections = groups.map((group) => groupTable(group, verdicts, letters));
  const met = verdicts.filter(({ outcome }) => outcome !== "not met");
  const names = new Set(verdicts.map(({ cells }) => cells[0]!.name));
  const broken = verdicts.filter(({ violations }) => violations.length > 0);
  const counts = `${names.size} faults, ${verdicts.length} trips with one each (${met.length} met it), ${broken.length} violations.`;
  return [origin(command), counts, legend(letters), ...sections].join("\n\n");
}

function legend(letters: ReadonlyMap<string, string>): string {
  const told = [...letters].map(([outcome, letter]) => `- ${letter}: ${outcome}`);
  const intro =
    "✓: both calls succeeded, as if nothing had been. A letter: what the calls threw first; the same call again, with the fault gone, succeeded. In brackets: the fault stayed until a call had ended. –: no such request came by. Nothing: not drawn, or it can't be there.";
  const where = columns.map(({ name, link }) => `${name} (${links[link]})`);
  return `${intro}\n\nThe columns: ${where.join(", ")}.\n\n${told.join("\n")}`;
}

function groupTable(group: string, verdicts: readonly Verdict[], letters: ReadonlyMap<string, string>): string {
  const rows = new Map<string, Fields>();
  for (const verdict of verdicts.filter(({ cells }) => cells[0]!.group === group)) put(rows, verdict, letters);
  const used = columns.filter((column) => [...rows.values()].some((row) => field(row, column) !== ""));
  const body = [...rows].map(([name, row]) => [name, ...used.map((column) => field(row, column))]);
  return `### ${group}\n\n${table([group, ...used.map(({ name }) => name)], body)}`;
}

function put(rows: Map<string, Fields>, verdict: Verdict, letters: ReadonlyMap<string, string>): void {
  const cell = verdict.cells[0]!;
  const row = rows.get(cell.name) ?? { once: new Map(), lasting: new Map() };
  rows.set(cell.name, row);
  const at = (cell.lasting ? row.lasting : row.once) as Map<string, string>;
  at.set(placeOf(cell), mark(verdict, letters));
}

function placeOf(cell: Cell): string {
  return columnOf(cell).name;
}

function field({ once, lasting }: Fields, { name }: Column): string {
  const behind = lasting.get(name);
  return [once.get(name) ?? "", behind === undefined ? "" : `(${behind})`].filter((one) => one !== "").join(" ");
}

function mark({ outcome, violations }: Verdict, letters: ReadonlyMap<string, string>): string {
  if (violations.length > 0) return "**!**";
  if (outcome === "ok") return "✓";
  return outcome === "not met" ? "–" : letters.get(outcome)!;
}

/** The most frequent outcome is "a". */
function lettersOf(verdicts: readonly Verdict[]): Map<string, string> {
  const counts = new Map<string, number>();
  for (const { outcome, violations } of verdicts)
    if (outcome !== "ok" && outcome !== "not met" && violations.length === 0)
      counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  const sorted = [...counts].sort(([, a], [, b]) => b - a);
  return new Map(sorted.map(([outcome], i) => [outcome, letter(i)]));
}

function letter(i: number): string {
  const last = String.fromCharCode(97 + (i % 26));
  return i < 26 ? last : `${letter(Math.floor(i / 26) - 1)}${last}`;
}
