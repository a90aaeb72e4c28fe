import type { Writable } from "node:stream";
import type { Level, Sink } from "../functions/log.ts";

/** By what a line is passed on. */
export interface LinesOptions {
  /** As they come, JSON; else for people's eyes. */
  readonly json: boolean;
  /** Nothing below this. Default INFO. */
  readonly least?: Level;
}

const LEVELS: readonly Level[] = ["INFO", "WARN", "ERROR"];
/** What the head of a line says already. */
const HEAD = new Set(["time", "level", "service", "message"]);

/** Writes the log's lines, one each, to where programs or people read them. */
export function linesTo(out: Writable, { json, least = "INFO" }: LinesOptions): Sink {
  return (line, level) => {
    if (LEVELS.indexOf(level) < LEVELS.indexOf(least)) return;
    out.write(`${json ? line : readable(line)}\n`);
  };
}

/** 10:02:03 WARN publisher: a turn failed (code UNAVAILABLE, …) */
function readable(line: string): string {
  const facts = JSON.parse(line) as Record<string, unknown>;
  const rest = Object.entries(facts).filter(([name]) => !HEAD.has(name));
  const told = rest.map(([name, value]) => `${name} ${Array.isArray(value) ? value.join(" ") : String(value)}`);
  const time = String(facts.time).slice(11, 19);
  const about = told.length === 0 ? "" : ` (${told.join(", ")})`;
  return `${time} ${facts.level} ${facts.service}: ${facts.message}${about}`;
}
