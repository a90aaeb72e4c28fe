import { expect, it } from "vitest";
import { asked, record } from "./report.ts";
import { LONG, planOf } from "./soak-plan.ts";
import { play } from "./soak-play.ts";
import { failureOf, keepSeed, keptSeeds, type Played, sectionOf } from "./soak-report.ts";

// `npm run soak -- --minutes N [--seed S] [--count ROUNDS] [--record]`: rounds with the seeds S, S + 1, … until the time is over; and
// first those that once failed, unless a count is given.

const DEFAULT_MINUTES = 10;

it("in no round is an invariant broken", async () => {
  const { minutes, seed, count, record: wanted } = asked();
  const begun = performance.now();
  const lasts = (minutes ?? (count === null ? DEFAULT_MINUTES : Number.POSITIVE_INFINITY)) * 60_000;
  const known = count === null ? (await keptSeeds()).long : [];
  const rounds: Played[] = [];
  for (let i = -known.length; performance.now() - begun < lasts && i < (count ?? Number.POSITIVE_INFINITY); i++) {
    const { evidence: _evidence, ...round } = await play(planOf(i < 0 ? known.at(i)! : seed + i, LONG));
    rounds.push(round);
    const { plan, counts, violations } = round;
    const minute = ((performance.now() - begun) / 60_000).toFixed(1);
    process.stdout.write(
      `minute ${minute}: seed ${plan.seed}, ${counts.calls} calls, ${violations.length} violations\n`,
    );
    for (const words of counts.again) process.stdout.write(`a last send is tried again: ${words}\n`);
    if (violations.length === 0) continue;
    process.stdout.write(`${failureOf(round)}\n`);
    await keepSeed("long", plan.seed);
  }
  const took = Math.round((performance.now() - begun) / 60_000);
  process.stdout.write(`${sectionOf(rounds, took, seed)}\n`);
  if (wanted) await record("soak", sectionOf(rounds, took, seed));
  expect(rounds.flatMap(({ violations }) => violations)).toEqual([]);
});
