import { createHash } from "node:crypto";
import { rm } from "node:fs/promises";
import type { Api } from "../../lib/api.ts";
import { MiB } from "../../lib/protocol/limits.ts";
import { transferId } from "../../lib/protocol/manifest.ts";
import type { PartRequest } from "../../lib/protocol/requests.ts";
import { type Bundle, bundle, type FunctionName, functionNames } from "./bundle.ts";
import { checkServed, eventIn, type HttpEvent } from "./event.ts";
import { Instance } from "./instance.ts";
import type { Member, World } from "./world.ts";

/** Processes in which each bundle is imported. */
const IMPORTS = 7;
const CALLS = 100;
/** The hundredth call is the median of the last so many: a single one may meet a collection of garbage. */
const LAST = 9;
const REQUESTS = 150;
const WARMING = 50;
const SIGNED = 64;
const PART: number = 8 * MiB;

export interface FunctionRow {
  readonly name: FunctionName;
  /** What a usual call has in memory of it. */
  readonly kib: number;
  /** Of the whole zip. */
  readonly allKib: number;
  readonly importMs: number;
  /** What the processor did of it: of a busy machine, this alone says something. */
  readonly importCpuMs: number;
  readonly firstMs: number;
  readonly hundredthMs: number;
  readonly rssMiB: number;
  /** Who takes the most of what is in memory, in KiB. */
  readonly largest: readonly (readonly [string, number])[];
}

export interface RouteRow {
  readonly name: string;
  readonly perSecond: number;
  readonly medianMs: number;
  /** Of the function's process, per request. */
  readonly cpuMs: number;
}

/** What the functions are measured with. */
export interface Bench {
  readonly world: World;
  readonly node: string;
  readonly bundles: Readonly<Record<FunctionName, Bundle>>;
}

/** All bundles, without the files that no usual call needs. */
export async function bundleAll(dir: string): Promise<Record<FunctionName, Bundle>> {
  const made = await Promise.all(functionNames.map(async (name) => [name, await bundle(name, dir)] as const));
  await Promise.all(made.flatMap(([, { spare }]) => spare.map((path) => rm(path))));
  return Object.fromEntries(made) as Record<FunctionName, Bundle>;
}

export async function startAll({ node, bundles, world }: Bench): Promise<Record<FunctionName, Instance>> {
  const started = await Promise.all(
    functionNames.map(async (name) => [name, await Instance.start(node, bundles[name].path, world.env)] as const),
  );
  return Object.fromEntries(started) as Record<FunctionName, Instance>;
}

export async function measureFunction(bench: Bench, name: FunctionName): Promise<FunctionRow> {
  const { node, world, bundles } = bench;
  const { path, bytes, allBytes, holds } = bundles[name];
  const imports: Instance["imported"][] = [];
  for (let i = 0; i < IMPORTS; i++) {
    const instance = await Instance.start(node, path, world.env);
    imports.push(instance.imported);
    await instance.stop();
  }
  const instance = await Instance.start(node, path, world.env);
  try {
    const { took, answers, rss } = await instance.run(await usualEvents(world, name));
    if (name !== "publisher" && name !== "sweeper") checkServed(answers);
    return {
      name,
      kib: round(bytes / 1024),
      allKib: round(allBytes / 1024),
      importMs: round(median(imports.map(({ ms }) => ms))),
      importCpuMs: round(median(imports.map(({ cpuMs }) => cpuMs))),
      firstMs: round(took[0]!),
      hundredthMs: round(median(took.slice(-LAST))),
      rssMiB: round(rss / MiB),
      largest: [...holds]
        .sort(([, a], [, b]) => b - a)
        .slice(0, 8)
        .map(([owner, size]) => [owner, round(size / 1024)]),
    };
  } finally {
    await instance.stop();
  }
}

/** A hundred of what the function does most. */
async function usualEvents(world: World, name: FunctionName): Promise<readonly unknown[]> {
  switch (name) {
    case "uploads":
      return signing(world, "bench/first", CALLS, SIGNED);
    case "downloads":
      return events(world, CALLS, (api) => api.download(world.task, world.notice));
    case "tasks": {
      const { signal } = new AbortController();
      return events(world, CALLS, (api) => api.events(world.task, { seq: 0, block: 0 }, signal));
    }
    default:
      return Array.from({ length: CALLS }, () => ({}));
  }
}

/** Requests per second of one warm process, which answers one after the other, as Lambda's instances do. */
export async function measureRoutes(bench: Bench): Promise<RouteRow[]> {
  const { world } = bench;
  let begun = 0;
  const begin = (count: number) =>
    events(world, count, (api) =>
      api.begin(world.task, { transfer: transferId(`bench/begin-${begun++}`), size: PART }),
    );
  const download = (count: number) => events(world, count, (api) => api.download(world.task, world.notice));
  return [
    await measureRoute(bench, "begin", "uploads", begin),
    await measureRoute(bench, "sign 1", "uploads", (count) => signing(world, "bench/one", count, 1)),
    await measureRoute(bench, `sign ${SIGNED}`, "uploads", (count) => signing(world, "bench/many", count, SIGNED)),
    await measureRoute(bench, "download", "downloads", download),
  ];
}

async function measureRoute(
  { node, bundles, world }: Bench,
  name: string,
  served: FunctionName,
  make: (count: number) => Promise<readonly HttpEvent[]>,
): Promise<RouteRow> {
  const instance = await Instance.start(node, bundles[served].path, world.env);
  try {
    checkServed((await instance.run(await make(WARMING))).answers);
    const { took, answers, cpuMs } = await instance.run(await make(REQUESTS)); // a signature is good for a minute
    checkServed(answers);
    const total = took.reduce((sum, ms) => sum + ms, 0);
    return {
      name,
      perSecond: round((1_000 * took.length) / total),
      medianMs: round(median(took), 100),
      cpuMs: round(cpuMs / took.length, 100),
    };
  } finally {
    await instance.stop();
  }
}

/** A begin, and then only requests for URLs. */
async function signing(world: World, tag: string, count: number, urls: number): Promise<HttpEvent[]> {
  const transfer = transferId(tag);
  const parts: PartRequest[] = Array.from({ length: urls }, (_, i) => ({
    number: i + 1,
    length: PART,
    sha256: createHash("sha256").update(`${i}`).digest("base64"),
  }));
  return events(world, count, (api, i) =>
    i < world.members.length - 1
      ? api.begin(world.task, { transfer, size: PART * SIGNED, partSize: PART })
      : api.signParts(world.task, transfer, parts),
  );
}

/** Signed requests of the members in turn, but for the first, who sent what the others download. */
async function events(
  world: World,
  count: number,
  call: (api: Api, nth: number) => Promise<unknown>,
): Promise<HttpEvent[]> {
  const [, ...members] = world.members;
  const made: HttpEvent[] = [];
  for (let i = 0; i < count; i++) {
    const member: Member = members[i % members.length]!;
    made.push(await eventIn((send) => call(world.api(member, send), i)));
  }
  return made;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

function round(value: number, by = 10): number {
  return Math.round(value * by) / by;
}
