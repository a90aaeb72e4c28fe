import { expect, it } from "vitest";
import { type Load, load, quantile } from "../support/load.ts";
import { Scene } from "../support/members.ts";
import { asked, origin, record, table } from "./report.ts";

// npm run load -- --minutes N [--record]. Who asks and who answers share this process, so the server alone can do more.

/** Enough to keep a processor at work. */
const CALLERS = 8;
/** Open takes so many members at once. */
const MEMBERS = 256;

it("signed requests held for minutes, then three times as many, then the usual again", async () => {
  const { minutes, record: kept } = asked();
  const held = (minutes ?? 3) * 60_000;
  const scene = await Scene.start();
  try {
    const cast = await scene.cast(MEMBERS);
    const during = async (callers: number, ms: number): Promise<Load> => {
      const end = performance.now() + ms;
      return load(cast, callers, () => performance.now() < end);
    };
    const memory = [process.memoryUsage().rss];
    const usual = await during(CALLERS, held);
    memory.push(process.memoryUsage().rss);
    const flood = await during(3 * CALLERS, held / 3);
    memory.push(process.memoryUsage().rss);
    const begun = performance.now();
    const after = await load(cast, 1, (asked) => asked < 5);
    const recovery = performance.now() - begun;
    const told = { "1 time": usual, "3 times": flood, afterwards: after };
    const rows = Object.entries(told).map(([name, one]) => rowOf(name, one));
    const words = `Five requests one after the other, right afterwards, took ${recovery.toFixed(0)} ms. Memory (RSS, MiB) before, after the first, after the second: ${memory.map(mib).join(", ")}.`;
    const page = [origin(`npm run load -- --minutes ${minutes ?? 3} --record`), table(HEAD, rows), words].join("\n\n");
    process.stdout.write(`${page}\n`);
    for (const status of [...usual.statuses.keys(), ...flood.statuses.keys()])
      expect([200, 429, 503]).toContain(status);
    expect([...after.statuses]).toEqual([[200, 5]]);
    if (kept) await record("load", page);
  } finally {
    await scene.stop();
  }
});

const HEAD = ["load", "answered a second", "p50, ms", "p99, ms", "answers"];

function rowOf(name: string, { statuses, latencies, seconds }: Load): string[] {
  const answers = [...statuses].map(([status, count]) => `${status}: ${count}`).join(", ");
  const [half, most] = [quantile(latencies, 0.5), quantile(latencies, 0.99)];
  return [name, (latencies.length / seconds).toFixed(1), half.toFixed(0), most.toFixed(0), answers];
}

function mib(bytes: number): string {
  return (bytes / 1024 / 1024).toFixed(0);
}
