import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CostBed } from "../bench/cost/bed.ts";
import { leastSquares, predict } from "../bench/cost/fit.ts";
import type { Measured } from "../bench/cost/measured.ts";
import { classOf, Tally } from "../bench/cost/meter.ts";
import { statementsOf } from "../bench/cost/model.ts";
import { BEGIN, checkRows, END, pageOf, readRecord } from "../bench/cost/page.ts";
import { GAS, gasPrice, prices } from "../bench/cost/prices.ts";
import { ALARM_METRICS, idleLines, lines, MEMORY_GB, scenarios } from "../bench/cost/reckon.ts";
import { Federation } from "../bench/cost/round.ts";

const textOf = (path: string): Promise<string> => readFile(new URL(`../${path}`, import.meta.url), "utf8");

/** The tables of a page by the heading above them: rows of cells, without the head. */
function tablesIn(page: string): Map<string, string[][]> {
  const tables = new Map<string, string[][]>();
  let heading = "";
  for (const line of page.split("\n")) {
    heading = /^### (.*)$/.exec(line)?.[1] ?? heading;
    if (!line.startsWith("| ") || line.startsWith("| ---")) continue;
    const cells = line
      .slice(2, -2)
      .split(" | ")
      .map((cell) => cell.replaceAll("**", "").trim());
    tables.set(heading, [...(tables.get(heading) ?? []), cells]);
  }
  return tables;
}

const number = (cell: string): number => Number(cell.replaceAll(",", ""));

