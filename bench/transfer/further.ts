import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { GiB, MiB } from "../../lib/protocol/limits.ts";
import type { Bed } from "./bed.ts";
import { isWanted, type Wanted } from "./cases.ts";
import { channelTrials } from "./channel.ts";
import type { DownloadOrder, UploadOrder } from "./client.ts";
import type { Command } from "./measure.ts";
import { sha256Of } from "./payload.ts";
import { type Link, startLink } from "./servers.ts";
import type { Item, Place, Tool } from "./tool.ts";
import { clientCommand, download, waybill } from "./tool-waybill.ts";
import { aria2c } from "./tools-http.ts";
import { awsClassic, rclone, s5cmd } from "./tools-s3.ts";
import { type Attempt, type Row, type Section, type Trial, trialOf } from "./trial.ts";

// The tables beside the side-by-side ones: bad links, many recipients, large payloads, many parts, the whole channel.

/** S3 gives one connection 85-90 MB/s; a far or crowded line gives it this. */
export const CAPPED: Link = { rate: 25 * MiB, delay: 50, breakEvery: 0 };
export const CAPPED_CONNECTIONS: readonly number[] = [4, 8, 16];
/** One part of a hundred breaks in its middle. */
const FAILING_PART: number = MiB;
const CLEAN: Link = { rate: 0, delay: 0, breakEvery: 0 };
const FAILING: Link = { ...CLEAN, breakEvery: 100 * FAILING_PART };
const FAN_OUT = [1, 4, 16];
/** Sixteen of them must fit beside everything else. */
const FAN_OUT_SIZE: number = 256 * MiB;
const LARGE: readonly number[] = [1, 4, 16];
const SMALL_PART: number = MiB / 16;
const PART_COUNTS = [100, 1_000, 10_000];

type Named = [name: string, make: () => Promise<Trial[]>];

/** What is wanted of the further tables; a whole run has them all. */
export function further(bed: Bed, wanted: Wanted): Section[] {
  const { cases, only } = wanted;
  const sections: Named[] = [
    ...CAPPED_CONNECTIONS.map((count): Named => [cappedName(count), () => capped(bed, wanted, count)]),
    ["capped link, as many as pay", () => capped(bed, wanted, undefined)],
    ["link without failures, 1 MiB parts", () => failing(bed, wanted, "link without failures, 1 MiB parts", CLEAN)],
    ["1 % of parts fail, 1 MiB parts", () => failing(bed, wanted, "1 % of parts fail, 1 MiB parts", FAILING)],
    ["fan-out", () => fanOut(bed)],
    ["payload of", () => large(bed)],
    ["parts of 64 KiB", () => manyParts(bed)],
    ["whole channel, embedded stack", () => channelTrials(bed, wanted.size)],
  ];
  const own = sections.filter(([name]) => isWanted(name, cases));
  return own.map(([name, make]) => ({
    name,
    trials: async () => (await make()).filter(({ tool }) => isWanted(tool, only)),
  }));
}

export function cappedName(connections: number): string {
  return `capped link, ${connections} connections`;
}

/** Of what these connections carry when all of them are full all the time. */
export function shareOfIdeal({ bytes, wallS }: Row, connections: number): number {
  return wallS === null ? 0 : bytes / (connections * CAPPED.rate) / wallS;
}

async function linked(bed: Bed, link: Link): Promise<Place> {
  const { origin, stop } = await startLink((await bed.web()).http, link);
  bed.undo(stop);
  return { origin };
}

async function trials(bed: Bed, tools: readonly Tool[], task: Parameters<typeof trialOf>[2]): Promise<Trial[]> {
  const found = await Promise.all(tools.map((tool) => trialOf(bed, tool, task)));
  return found.filter((trial) => trial !== null);
}

async function capped(bed: Bed, { size }: Wanted, connections: number | undefined): Promise<Trial[]> {
  const items = [await bed.item("capped/payload", size)];
  const name = connections === undefined ? "capped link, as many as pay" : cappedName(connections);
  const task = { case: name, way: "download", items, place: await linked(bed, CAPPED) } as const;
  const own = connections === undefined ? [waybill] : [waybill, aria2c, s5cmd, awsClassic, rclone];
  return trials(bed, own, connections === undefined ? task : { ...task, connections });
}

async function failing(bed: Bed, { size }: Wanted, name: string, link: Link): Promise<Trial[]> {
  const items = [await bed.item("failing/payload", size, { partSize: FAILING_PART })];
  return trials(bed, [waybill, aria2c, s5cmd], {
    case: name,
    way: "download",
    items,
    place: await linked(bed, link),
  });
}

/** Recipients are processes, as on machines of their own. */
async function fanOut(bed: Bed): Promise<Trial[]> {
  const item = await bed.item("fan/payload", FAN_OUT_SIZE);
  const place = await bed.http();
  const one = (recipients: number): Trial => ({
    ...about(`fan-out of 256 MiB to ${recipients}`, recipients * FAN_OUT_SIZE),
    begin: async () => {
      const folders = await Promise.all(Array.from({ length: recipients }, () => bed.folder()));
      const commands = await Promise.all(folders.map((to) => fetching(bed, place, item, to)));
      return { commands, check: () => same(item, folders), end: () => gone(folders) };
    },
  });
  return FAN_OUT.map(one);
}

