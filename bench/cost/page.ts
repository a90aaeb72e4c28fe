import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { GiB, MiB } from "../../lib/protocol/limits.ts";
import { predict } from "./fit.ts";
import type { Measured, Point } from "./measured.ts";
import { Model } from "./model.ts";
import { GAS, gasPrice, PRICES_OF, type Price, prices, REGION } from "./prices.ts";
import {
  ALARM_METRICS,
  type Bill,
  billsFor,
  type Cell,
  IDLE_METRICS,
  idleCalls,
  idleCells,
  idleLines,
  idleTotal,
  KEPT_HOURS,
  lines,
  MEMORY_GB,
  PLATFORM_LOG_BYTES,
  planFor,
  QUEUE_LOOKS_A_MINUTE,
  scenarios,
  totalOf,
} from "./reckon.ts";

export const PAGE: string = join("docs", "operate.md");
export const RECORD: string = join("bench", "cost", "measured.json");
/** Between these the harness writes; what stands around them is ours. */
export const BEGIN = "<!-- written by npm run bench:cost -- --record -->";
export const END = "<!-- end of what is written -->";

export async function readRecord(): Promise<Measured> {
  return JSON.parse(await readFile(RECORD, "utf8")) as Measured;
}

export async function writeRecord(measured: Measured): Promise<void> {
  await writeFile(RECORD, `${JSON.stringify(measured, null, 2)}\n`);
}

/** Writes the tables into docs/operate.md. @throws Error when the page has no place for them. */
export async function writePage(measured: Measured): Promise<void> {
  const page = await readFile(PAGE, "utf8");
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`${PAGE} has no place for the record.`);
  await writeFile(PAGE, `${page.slice(0, begin)}${BEGIN}\n\n${pageOf(measured)}\n\n${page.slice(end)}`);
}

export function pageOf(measured: Measured): string {
  const bills = billsFor(measured);
  return [
    summary(measured, bills),
    `### One round, in dollars\n\n${dollarsTable(bills)}`,
    `### One round, in figures\n\n${figuresTable(bills)}`,
    `### A month in which nothing goes on\n\n${idleTable(measured)}`,
    `### What is assumed\n\n${assumptions(measured)}`,
    `### What was counted\n\n${counted(measured)}`,
    `### Prices\n\n${priceTable()}`,
  ].join("\n\n");
}

/** What somebody in a hurry wants to know. */
function summary(measured: Measured, bills: readonly Bill[]): string {
  const each = bills.map((bill) => {
    const [own, out] = [totalOf(bill, "service"), totalOf(bill, "transfer")];
    return `${bill.scenario.name}: ${own.toFixed(2)}, and ${out.toFixed(2)} for transfer`;
  });
  const idle = idleTotal(idleCells(measured)).toFixed(2);
  return `In US dollars, without gas: a month in which nothing goes on ${idle}; a round (members x size of a model) ${each.join("; ")}.`;
}

const heads = scenarios.map(({ name }) => name);

function dollarsTable(bills: readonly Bill[]): string {
  const rowsOf = (...groups: string[]): string[][] =>
    lines.flatMap(({ name, group }, i) =>
      groups.includes(group) ? [[name.replace(", GB", ""), ...bills.map(({ cells }) => usd(cells[i]!.usd))]] : [],
    );
  const sum = (name: string, ...groups: Parameters<typeof totalOf>[1][]): string[] => [
    `**${name}**`,
    ...bills.map((bill) => `**${usd(totalOf(bill, ...groups))}**`),
  ];
  return markdown(
    ["US dollars", ...heads],
    [
      ...rowsOf("service"),
      sum("AWS without transfer", "service"),
      ...rowsOf("transfer"),
      sum("transfer out of AWS", "transfer"),
      ...rowsOf("gas"),
      sum("all of it", "service", "transfer", "gas"),
    ],
  );
}

function figuresTable(bills: readonly Bill[]): string {
  const rows = lines.map(({ name, decimals }, i) => [
    name,
    ...bills.map(({ cells }) => figure(cells[i]!.quantity, decimals)),
  ]);
  const calls = ["calls of the chain's node", ...bills.map(({ round }) => figure(callsOf(round), 0))];
  const parts = ["parts of a payload", ...scenarios.map((scenario) => figure(planFor(scenario).parts, 0))];
  const statements = ["statements on the chain", ...bills.map(({ round }) => figure(round.published.statements, 0))];
  return markdown(["", ...heads], [...rows, calls, statements, parts]);
}

