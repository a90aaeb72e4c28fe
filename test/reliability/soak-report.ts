import { readFile, writeFile } from "node:fs/promises";
import type { Violation } from "./oracle.ts";
import { origin, table } from "./report.ts";
import type { Round } from "./soak-play.ts";

/** A round without its evidence, which is large. */
export type Played = Omit<Round, "evidence">;

/** Seeds of rounds that once failed, by the scale at which they did: each is played again by the run of its scale. */
export interface Seeds {
  readonly short: readonly number[];
  readonly long: readonly number[];
}

const SEEDS = new URL("seeds.json", import.meta.url);

export async function keptSeeds(): Promise<Seeds> {
  return JSON.parse(await readFile(SEEDS, "utf8")) as Seeds;
}

/** Keeps the seed of a round that failed. */
export async function keepSeed(scale: keyof Seeds, seed: number): Promise<void> {
  const seeds = await keptSeeds();
  if (seeds[scale].includes(seed)) return;
  const kept = { ...seeds, [scale]: [...seeds[scale], seed] };
  await writeFile(SEEDS, `{ "short": [${kept.short.join(", ")}], "long": [${kept.long.join(", ")}] }\n`);
}

/** What somebody needs who is to find the reason of a failed round. */
export function failureOf({ plan, violations }: Played): string {
  const said = violations.map(({ invariant, name, sentence }: Violation) => `  ${invariant} (${name}): ${sentence}`);
  const deeds = plan.steps.map((step, i) => `  ${i}: ${JSON.stringify(step)}`);
  const again = `Again: npm run soak -- --count 1 --seed ${plan.seed}`;
  return [`Seed ${plan.seed} breaks invariants:`, ...said, "What it did:", ...deeds, again].join("\n");
}

/** The page's section on rounds that were played. */
export function sectionOf(rounds: readonly Played[], minutes: number, seed: number): string {
  const sum = (of: (round: Played) => number): string =>
    rounds.reduce((total, round) => total + of(round), 0).toLocaleString("en");
  const figures: [string, string][] = [
    ["rounds, each a world of its own", sum(() => 1)],
    ["transfers", sum(({ counts }) => counts.transfers)],
    ["bytes sent", sum(({ counts }) => counts.bytes)],
    ["receipts accepted", sum(({ counts }) => counts.receipts)],
    ["calls", sum(({ counts }) => counts.calls)],
    ["requests broken", sum(({ counts }) => counts.faults)],
    ["last sends that were tried again", sum(({ counts }) => counts.again.length)],
    ["processes and servers ended", sum(({ counts }) => counts.ended)],
    ["reorgs", sum(({ counts }) => counts.reorgs)],
    ["violations", sum(({ violations }) => violations.length)],
  ];
  return [
    origin(`npm run soak -- --minutes ${minutes} --seed ${seed}`),
    table(["what", "how many"], figures),
    table(
      ["deed", "how often"],
      columnsOf(rounds, ({ counts }) => counts.deeds),
    ),
    table(
      ["invariant", "facts judged"],
      columnsOf(rounds, ({ facts }) => facts),
    ),
  ].join("\n\n");
}

function columnsOf(rounds: readonly Played[], of: (round: Played) => Readonly<Record<string, number>>): string[][] {
  const names = [...new Set(rounds.flatMap((round) => Object.keys(of(round))))];
  return names.map((name) => [
    name,
    rounds.reduce((total, round) => total + (of(round)[name] ?? 0), 0).toLocaleString("en"),
  ]);
}