/** Memory must not grow with the payload. What there is no room for is left out, and said. */
async function large(bed: Bed): Promise<Trial[]> {
  const found: Trial[] = [];
  for (const gib of LARGE) {
    const item = await bed.item(`large/${gib}`, gib * GiB, { sparse: true });
    const [down, up] = [await roomFor(bed, 1.5 * item.size), await roomFor(bed, 2.5 * item.size)]; // a store keeps the parts beside the whole
    if (!down || !up) process.stderr.write(`There is no room for a payload of ${gib} GiB, down or up.\n`);
    if (down) found.push(await largeDownload(bed, item, down));
    if (up) found.push(await largeUpload(bed, item, up));
  }
  return found;
}

async function roomFor(bed: Bed, size: number): Promise<"dir" | "disk" | null> {
  for (const where of ["dir", "disk"] as const) if ((await bed.room(where)) > size) return where;
  return null;
}

async function largeDownload(bed: Bed, item: Item, where: "dir" | "disk"): Promise<Trial> {
  const name = `payload of ${item.name} GiB, download to ${where === "dir" ? "memory" : "disk"}`;
  return {
    ...about(name, item.size),
    begin: async () => {
      const folders = [await bed.folder(where)];
      const commands = [await fetching(bed, await bed.http(), item, folders[0]!)];
      return { commands, check: () => same(item, folders), end: () => gone(folders) };
    },
  };
}

async function largeUpload(bed: Bed, item: Item, where: "dir" | "disk"): Promise<Trial> {
  const name = `payload of ${item.name} GiB, upload${where === "dir" ? "" : " to the embedded store, on a disk"}`;
  const task = { case: name, way: "upload", items: [item] } as const;
  return (await trialOf(bed, waybill, {
    ...task,
    place: await bed.store(where === "dir" ? "s3" : "embedded", where),
  }))!;
}

/** Time per part must not grow with their number: planning, signing, verifying, and going on after a kill. */
async function manyParts(bed: Bed): Promise<Trial[]> {
  const store = await bed.store("embedded");
  const found: Trial[] = [];
  for (const count of PART_COUNTS) {
    const item = await bed.item(`parts/${count}`, count * SMALL_PART, { partSize: SMALL_PART });
    found.push(partsDown(bed, item, count, await bed.http()), partsUp(bed, item, count, store));
    found.push(partsResumed(bed, item, count, await bed.http()));
  }
  return found;
}

function partsDown(bed: Bed, item: Item, count: number, place: Place): Trial {
  return {
    ...about(`${count} parts of 64 KiB, download`, item.size),
    begin: async () => {
      const folders = [await bed.folder()];
      const commands = [await fetching(bed, place, item, folders[0]!)];
      return { commands, check: () => same(item, folders), end: () => gone(folders) };
    },
  };
}

function partsUp(bed: Bed, item: Item, count: number, { origin, office }: Place): Trial {
  return {
    ...about(`${count} parts of 64 KiB, upload`, item.size),
    begin: async (): Promise<Attempt> => {
      const key = `up-${bed.fresh()}/parts`;
      const files = [{ path: item.path, key }];
      const order: UploadOrder = {
        ...{ kind: "upload", storeOrigin: origin, office: office!.url, files },
        ...{ atOnce: 1, checked: true, partSize: SMALL_PART },
      };
      const check = async (): Promise<void> => {
        const found = await fetch(await office!.plainGet(key), { method: "GET" });
        const path = join(await bed.folder(), "stored");
        await writeFile(path, new Uint8Array(await found.arrayBuffer()));
        if ((await sha256Of(path)) !== item.sha256) throw new Error("The store has other bytes.");
      };
      return { commands: [await ordered(bed, order)], check, end: () => office!.delete(key) };
    },
  };
}

/** The second of two calls, when the first was killed half-way. */
function partsResumed(bed: Bed, item: Item, count: number, place: Place): Trial {
  return {
    ...about(`${count} parts of 64 KiB, the second half after a kill`, item.size / 2),
    begin: async () => {
      const to = await bed.folder();
      const order = await orderOf(bed, place, item, to);
      const first = await ordered(bed, { ...order, dieAfter: count / 2 });
      await bed.stopwatch.run(first).then(
        () => Promise.reject(new Error("The first call was not killed.")),
        () => {},
      );
      return { commands: [await ordered(bed, order)], check: () => same(item, [to]), end: () => gone([to]) };
    },
  };
}

function about(name: string, bytes: number): Omit<Trial, "begin"> {
  return { case: name, tool: "waybill", verify: "sha-256", bytes };
}

async function orderOf(bed: Bed, place: Place, item: Item, to: string): Promise<DownloadOrder> {
  return download({ way: "download", place, items: [item], to, scratch: bed.disk, unverified: "" });
}

async function fetching(bed: Bed, place: Place, item: Item, to: string): Promise<Command> {
  return ordered(bed, await orderOf(bed, place, item, to));
}

async function ordered(bed: Bed, order: DownloadOrder | UploadOrder): Promise<Command> {
  const path = join(bed.disk, `order-${bed.fresh()}.json`);
  await writeFile(path, JSON.stringify(order));
  return clientCommand(path, {});
}

async function same(item: Item, folders: readonly string[]): Promise<void> {
  for (const folder of folders)
    if ((await sha256Of(join(folder, item.name))) !== item.sha256) throw new Error("Other bytes came than were sent.");
}

async function gone(folders: readonly string[]): Promise<void> {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
}
