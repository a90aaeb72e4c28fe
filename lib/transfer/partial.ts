import type { FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import type { Hex } from "../protocol/hex.ts";
import { MiB } from "../protocol/limits.ts";
import type { Manifest } from "../protocol/manifest.ts";
import { type Part, partAt, partsOf } from "../protocol/plan.ts";
import type { PartSink } from "./download.ts";
import { attempt, checkSpace, type Makers, makeFile, openOwn, removeFile, syncFolder, writeAll } from "./file.ts";
import { sha256 } from "./hash.ts";
import { Journal } from "./journal.ts";
import { giveMemory, takeMemory } from "./memory.ts";

/**
 * What a power cut may cost: this much, or what came in this time, and what is being synced. Bytes and journal need no order,
 * because a line is believed only with its bytes; and what is on the disk already the last sync need not wait for.
 */
const SYNC_BYTES: number = 64 * MiB;
const SYNC_MS = 5_000;
/** One is read while another is hashed. */
const READERS = 2;
/** What a file takes is counted in these, whatever the disk's own are. */
const BLOCK = 512;

/** Where a payload is while it is not whole. */
export interface PartialPlace {
  /** The file that it will be. */
  readonly path: string;
  /** The file that it is until then; the journal is beside it. */
  readonly part: string;
  readonly makers: Makers;
}

/** What has come of a payload, so that another call, also after this process has ended, goes on from there. */
export class Partial implements PartSink {
  /** Parts of an earlier call that are right. */
  readonly held: ReadonlySet<number>;
  readonly #path: string;
  readonly #part: string;
  readonly #size: number;
  readonly #file: FileHandle;
  /** None for a single part: whether it is there, it says itself. */
  readonly #journal: Journal | null;
  #writing: Promise<unknown> = Promise.resolve();
  #unsynced = 0;
  #synced: number = performance.now();
  #syncing: Promise<void> | null = null;
  #fault: unknown = null;
  #named = false;

  /**
   * Goes on from what is there, or begins.
   * @throws WaybillError TARGET_UNWRITABLE, NO_SPACE; the signal's reason.
   */
  static async open(place: PartialPlace, manifest: Manifest, digest: Hex, signal?: AbortSignal): Promise<Partial> {
    const { path, part, makers } = place;
    const about = { digest, size: manifest.size, partSize: manifest.partSize };
    const single = manifest.parts.length === 1;
    const old = await attempt(part, () => openOwn(part, makers, "write"));
    const reading = (): Promise<Journal | null> => attempt(part, () => Journal.open(journalOf(part), about, makers));
    const journal = single ? null : await closing([old], reading);
    if (old && (single || journal)) {
      const named = journal?.named ?? new Set([1]);
      const held = await closing([old, journal], () => check(old, manifest, named, signal));
      const partial = new Partial(place, manifest.size, old, journal, held);
      await closing([partial], () => partial.#fit());
      return partial;
    }
    await Promise.all([old?.close(), journal?.close()]);
    await removePartial(part); // it may be large
    await checkSpace(dirname(path), path, manifest.size);
    const file = await attempt(part, () => makeFile(part, "write"));
    const made = single ? null : await closing([file], () => attempt(part, () => Journal.make(journalOf(part), about)));
    return new Partial(place, manifest.size, file, made, new Set());
  }

  private constructor(
    { path, part }: PartialPlace,
    size: number,
    file: FileHandle,
    journal: Journal | null,
    held: ReadonlySet<number>,
  ) {
    this.#path = path;
    this.#part = part;
    this.#size = size;
    this.#file = file;
    this.#journal = journal;
    this.held = held;
  }

  memory(): null {
    return null;
  }

  async write({ number, start }: Part, bytes: Uint8Array): Promise<void> {
    await attempt(this.#path, async () => {
      if (this.#fault) throw this.#fault;
      await this.#put(bytes, start);
      await this.#journal?.add(number);
    });
    this.#unsynced += bytes.length;
    const late = performance.now() - this.#synced > SYNC_MS;
    if (this.#syncing || (this.#unsynced < SYNC_BYTES && !late)) return;
    this.#syncing = this.#sync().finally(() => {
      this.#syncing = null;
    });
  }

  /** One at a time, as the system does it anyway: whoever waits for a file's lock meanwhile burns a processor or holds one of Node's few threads. */
  #put(bytes: Uint8Array, start: number): Promise<void> {
    const turn = this.#writing.then(() => writeAll(this.#file, bytes, start));
    this.#writing = turn.catch(() => {});
    return turn;
  }

  /** The payload is whole, and stays so whatever happens to the machine. */
  async finish(): Promise<void> {
    await attempt(this.#path, async () => {
      await this.#syncing;
      if (this.#fault) throw this.#fault; // the system tells it once
      if ((await this.#file.stat()).size !== this.#size) throw new Error("The file was changed by somebody else.");
      await this.#file.sync();
    });
    await this.close();
  }

  async close(): Promise<void> {
    await this.#syncing;
    await Promise.all([this.#file.close(), this.#journal?.close()]);
  }

  /** It may be longer than it should; and the rest of it needs its space. */
  async #fit(): Promise<void> {
    const { size, blocks } = await this.#file.stat();
    if (size > this.#size) await attempt(this.#path, () => this.#file.truncate(this.#size));
    await checkSpace(dirname(this.#path), this.#path, this.#size - blocks * BLOCK);
  }

  async #sync(): Promise<void> {
    this.#unsynced = 0;
    this.#synced = performance.now();
    try {
      await this.#file.datasync();
      await this.#journal?.sync();
      if (!this.#named) await syncFolder(dirname(this.#part));
      this.#named = true;
    } catch (error) {
      this.#fault = error;
    }
  }
}

/** Removes a part file and its journal, which must be closed. */
export async function removePartial(part: string): Promise<void> {
  await Promise.allSettled([part, journalOf(part)].map(removeFile));
}

/** Whether an open file holds a whole payload. It looks no further than the first part that is wrong. */
export async function isWhole(file: FileHandle, manifest: Manifest, signal?: AbortSignal): Promise<boolean> {
  if ((await file.stat()).size !== manifest.size) return false;
  for (const part of partsOf(manifest)) {
    signal?.throwIfAborted();
    if (!(await isRight(file, manifest, part))) return false;
  }
  return true;
}

function journalOf(part: string): string {
  return `${part}.journal`;
}

/** Those of the named parts that are there. */
async function check(
  file: FileHandle,
  manifest: Manifest,
  named: ReadonlySet<number>,
  signal?: AbortSignal,
): Promise<ReadonlySet<number>> {
  const held = new Set<number>();
  const numbers = named.values();
  const read = async (): Promise<void> => {
    for (const number of numbers) {
      signal?.throwIfAborted();
      if (await isRight(file, manifest, partAt(manifest, number))) held.add(number);
    }
  };
  await Promise.all(Array.from({ length: READERS }, read));
  return held;
}

async function isRight(file: FileHandle, manifest: Manifest, { number, start, length }: Part): Promise<boolean> {
  const memory = takeMemory(length);
  const { bytesRead } = await file.read(memory, 0, length, start).catch(() => ({ bytesRead: -1 })); // a bad sector, say
  const right = bytesRead === length && (await sha256(memory)) === manifest.parts[number - 1];
  giveMemory(memory);
  return right;
}

/** Nothing stays open after a failure. */
async function closing<T>(open: readonly ({ close(): Promise<void> } | null)[], act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    for (const one of open) await one?.close().catch(() => {});
    throw error;
  }
}
