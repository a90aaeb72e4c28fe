import type { Command } from "./measure.ts";
import type { Office } from "./office.ts";
import type { Peer } from "./peers.ts";
import type { S3 } from "./servers.ts";

/** One file to be moved. */
export interface Item {
  /** Below the bucket, and below the folder of nginx. */
  readonly key: string;
  readonly name: string;
  /** The source on disk. */
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
  /** Files with manifests: the true one, and one whose digests are what nothing hashes to. */
  readonly manifest: string;
  readonly unhashed: string;
}

/** Where items are or go: a plain web server, or a store with its credentials. */
export interface Place {
  /** http://host:port */
  readonly origin: string;
  /** A certificate authority's file, for https. */
  readonly ca?: string;
  readonly s3?: S3["config"];
  /** Of the store. */
  readonly office?: Office;
}

/** What a tool is asked to do. */
export interface Job {
  readonly way: "download" | "upload";
  readonly place: Place;
  readonly items: readonly Item[];
  /** A folder for what is downloaded, or a prefix of keys for what is uploaded; new for every run. */
  readonly to: string;
  /** A folder for a tool's own files, such as its settings. */
  readonly scratch: string;
  /** Waybill's client that verifies nothing. */
  readonly unverified: string;
  /** On how many connections, where that is the question. */
  readonly connections?: number;
  /** What is downloaded must be on the disk when the tool has ended. */
  readonly durable?: boolean;
}

export interface Tool {
  readonly name: string;
  /** The peer that it takes. */
  readonly peer: string | null;
  /** As given to it; in the record. */
  readonly settings: string;
  /** What it checks of the bytes by itself, or sends along so that the store can. */
  verify(job: Pick<Job, "way" | "place">): string;
  /** Null when it can't do this. */
  command(job: Job, peer: Peer | null): Promise<Command | null>;
}

/** `many` items lie in a folder of their own, which tools may take as a whole. */
export function folderOf(items: readonly Item[]): { path: string; key: string } {
  const { path, key, name } = items[0]!;
  return { path: path.slice(0, -name.length), key: key.slice(0, -name.length) };
}

/** Where anybody can read an item. */
export async function urlOf({ place }: Job, { key }: Item): Promise<string> {
  return place.office ? place.office.plainGet(key) : `${place.origin}/bench/${key}`;
}

/** After `command`, the files are synced in the same measured time. */
export function synced(command: Command, { items, to, durable }: Job): Command {
  if (!durable) return command;
  const files = items.map(({ name }) => `${to}/${name}`);
  const line = `"$@" && exec sync ${files.map((file) => `'${file}'`).join(" ")}`;
  return { ...command, path: "sh", args: ["-c", line, "sh", command.path, ...command.args] };
}
