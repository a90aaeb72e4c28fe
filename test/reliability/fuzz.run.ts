import { it } from "vitest";
import { feed, plan, type Run } from "../support/fuzz.ts";
import { parsers } from "../support/fuzz-parsers.ts";
import { RouteFuzz, UNCAPPED } from "../support/fuzz-routes.ts";
import { Stage } from "../support/roles.ts";
import { asked, origin, record, table } from "./report.ts";

// npm run fuzz -- --count N [--seed S] [--record]

it("hostile inputs for every parser and every route", async () => {
  const { count, seed, record: kept } = asked();
  const stage = await Stage.start(UNCAPPED);
  const fuzz = await RouteFuzz.start(stage);
  try {
    const runs: Run[] = [];
    for (const [subject, inputs] of plan([...parsers, ...fuzz.subjects], count ?? 1_000_000)) {
      const run = await feed(subject, inputs, seed);
      process.stdout.write(`${rowOf(run).join(" · ")}\n`);
      runs.push(run);
    }
    const answers = [...fuzz.answers].toSorted((a, b) => b[1] - a[1]).map(([code, times]) => `${code} ${times}`);
    process.stdout.write(`${answers.join(", ")}\n`);
    if (kept) await record("fuzz", page(runs, answers, seed));
  } finally {
    await fuzz.stop();
    await stage.stop();
  }
});

function rowOf({ name, inputs, milliseconds, longest }: Run): string[] {
  return [name, String(inputs), String(Math.round((inputs / milliseconds) * 1000)), longest.toFixed(0)];
}

function page(runs: readonly Run[], answers: readonly string[], seed: number): string {
  const total = runs.reduce((sum, { inputs }) => sum + inputs, 0);
  const seconds = runs.reduce((sum, { milliseconds }) => sum + milliseconds, 0) / 1000;
  const about =
    `${total} inputs in ${Math.round(seconds)} s (${Math.round(total / seconds)} a second), each made from a good one by a seed of its own. None led to a crash, an ` +
    "unhandled rejection, a 5xx, a hang, an error that isn't ours, somebody else's URL, or was taken against the rule that its parser has in test/support/fuzz-parsers.ts.";
  const head = ["what was read", "inputs", "a second", "slowest, ms"];
  const told = `What the routes answered: ${answers.join(", ")}.`;
  return [
    origin(`npm run fuzz -- --count ${total} --seed ${seed} --record`),
    about,
    table(head, runs.map(rowOf)),
    told,
  ].join("\n\n");
}
