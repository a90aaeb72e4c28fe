import { MiB } from "../../lib/protocol/limits.ts";
import type { Bed } from "./bed.ts";
import type { Item, Place, Tool } from "./tool.ts";
import { unverified, waybill } from "./tool-waybill.ts";
import { aria2c, curl, hfTransfer } from "./tools-http.ts";
import { awsClassic, awsCrt, awsCrtSha, awsSdk, awsSdkSha, rclone, s5cmd } from "./tools-s3.ts";
import { type Section, type Task, type Trial, trialOf } from "./trial.ts";

/** In the order of the tables. */
export const tools: readonly Tool[] = [
  waybill,
  unverified,
  curl,
  aria2c,
  hfTransfer,
  awsClassic,
  awsCrt,
  awsCrtSha,
  s5cmd,
  rclone,
  awsSdk,
  awsSdkSha,
];

/** Tools that a case is about, if not all. */
const HTTP_ONLY: readonly Tool[] = [waybill, curl, aria2c, s5cmd, rclone];
const FOR_TINY: readonly Tool[] = [waybill, curl, aria2c, hfTransfer, awsClassic, awsCrt, s5cmd, rclone, awsSdk];

export interface Wanted {
  /** Bytes of the one large file. */
  readonly size: number;
  /** Parts of names; all without. */
  readonly only: readonly string[];
  readonly cases: readonly string[];
  /** The two main cases alone. */
  readonly quick: boolean;
}

interface Case {
  readonly name: string;
  readonly tools?: readonly Tool[];
  readonly quick?: boolean;
  task(bed: Bed): Promise<Omit<Task, "case">>;
}

/** The side-by-side cases; what they share is made once, and only if one of them is wanted. */
function casesOf({ size }: Wanted): Case[] {
  const shared = new Map<string, Promise<unknown>>();
  const share = <T>(name: string, make: () => Promise<T>): Promise<T> => {
    if (!shared.has(name)) shared.set(name, make());
    return shared.get(name) as Promise<T>;
  };
  const one = (bed: Bed): Promise<Item[]> => share("one", async () => [await bed.item("one/payload", size)]);
  const many = (bed: Bed): Promise<Item[]> => share("many", () => bed.many());
  const tiny = (bed: Bed): Promise<Item[]> => share("tiny", async () => [await bed.item("tiny/byte", 1)]);
  const filled = (bed: Bed, kind: "s3" | "embedded", items: Item[]): Promise<Place> =>
    share(`${kind} ${items[0]!.key}`, async () => {
      const place = await bed.store(kind);
      await bed.fill(place, items);
      return place;
    });
  const down = { way: "download" } as const;
  const up = { way: "upload" } as const;
  return [
    {
      name: "start-up (1 byte)",
      tools: FOR_TINY,
      task: async (bed) => ({ ...down, items: await tiny(bed), place: await bed.http() }),
    },
    {
      name: "download, HTTP",
      quick: true,
      task: async (bed) => ({ ...down, items: await one(bed), place: await bed.http() }),
    },
    { name: "download, HTTPS", task: async (bed) => ({ ...down, items: await one(bed), place: await bed.https() }) },
    {
      name: "download, S3",
      task: async (bed) => ({ ...down, items: await one(bed), place: await filled(bed, "s3", await one(bed)) }),
    },
    {
      name: "upload, S3",
      quick: true,
      task: async (bed) => ({ ...up, items: await one(bed), place: await bed.store("s3") }),
    },
    {
      name: "download 64 x 4 MiB, S3",
      task: async (bed) => ({ ...down, items: await many(bed), place: await filled(bed, "s3", await many(bed)) }),
    },
    {
      name: "upload 64 x 4 MiB, S3",
      task: async (bed) => ({ ...up, items: await many(bed), place: await bed.store("s3") }),
    },
    {
      name: "download, embedded store",
      tools: [waybill, curl, aria2c],
      task: async (bed) => ({ ...down, items: await one(bed), place: await filled(bed, "embedded", await one(bed)) }),
    },
    {
      name: "upload, embedded store",
      tools: [waybill, curl],
      task: async (bed) => ({ ...up, items: await one(bed), place: await bed.store("embedded") }),
    },
    {
      name: "durable download to a disk, HTTP",
      tools: HTTP_ONLY,
      task: async (bed) => ({ ...down, items: await one(bed), place: await bed.http(), durable: true }),
    },
  ];
}

/** For each case the tools that can do it and are here. */
export function sideBySide(bed: Bed, wanted: Wanted): Section[] {
  const named = casesOf(wanted).filter(
    ({ name, quick = false }) => isWanted(name, wanted.cases) && (quick || !wanted.quick),
  );
  const trials = async (one: Case): Promise<Trial[]> => {
    const task: Task = { ...(await one.task(bed)), case: one.name };
    const found = (one.tools ?? tools).filter(({ name }) => isWanted(name, wanted.only));
    const able = await Promise.all(found.map((tool) => trialOf(bed, tool, task)));
    return able.filter((trial) => trial !== null);
  };
  return named.map((one) => ({ name: one.name, trials: () => trials(one) }));
}

/** Whether a name holds one of these words. */
export function isWanted(name: string, words: readonly string[]): boolean {
  return words.length === 0 || words.some((word) => name.includes(word));
}

export const QUICK_SIZE: number = 256 * MiB;
