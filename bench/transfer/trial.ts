import { createHash } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { GiB } from "../../lib/protocol/limits.ts";
import type { Bed } from "./bed.ts";
import { type Command, medians, type Sample } from "./measure.ts";
import { sha256Of } from "./payload.ts";
import type { Item, Job, Tool } from "./tool.ts";

/** One line of the result: what a tool took for a case. A tool that failed has an `error` and no figures. */
export interface Row {
  readonly case: string;
  readonly tool: string;
  /** What guards the bytes; "none": nothing. */
  readonly verify: string;
  readonly wallS: number | null;
  readonly gibPerS: number | null;
  readonly cpuS: number | null;
  readonly rssMiB: number | null;
  readonly bytes: number;
  readonly runs: number;
  readonly error?: string;
}

/** One run of it: what is measured, and what is looked at and tidied up outside of the measured time. */
export interface Attempt {
  /** All at the same time: the clock runs until the last has ended, processor times add up. */
  readonly commands: readonly Command[];
  /** @throws Error when what came is not what was sent. */
  check(): Promise<void>;
  end(): Promise<void>;
}

export interface Trial {
  readonly case: string;
  readonly tool: string;
  readonly verify: string;
  readonly bytes: number;
  begin(): Promise<Attempt>;
}

/** A part of the whole that is made ready when its turn comes. */
export interface Section {
  readonly name: string;
  trials(): Promise<Trial[]>;
}

/** A section that can't be made ready has a row that says why. */
export async function play(bed: Bed, { name, trials }: Section, runs: number): Promise<Row[]> {
  try {
    return await compete(bed, await trials(), runs);
  } catch (error) {
    return [rowOf({ case: name, tool: "all", verify: "none", bytes: 0 }, [], (error as Error).message)];
  }
}

/** Runs trials in turns, so that what the machine does meanwhile meets them all alike. */
async function compete(bed: Bed, trials: readonly Trial[], runs: number): Promise<Row[]> {
  const found = new Map<Trial, Sample[]>(trials.map((trial) => [trial, []]));
  const failed = new Map<Trial, string>();
  for (let run = 1; run <= runs; run++)
    for (const trial of trials) {
      if (failed.has(trial)) continue;
      process.stderr.write(`${trial.case}, ${trial.tool}: run ${run} of ${runs}\n`);
      const sample = await once(bed, trial, run === 1).catch((error: Error) => void failed.set(trial, error.message));
      if (sample) found.get(trial)!.push(sample);
    }
  return trials.map((trial) => rowOf(trial, found.get(trial)!, failed.get(trial)));
}

async function once(bed: Bed, trial: Trial, first: boolean): Promise<Sample> {
  const attempt = await trial.begin();
  try {
    const samples = await Promise.all(attempt.commands.map((command) => bed.stopwatch.run(command)));
    if (first) await attempt.check();
    return {
      wallS: Math.max(...samples.map(({ wallS }) => wallS)),
      cpuS: samples.reduce((sum, { cpuS }) => sum + cpuS, 0),
      rssMiB: Math.max(...samples.map(({ rssMiB }) => rssMiB)),
    };
  } finally {
    await attempt.end();
  }
}

function rowOf(trial: Omit<Trial, "begin">, samples: readonly Sample[], error: string | undefined): Row {
  const { tool, verify, bytes } = trial;
  const about = { case: trial.case, tool, verify, bytes, runs: samples.length };
  if (error !== undefined || samples.length === 0)
    return { ...about, wallS: null, gibPerS: null, cpuS: null, rssMiB: null, error: error ?? "not run" };
  const { wallS, cpuS, rssMiB } = medians(samples);
  const round = (value: number, digits: number): number => Number(value.toFixed(digits));
  const gibPerS = round(bytes / GiB / wallS, 3);
  return { ...about, wallS: round(wallS, 3), gibPerS, cpuS: round(cpuS, 2), rssMiB: Math.round(rssMiB) };
}

/** What is asked of a tool; where to and with what scratch follows from the run. */
export interface Task extends Omit<Job, "to" | "scratch" | "unverified"> {
  readonly case: string;
}

/** A tool doing a task; null when it can't, or isn't here. */
export async function trialOf(bed: Bed, tool: Tool, task: Task): Promise<Trial | null> {
  const peer = tool.peer === null ? null : bed.peers.get(tool.peer);
  if (peer === undefined) return null;
  const scratch = await bed.folder("disk");
  const job = async (): Promise<Job> => {
    const download = task.way === "download";
    const to = download ? await bed.folder(task.durable ? "disk" : "dir") : `up-${bed.fresh()}`;
    return { ...task, to, scratch, unverified: await bed.unverified() };
  };
  const asked = await job();
  if (task.way === "download") await rm(asked.to, { recursive: true });
  if ((await tool.command({ ...asked, to: join(scratch, "never") }, peer)) === null) return null;
  const begin = async (): Promise<Attempt> => {
    const now = await job();
    const command = (await tool.command(now, peer))!;
    return { commands: [command], check: () => check(now), end: () => tidy(now) };
  };
  const bytes = task.items.reduce((sum, { size }) => sum + size, 0);
  return { case: task.case, tool: tool.name, verify: tool.verify(task), bytes, begin };
}

async function check(job: Job): Promise<void> {
  for (const item of job.items) {
    const found = job.way === "download" ? await sha256Of(join(job.to, item.name)) : await storedSha256(job, item);
    if (found !== item.sha256) throw new Error(`${item.name} has other bytes at its end than at its beginning.`);
  }
}

async function storedSha256({ place, to }: Job, { name }: Item): Promise<string> {
  const answer = await fetch(await place.office!.plainGet(`${to}/${name}`));
  if (!answer.ok || !answer.body) throw new Error(`${name} is not in the store: ${answer.status}.`);
  const whole = createHash("sha256");
  for await (const chunk of answer.body) whole.update(chunk as Uint8Array);
  return whole.digest("hex");
}

async function tidy({ way, place, to, items }: Job): Promise<void> {
  if (way === "download") return rm(to, { recursive: true, force: true });
  // One that failed may have left nothing.
  for (const { name } of items) await place.office!.delete(`${to}/${name}`).catch(() => {});
}
