import { readPayloadKey } from "../keys.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { SweepReport } from "./report.ts";

/** Tells the operator what a run did: in one line, and one more for what needs a look. */
export function tellSweep(log: Log, metrics: Metrics, report: SweepReport): void {
  const { swept, aborted, milliseconds, damaged, fault } = report;
  if (fault === null) metrics.count("Sweeps");
  metrics.count("SweptPayloads", swept.payloads);
  metrics.count("SweptBytes", swept.bytes);
  metrics.count("AbortedUploads", aborted);
  const next = report.next && readPayloadKey(report.next.key)?.ref;
  log.info("a sweep has ended", {
    ...{ count: swept.payloads, bytes: swept.bytes, ms: milliseconds, detail: inWords(report) },
    ...(next && { task: next.task, account: next.sender, transfer: next.transfer }),
  });
  for (const { task, sender, transfer } of damaged)
    log.alarm("RECORD_DAMAGED", "a transfer's record is damaged", { task, account: sender, transfer });
  if (fault !== null) log.warn("a sweep was held up", { detail: fault });
}

function inWords({ looked, aborted, left, next }: SweepReport): string {
  const kept = Object.entries(left).map(([reason, count]) => `${count} ${reason}`);
  const seen = `looked at ${looked.uploads} uploads and ${looked.payloads} payloads, aborted ${aborted} uploads`;
  return `${seen}; left: ${kept.join(", ") || "none"}; ${next ? `goes on in the ${next.pass}` : "came to the end"}`;
}
