import { mkdir, mkdtemp, rm, statfs, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MiB } from "../../lib/protocol/limits.ts";
import { Stopwatch } from "./measure.ts";
import { Office } from "./office.ts";
import { makePayload, manifestOf, sha256Of } from "./payload.ts";
import type { Peer } from "./peers.ts";
import { caOf, type S3, startEmbedded, startNginx, startVersity, type Web } from "./servers.ts";
import type { Item, Job, Place } from "./tool.ts";
import { waybill } from "./tool-waybill.ts";
import { makeUnverified, UNHASHED } from "./unhashed.ts";

/** The many small ones: as many as a round has members, of a small model's size. */
const MANY = 64;
const SMALL: number = 4 * MiB;

/** Payloads, servers that have them, and room for what comes. In memory, so that no disk is what is measured. */
export class Bed {
  /** In memory where the system has a folder there. */
  readonly dir: string;
  /** On a disk. */
  readonly disk: string;
  readonly peers: ReadonlyMap<string, Peer>;
  readonly stopwatch: Stopwatch;
  #unverified: Promise<string> | undefined;
  #web: Web | null = null;
  readonly #stores = new Map<string, Place>();
  readonly #undo: (() => unknown)[] = [];
  /** Guarded servers keep no process alive, and we wait for what they say. */
  readonly #alive: NodeJS.Timeout = setInterval(() => {}, 60_000);
  #count = 0;

  static async make(peers: ReadonlyMap<string, Peer>): Promise<Bed> {
    const time = peers.get("time");
    if (!time) throw new Error("The benchmark needs GNU time (Debian: apt-get install time).");
    const memory = await statfs("/dev/shm").then(
      () => "/dev/shm",
      () => tmpdir(),
    );
    const dirs = [await mkdtemp(join(memory, "waybill-bench-")), await mkdtemp(join(tmpdir(), "waybill-bench-"))];
    return new Bed(dirs[0]!, dirs[1]!, peers, new Stopwatch(time.path, dirs[1]!));
  }

  private constructor(dir: string, disk: string, peers: ReadonlyMap<string, Peer>, stopwatch: Stopwatch) {
    this.dir = dir;
    this.disk = disk;
    this.peers = peers;
    this.stopwatch = stopwatch;
    for (const one of [dir, disk]) this.undo(() => rm(one, { recursive: true, force: true, maxRetries: 3 }));
  }

  /** To be done at the end, newest first. */
  undo(step: () => unknown): void {
    this.#undo.unshift(step);
  }

  async stop(): Promise<void> {
    for (const step of this.#undo.splice(0)) await step();
    clearInterval(this.#alive);
  }

  /** Free bytes, in memory or on the disk. */
  async room(where: "dir" | "disk"): Promise<number> {
    const { bavail, bsize } = await statfs(this[where]);
    return bavail * bsize;
  }

  /** A name that was never used. */
  fresh(): string {
    return String(this.#count++);
  }

  /** A new folder below one of ours. */
  async folder(where: "dir" | "disk" = "dir"): Promise<string> {
    const path = join(this[where], `out-${this.fresh()}`);
    await mkdir(path);
    return path;
  }

  /** Waybill's client that verifies nothing. */
  unverified(): Promise<string> {
    this.#unverified ??= makeUnverified(join(this.disk, "unverified"));
    return this.#unverified;
  }

  // ---- payloads

  /** @param sparse Zeros that take no room; for what is too large to be made of anything else. */
  async item(key: string, size: number, options: { partSize?: number; sparse?: boolean } = {}): Promise<Item> {
    const path = join(this.dir, "files", key);
    const name = key.slice(key.lastIndexOf("/") + 1);
    await mkdir(path.slice(0, -name.length), { recursive: true });
    if (options.sparse) {
      await writeFile(path, "");
      await truncate(path, size);
    }
    const sha256 = options.sparse ? await sha256Of(path) : (await makePayload(path, size)).sha256;
    const manifest = await manifestOf({ path, size }, options.partSize);
    const manifests = join(this.disk, `manifest-${this.fresh()}`);
    await writeFile(manifests, JSON.stringify(manifest));
    const unhashed = { ...manifest, parts: manifest.parts.map(() => UNHASHED) };
    await writeFile(`${manifests}-unhashed`, JSON.stringify(unhashed));
    return { key, name, path, size, sha256, manifest: manifests, unhashed: `${manifests}-unhashed` };
  }

  async many(): Promise<Item[]> {
    const items: Item[] = [];
    for (let i = 0; i < MANY; i++) items.push(await this.item(`many/${String(i).padStart(2, "0")}`, SMALL));
    return items;
  }

  // ---- servers

  /** @throws Error when there is no nginx */
  async web(): Promise<Web> {
    const nginx = this.peers.get("nginx");
    if (!nginx) throw new Error("There is no nginx.");
    this.#web ??= await startNginx(nginx, this.dir, join(this.dir, "files"));
    this.undo(() => this.#web?.stop());
    return this.#web;
  }

  async http(): Promise<Place> {
    return { origin: (await this.web()).http };
  }

  async https(): Promise<Place> {
    return { origin: (await this.web()).https, ca: caOf(this.dir) };
  }

  /** @throws Error when there is no versitygw */
  async store(kind: "s3" | "embedded", where: "dir" | "disk" = "dir"): Promise<Place> {
    const name = `${kind} ${where}`;
    const known = this.#stores.get(name);
    if (known) return known;
    const s3 = await this.#startStore(kind, this[where]);
    this.undo(() => s3.stop());
    const office = await Office.open(s3.config);
    this.undo(() => office.close());
    const place = { origin: s3.config.s3Endpoint, s3: s3.config, office };
    this.#stores.set(name, place);
    return place;
  }

  /** Brings items into a store, under their keys. */
  async fill(place: Place, items: readonly Item[]): Promise<void> {
    const { key, name } = items[0]!;
    const own = { scratch: await this.folder(), unverified: "" };
    const job: Job = { way: "upload", place, items, to: key.slice(0, -name.length - 1), ...own };
    await this.stopwatch.run((await waybill.command(job, null))!);
  }

  async #startStore(kind: "s3" | "embedded", dir: string): Promise<S3> {
    if (kind === "embedded") return startEmbedded(dir);
    const versity = this.peers.get("versitygw");
    if (!versity) throw new Error("There is no versitygw.");
    return startVersity(versity, dir);
  }
}