function callsOf({ work, published, polled }: Bill["round"]): number {
  return work.rpc + published.rpc + polled.rpc;
}

function idleTable(measured: Measured): string {
  const cells = idleCells(measured);
  const rows = idleLines.map(({ name, decimals }, i) => [
    name,
    figure(cells[i]!.quantity, decimals),
    usd((cells[i] as Cell).usd),
  ]);
  const table = markdown(
    ["", "figure", "US dollars"],
    [...rows, ["**all of it**", "", `**${usd(idleTotal(cells))}**`]],
  );
  const calls = idleCalls(measured);
  const asked =
    calls === 0 ? "The chain's node isn't called" : `Beside that ${figure(calls, 0)} calls of the chain's node`;
  return `${table}\n\n${asked}, but for a few calls by each fresh instance of the publisher, and one an hour for the relayer's balance.`;
}

function assumptions({ blockTimeS, confirmations, lateMs, date, node, handlerMs }: Measured): string {
  // All sizes of one number of members.
  const pace = scenarios.slice(0, 2).map(({ bytes, busyMinutes, quietMinutes }) => {
    const size = bytes < GiB ? `${bytes / MiB} MiB` : `${bytes / GiB} GiB`;
    return `with ${size} everybody looks for news for ${busyMinutes} minutes while payloads travel, and the aggregator alone for ${quietMinutes} more while the others train`;
  });
  const memory = Object.entries(MEMORY_GB).map(([name, gb]) => `${name} ${gb * 1024} MB`);
  return [
    `A round: so many members and an aggregator beside them. It posts a message, sends its model to all in one transfer, gets an update of the same size of each, and posts another message. All over HTTPS, nobody with a node of its own; ${pace.join("; ")}. Without retries and resumes.`,
    `The chain: a block every ${blockTimeS} s, ${confirmations} confirmations. Members answer one after the other and not at once, so that transactions carry few statements; together they would be cheaper.`,
    `Gas: ${GAS.gwei} gwei, and a coin at ${GAS.coin} dollars. For another chain: dollars = gas × price in gwei × 10⁻⁹ × price of a coin. (At 20 gwei it is ${20 / GAS.gwei} times as much.) A layer 2 asks for its data on layer 1, too: its fee for a transaction of up to 128 KiB, most of it signatures, which nothing here knows. It may be a multiple of the gas.`,
    `Function time: ${words(handlerMs)} for a request, the handlers' medians on the machine that measured, which had its store, its chain and all members beside them (Node ${node}, ${date}), with S3 ${lateMs.s3} ms and the node ${lateMs.rpc} ms away. Most of it is waiting; but Lambda gives 512 MB less than a third of a core, so that its computing takes longer. Cold starts are not in it. Memory: ${memory.join(", ")}.`,
    "Requests share what a warm instance read from the chain's node in the last moments; with many members more of them would than was counted in small rounds, so that the node is called less.",
    `A payload lies in the bucket until its default deadline (10 minutes and a second per MiB), ${KEPT_HOURS.retention} h of retention, and up to ${KEPT_HOURS.sweeper} h until the sweeper comes.`,
    `Logs: the functions' own lines as counted, and ${PLATFORM_LOG_BYTES.invocation} bytes for each invocation, ${PLATFORM_LOG_BYTES.request} for each request and ${PLATFORM_LOG_BYTES.metrics} for each line of metrics.`,
    `When nothing goes on: ${ALARM_METRICS} metrics under the alarms, ${IDLE_METRICS} metrics of our own that are written all the time (the others cost ${prices.metric.usd} dollars a month each, by the hours in which they count something), ${QUEUE_LOOKS_A_MINUTE} looks a minute of Lambda at the queue. The sweeper's listings and kept logs are cents, and not in it.`,
    "The chain's node is not priced: count its calls. Where members or the aggregator run in the bucket's region, their transfer costs nothing.",
  ]
    .map((text) => `- ${text}`)
    .join("\n");
}

function words(handlerMs: Measured["handlerMs"]): string {
  return Object.entries(handlerMs)
    .map(([name, ms]) => `${name} ${ms} ms`)
    .join(", ");
}

