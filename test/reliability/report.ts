import { readFile, writeFile } from "node:fs/promises";
import { cpus } from "node:os";

/** The parts of docs/reliability.md that runs write. */
export type Section = "faults" | "kills" | "soak" | "mutants" | "access" | "fuzz" | "load";

const PAGE = new URL("../../docs/reliability.md", import.meta.url);

/** What a long run was asked for: see run.mjs. */
export interface Asked {
  /** null: as long as the run itself says. */
  readonly minutes: number | null;
  readonly seed: number;
  readonly count: number | null;
  /** Only what has this in its name. */
  readonly only: string | null;
  readonly record: boolean;
  /** How many at once, where each is a whole of its own. */
  readonly parallel: number | null;
}

export function asked(env: NodeJS.ProcessEnv = process.env): Asked {
  const number = (name: string): number | null => (env[name] === undefined ? null : Number(env[name]));
  return {
    minutes: number("WAYBILL_RUN_MINUTES"),
    seed: number("WAYBILL_RUN_SEED") ?? 1,
    count: number("WAYBILL_RUN_COUNT"),
    only: env.WAYBILL_RUN_ONLY ?? null,
    record: env.WAYBILL_RUN_RECORD === "1",
    parallel: number("WAYBILL_RUN_PARALLEL"),
  };
}

/** When and where a table was made, and how to make it again. */
export function origin(command: string, day: Date = new Date()): string {
  const machine = `${cpus().length} cores, Node ${process.versions.node}, ${process.platform}`;
  return `Run ${day.toISOString().slice(0, 10)} on ${machine}: \`${command}\`.`;
}

/** Puts a run's table into docs/reliability.md, between the section's two marks. */
export async function record(section: Section, markdown: string): Promise<void> {
  const { before, after } = await sectionOf(section);
  await writeFile(PAGE, `${before}\n\n${markdown.trim()}\n\n${after}`);
}

/** The rows of a section's table, as the last runs left it. */
export async function recorded(section: Section): Promise<string[][]> {
  const { text } = await sectionOf(section);
  const lines = text.split("\n").filter((line) => line.startsWith("| "));
  return lines.slice(2).map((line) => line.slice(2, -2).split(" | "));
}

async function sectionOf(section: Section): Promise<{ before: string; text: string; after: string }> {
  const page = await readFile(PAGE, "utf8");
  const [begin, end] = [`<!-- ${section}: written by a run -->`, `<!-- /${section} -->`];
  const [from, to] = [page.indexOf(begin) + begin.length, page.indexOf(end)];
  if (!page.includes(begin) || to < from) throw new Error(`docs/reliability.md has no marks for ${section}`);
  return { before: page.slice(0, from), text: page.slice(from, to), after: page.slice(to) };
}

/** A table as the formatter leaves it. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}
