import { appendFileSync } from "node:fs";
import type { Resource } from "./state.ts";
import { masked } from "./values.ts";

export type Operation = "create" | "update" | "same" | "delete";

/** One step of a run, as a person is told of it. */
export interface Step {
  readonly operation: Operation;
  readonly before?: Resource;
  readonly after?: Resource;
  /** Names of inputs that were added, changed or removed. */
  readonly changes: Readonly<Record<string, "add" | "update" | "delete">>;
}

/** The log of events that sst follows while the engine works. */
export class EventLog {
  readonly #path: string;
  readonly #counts: Partial<Record<Operation, number>> = {};
  #sequence = 0;

  constructor(path: string) {
    this.#path = path;
  }

  begin(): void {
    this.#write({ preludeEvent: { config: {} } });
  }

  step(step: Step, planning: boolean): void {
    const metadata = metadataOf(step);
    this.#counts[step.operation] = (this.#counts[step.operation] ?? 0) + 1;
    this.#write({ resourcePreEvent: { metadata, planning } });
    this.#write({ resOutputsEvent: { metadata, planning } });
  }

  say(severity: "info" | "warning" | "error", message: string, urn = ""): void {
    const diagnosticEvent = { urn, prefix: "", message: `${message}\n`, color: "never", severity };
    this.#write({ diagnosticEvent: { ...diagnosticEvent, streamID: 0, ephemeral: false } });
  }

  end(): void {
    const summaryEvent = { maybeCorrupt: false, durationSeconds: 0, resourceChanges: this.#counts, PolicyPacks: {} };
    this.#write({ summaryEvent });
  }

  #write(event: object): void {
    const line = { sequence: this.#sequence++, timestamp: Math.floor(Date.now() / 1000), ...event };
    appendFileSync(this.#path, `${JSON.stringify(line)}\n`);
  }
}

function metadataOf({ operation, before, after, changes }: Step): object {
  const { urn, type } = (after ?? before)!;
  const paths = Object.entries(changes).map(([name, diffKind]) => [name, { diffKind, inputDiff: true }]);
  return {
    op: operation,
    urn,
    type,
    old: before ? seen(before) : null,
    new: after ? seen(after) : null,
    keys: null,
    diffs: Object.keys(changes),
    detailedDiff: paths.length > 0 ? Object.fromEntries(paths) : null,
    provider: "",
  };
}

function seen({ urn, type, custom, id = "", parent = "", inputs, outputs }: Resource): object {
  return { urn, type, custom, id, parent, provider: "", inputs: masked(inputs), outputs: masked(outputs) };
}
