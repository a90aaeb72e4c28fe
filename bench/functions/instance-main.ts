import { pathToFileURL } from "node:url";
import type { Order, Report } from "./instance.ts";

// One instance of a function, under the Node that Lambda has: imports the bundle, and answers one event after another.

type Handler = (event: unknown, context: object) => Promise<unknown>;

const began = performance.now();
const idle = process.cpuUsage();
const { handler } = (await import(pathToFileURL(process.argv[2]!).href)) as { handler: Handler };
tell({ kind: "imported", ms: performance.now() - began, cpuMs: cpuSince(idle) });

process.on("message", ({ events }: Order) => void answer(events));

async function answer(events: readonly unknown[]): Promise<void> {
  const took: number[] = [];
  const answers: unknown[] = [];
  const before = process.cpuUsage();
  for (const event of events) {
    const begun = performance.now();
    answers.push(await handler(event, { getRemainingTimeInMillis: () => 60_000 }));
    took.push(performance.now() - begun);
  }
  tell({ kind: "answered", took, answers, cpuMs: cpuSince(before), rss: process.memoryUsage().rss });
}

function cpuSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

function tell(report: Report): void {
  process.send!(report);
}
