import { parseArgs } from "node:util";
import { measure } from "./cost/measure.ts";
import { pageOf, readRecord, writePage, writeRecord } from "./cost/page.ts";
import { billsFor, totalOf } from "./cost/reckon.ts";

// What a round costs on AWS: rounds are played with everything counted, a linear model is fitted and tried, and prices are
// applied. Nothing talks to AWS.

const HELP = `npm run bench:cost -- [--record | --render] [--json]

Plays rounds on this machine (three minutes), and prints what they and larger ones would cost.
--record   also writes bench/cost/measured.json and the tables of docs/operate.md
--render   measures nothing: writes the tables again from that file, after a price or an assumption has changed
--json     what was counted, as one object`;

const flag = { type: "boolean", default: false } as const;
const { values } = parseArgs({ options: { record: flag, render: flag, json: flag, help: flag } });
const note = (text: string): void => void process.stderr.write(`${text}\n`);

if (values.help) process.stdout.write(`${HELP}\n`);
else {
  const measured = values.render ? await readRecord() : await measure(note);
  if (values.record) await writeRecord(measured);
  if (values.record || values.render) await writePage(measured);
  const bills = billsFor(measured).map((bill) => ({
    ...{ round: bill.scenario.name, services: totalOf(bill, "service") },
    ...{ transfer: totalOf(bill, "transfer"), gas: totalOf(bill, "gas") },
  }));
  process.stdout.write(`${values.json ? JSON.stringify({ measured, bills }) : pageOf(measured)}\n`);
}
