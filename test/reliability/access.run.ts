import { expect, it } from "vitest";
import { routeNames, Stage } from "../support/roles.ts";
import { type Column, columns } from "../support/roles-columns.ts";
import { type Outcome, Trial } from "../support/roles-trial.ts";
import { asked, origin, record, table } from "./report.ts";

// The matrix of access.test.ts as a table of what each request was answered.

it("every role and every bent request meets every route", async () => {
  const stage = await Stage.start();
  try {
    const trial = new Trial(stage);
    const rows: string[][] = [];
    const faults: string[] = [];
    for (const column of columns) {
      const outcomes = new Map<string, Outcome>();
      for (const route of routeNames)
        if (column.expects(route) !== null) outcomes.set(route, await trial.of(column, route));
      rows.push([column.name, ...answersIn(outcomes)]);
      faults.push(...faultsIn(column, outcomes));
    }
    expect(faults).toEqual([]);
    if (asked().record) await record("access", page(rows));
  } finally {
    await stage.stop();
  }
});

/** What was taken, and what was refused, by the answer. */
function answersIn(outcomes: ReadonlyMap<string, Outcome>): [string, string] {
  const byAnswer = new Map<string, string[]>();
  for (const [route, { answered, urls }] of outcomes) {
    const name = urls > 0 ? `**${route}**` : route;
    byAnswer.set(String(answered), [...(byAnswer.get(String(answered)) ?? []), name]);
  }
  const told = (success: boolean): string =>
    [...byAnswer]
      .filter(([answer]) => /^\d+$/.test(answer) === success)
      .map(([answer, names]) => `${answer}: ${names.length === routeNames.length ? "every route" : names.join(", ")}`)
      .join("<br>");
  return [told(true), told(false)];
}

function faultsIn(column: Column, outcomes: ReadonlyMap<string, Outcome>): string[] {
  return [...outcomes].flatMap(([route, { answered, strangeUrls, written, appeared }]) => {
    const refused = typeof answered === "string";
    const isRight = answered === column.expects(route) && strangeUrls.length === 0;
    const leftNothing = !refused || (written.length === 0 && appeared.length === 0);
    return isRight && leftNothing ? [] : [`${column.name}, ${route}: ${answered}`];
  });
}

function page(rows: readonly (readonly string[])[]): string {
  const about =
    "Who asks or what is wrong with the request of somebody who may, what is taken, and what is refused. Bold: the answer holds presigned URLs; " +
    "no other answer of the table does, in body or header. No refused request left anything in the bucket but its caller's own nonce, and that only " +
    "once signature, time and role were found good.";
  return [origin("npm run access -- --record"), about, table(["who, or how", "taken", "refused"], rows)].join("\n\n");
}