describe("the cost table in docs/operate.md", () => {
  let record: Measured;
  let written: string;
  let tables: Map<string, string[][]>;
  beforeAll(async () => {
    record = await readRecord();
    const page = await textOf("docs/operate.md");
    written = page.slice(page.indexOf(BEGIN) + BEGIN.length, page.indexOf(END)).trim();
    tables = tablesIn(written);
  });
  const rowsOf = (heading: string): string[][] => tables.get(heading)!;

  it("is what the record, the prices and the assumptions give", () => {
    expect(written).toBe(pageOf(record));
  });

  it("has dollars that are its figures times its prices", () => {
    const [heads, ...dollars] = rowsOf("One round, in dollars");
    const figures = new Map(
      rowsOf("One round, in figures").map(([name, ...cells]) => [name!.replace(", GB", ""), cells]),
    );
    const priced = new Map(rowsOf("Prices").map(([of, usd, per]) => [of!, Number(usd) / number(per!)]));
    expect(heads!.slice(1)).toEqual(scenarios.map(({ name }) => name));
    let checked = 0;
    for (const [name, ...cells] of dollars) {
      const line = lines.find((one) => one.name.replace(", GB", "") === name);
      if (!line) continue; // a sum
      for (const [i, cell] of cells.entries()) {
        const expected = number(figures.get(name!)![i]!) * priced.get(line.price.unit)!;
        expect(Math.abs(Number(cell) - expected), `${name}, ${scenarios[i]!.name}`).toBeLessThanOrEqual(0.000_051);
        checked += 1;
      }
    }
    expect(checked).toBe(lines.length * scenarios.length);
  });

  it("adds up, to the last digit that it shows", () => {
    const [, ...rows] = rowsOf("One round, in dollars");
    for (const [i] of scenarios.entries()) {
      const cellOf = (name: string): number => Number(rows.find(([head]) => head === name)![i + 1]);
      const sumOf = (...groups: string[]): number =>
        lines.reduce((sum, line) => sum + (groups.includes(line.group) ? cellOf(line.name.replace(", GB", "")) : 0), 0);
      expect(cellOf("AWS without transfer")).toBeCloseTo(sumOf("service"), 6);
      expect(cellOf("transfer out of AWS")).toBeCloseTo(sumOf("transfer"), 6);
      expect(cellOf("all of it")).toBeCloseTo(sumOf("service", "transfer", "gas"), 6);
    }
    const [, ...idle] = rowsOf("A month in which nothing goes on");
    const total = Number(idle.at(-1)![2]);
    expect(idle.at(-1)![0]).toBe("all of it");
    expect(idle.slice(0, -1).reduce((sum, [, , usd]) => sum + Number(usd), 0)).toBeCloseTo(total, 6);
    expect(idle.length - 1).toBe(idleLines.length);
  });

  it("counts each member's payloads and statements", () => {
    const [, ...rows] = rowsOf("One round, in figures");
    for (const [i, { members, bytes }] of scenarios.entries()) {
      const cellOf = (name: string): number => number(rows.find(([head]) => head === name)![i + 1]!);
      expect(cellOf("statements on the chain")).toBe(statementsOf(members));
      expect(cellOf("KMS signatures")).toBeLessThanOrEqual(statementsOf(members));
      const gigabytes = (members * bytes) / 2 ** 30;
      expect(cellOf("models to members outside of AWS, GB")).toBeCloseTo(gigabytes, 2);
      const parts = (3 * members + 1) * cellOf("parts of a payload");
      expect(cellOf("S3 PUT, POST, LIST") + cellOf("S3 GET, HEAD")).toBeGreaterThan(parts);
    }
  });

  it("states what it assumes", () => {
    const { blockTimeS, confirmations, lateMs, date } = record;
    for (const words of [
      `a block every ${blockTimeS} s, ${confirmations} confirmations`,
      `S3 ${lateMs.s3} ms and the node ${lateMs.rpc} ms away`,
      `${GAS.gwei} gwei, and a coin at ${GAS.coin} dollars`,
      "dollars = gas × price in gwei × 10⁻⁹ × price of a coin",
      "Cold starts are not in it",
      "without free quotas",
      date,
    ])
      expect(written).toContain(words);
    for (const { source } of Object.values(prices)) expect(source).toMatch(/^https:\/\/aws\.amazon\.com\/[\w/-]+\/$/);
    expect(gasPrice.usd).toBeCloseTo(GAS.gwei * 1e-3 * GAS.coin, 9);
  });

  it("has a model that is right about a round that it has not seen", () => {
    for (const { name, modelled, found } of checkRows(record)) {
      const allowed = /seconds/.test(name) ? 0.5 : 0.15; // time is of the machine
      expect(Math.abs(modelled / found - 1), name).toBeLessThan(allowed);
    }
    expect(record.gas.worstPercent).toBeLessThan(10);
  });

  it("knows the deployment that it reckons: memory, batches, alarms", async () => {
    const functions = await textOf("infra/functions.ts");
    for (const [name, gb] of Object.entries(MEMORY_GB))
      expect(functions).toContain(`${name}: { memory: "${gb * 1024} MB"`);
    expect(await textOf("infra/queue.ts")).toContain("batchSize: 10");
    const alarms = await textOf("infra/alarms.ts");
    const [all, over] = [alarms.match(/alarms\.raise\(/g)!.length, alarms.match(/summed\("/g)!.length];
    expect(ALARM_METRICS).toBe(all - over + 5 * over);
  });
});

describe("one counted round", () => {
  let bed: CostBed;
  beforeAll(async () => {
    bed = await CostBed.start({ blockTimeS: 1, confirmations: 0, lateMs: { s3: 0, rpc: 0 } });
  });
  afterAll(() => bed?.stop());

  it("has exactly the requests that its transfers take", async () => {
    const federation = await Federation.found(bed, { members: 2, parts: 2, partMiB: 5 });
    const [before, sent] = [bed.tally.copy(), bed.sent.length];
    await federation.play();
    const counts = bed.tally.since(before);
    await federation.leave();
    // A model and two updates up; a model to each of two, and two updates, down.
    expect(counts.get("api:uploads:begin")).toBe(3);
    expect(counts.get("api:uploads:finish")).toBe(6);
    expect(counts.get("api:downloads:download")).toBe(4);
    expect(counts.get("api:tasks:postReceipt")).toBe(4);
    expect(counts.get("api:tasks:postMessage")).toBe(2);
    expect(counts.get("s3:put:UploadPart")).toBe(6);
    expect(counts.get("s3:put:CompleteMultipartUpload")).toBe(3);
    expect(counts.get("s3:get:GetObject")).toBeGreaterThanOrEqual(8);
    expect(counts.get("api:polls:readEvents")).toBeGreaterThan(0);
    expect(counts.get("sqs:receive")).toBe(counts.get("sqs:delete"));
    expect(counts.get("sqs:send")).toBeGreaterThanOrEqual(counts.get("sqs:receive"));
    const gas = await bed.gas(bed.sent.slice(sent));
    expect(counts.get("kms:sign")).toBe(bed.sent.length - sent);
    const statements = gas.reduce((sum, one) => sum + one.notices + one.messages + one.receipts, 0);
    expect(statements).toBe(statementsOf(2));
    for (const { gas: used } of gas) expect(used).toBeGreaterThan(21_000);
  });
});

describe("what the reckoning is made of", () => {
  it("finds the coefficients that made the samples", () => {
    const made = { round: 7, member: 3, memberPart: 0.5 };
    const samples = [2, 4, 10].flatMap((members) =>
      [1, 13].map((parts) => {
        const features = { round: 1, member: members, memberPart: members * parts };
        return { features, value: predict(made, features) };
      }),
    );
    for (const [name, value] of Object.entries(leastSquares(samples)))
      expect(value).toBeCloseTo(made[name as keyof typeof made], 9);
    expect(() => leastSquares(samples.slice(0, 1))).toThrow("tell the features apart");
  });

  it("refuses to guess the price class of an operation", () => {
    expect(classOf({ operation: "UploadPart" })).toBe("put");
    expect(classOf({ operation: "HeadObject" })).toBe("get");
    expect(classOf({ operation: "DeleteObjects" })).toBe("free");
    expect(() => classOf({ operation: "RestoreObject" })).toThrow("Which price has S3's RestoreObject");
  });

  it("tells what was added since", () => {
    const tally = new Tally();
    tally.add("a", 2);
    const before = tally.copy();
    tally.add("a");
    tally.add("b:c", 4);
    expect(tally.since(before).entries()).toEqual({ a: 1, "b:c": 4 });
    expect(tally.sum("b:")).toBe(4);
  });
});