function counted(measured: Measured): string {
  const points = [...measured.points, measured.check];
  const table = markdown(
    ["members", "parts", "API", "looks", "S3 PUT", "S3 GET", "SQS", "KMS", "node", "gas", "publisher s"],
    points.map((point) => countsOf(point)),
  );
  const { gas, check } = measured;
  return [
    "Rounds that were played on the embedded stack with the functions as AWS runs them. The last one is not in the model: it is there to try it.",
    table,
    `The model is linear in the round, its members, and the parts of each size that are moved; the publisher's in statements and steps. For the last round, with ${check.members} members and ${check.parts} parts of ${check.partMiB} MiB, it says:`,
    checkTable(measured),
    `A transaction's gas, fitted over ${gas.transactions} of them (the worst is ${gas.worstPercent} % off): ${gasWords(measured)}.`,
  ].join("\n\n");
}

function countsOf({ members, parts, partMiB, work, published, polled }: Point): (string | number)[] {
  return [
    ...[members, `${parts} x ${partMiB} MiB`, work.uploads + work.downloads + work.tasks, polled.requests],
    ...[work.put + published.put, work.get + published.get, published.sqs, published.transactions],
    ...[work.rpc + published.rpc + polled.rpc, figure(published.gas, 0), published.seconds.toFixed(1)],
  ];
}

/** How far off the model is, on a round that it has not seen. */
export function checkRows(measured: Measured): { name: string; modelled: number; found: number }[] {
  const model = new Model(measured);
  const { work, published } = measured.check;
  const modelled = model.workIn(measured.check);
  const { statements, steps, gas, transactions } = published;
  const publisher = model.publishedIn(statements, steps, gas, transactions);
  const requests = (one: typeof work): number => one.uploads + one.downloads + one.tasks;
  return [
    { name: "API requests", modelled: requests(modelled), found: requests(work) },
    { name: "members' and functions' S3 PUT", modelled: modelled.put, found: work.put },
    { name: "members' and functions' S3 GET", modelled: modelled.get, found: work.get },
    { name: "functions' calls of the node", modelled: modelled.rpc, found: work.rpc },
    { name: "publisher's S3 PUT", modelled: publisher.put, found: published.put },
    { name: "publisher's S3 GET", modelled: publisher.get, found: published.get },
    { name: "publisher's calls of the node", modelled: publisher.rpc, found: published.rpc },
    { name: "publisher's seconds", modelled: publisher.seconds, found: published.seconds },
  ];
}

function checkTable(measured: Measured): string {
  const rows = checkRows(measured).map(({ name, modelled, found }) => {
    const decimals = name.includes("seconds") ? 1 : 0;
    const off = found === 0 ? "" : `${Math.round(100 * (modelled / found - 1)) || 0} %`; // and never "-0"
    return [name, figure(modelled, decimals), figure(found, decimals), off];
  });
  return markdown(["", "model", "counted", "off by"], rows);
}

function gasWords({ gas }: Measured): string {
  const names = {
    transactions: "the transaction itself",
    notices: "each notice",
    messages: "each message",
    receipts: "each receipt",
    answered: "each notice that receipts answer",
  } as const;
  const words = Object.entries(names).map(([name, words]) => {
    const only = Object.fromEntries(Object.keys(names).map((other) => [other, other === name ? 1 : 0]));
    return `${words} ${figure(predict(gas.coefficients, only), 0)}`;
  });
  return words.join(", ");
}

function priceTable(): string {
  const all: readonly Price[] = [...Object.values(prices), gasPrice];
  const rows = all.map(({ usd, per, unit, source }) => [unit, `${usd}`, figure(per, 0), source]);
  const intro = `Public list prices of ${REGION}, first tier, without free quotas and tax, written down on ${PRICES_OF} (bench/cost/prices.ts). AWS's own pages count:`;
  return `${intro}\n\n${markdown(["of", "US dollars", "for", "source"], rows)}`;
}

function usd(amount: number): string {
  return amount.toFixed(4);
}

/** Digits in groups of three. */
function figure(value: number, decimals: number): string {
  return value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

function markdown(heads: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const line = (cells: readonly (string | number)[]): string => `| ${cells.join(" | ")} |`;
  return [line(heads), line(heads.map((_, i) => (i === 0 ? "---" : "---:"))), ...rows.map(line)].join("\n");
}
