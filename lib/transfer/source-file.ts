import { type BigIntStats, constants } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { WaybillError } from "../protocol/errors.ts";
import type { PartReader, Source } from "./source.ts";

/** A file to be sent. It is looked at now, before each reading and after it: what was sent is one version of it. */
export async function fileSource(path: string): Promise<Source> {
  const found = await stat(path, { bigint: true }).catch((cause: unknown) => {
    throw missing(path, cause);
  });
  if (!found.isFile())
    throw new WaybillError("SOURCE_MISSING", `${path} is not a regular file. Name a file, or send a stream.`);
  return {
    size: Number(found.size),
    contentType: null,
    replayable: true,
    open: () => FileReader.open(path, found),
  };
}

class FileReader implements PartReader {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #version: BigIntStats;
  #at = 0;

  static async open(path: string, version: BigIntStats): Promise<FileReader> {
    // A pipe in the file's place would make an ordinary open wait for ever.
    const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)).catch((cause: unknown) => {
      throw missing(path, cause);
    });
    return new FileReader(path, file, version);
  }

  constructor(path: string, file: FileHandle, version: BigIntStats) {
    this.#path = path;
    this.#file = file;
    this.#version = version;
  }

  async next(length: number, buffer: () => Uint8Array): Promise<Uint8Array> {
    const wanted = Math.min(length, Number(this.#version.size) - this.#at);
    if (wanted <= 0) return new Uint8Array();
    const into = buffer();
    for (let filled = 0; filled < wanted; ) {
      const { bytesRead } = await this.#file.read(into, filled, wanted - filled, this.#at + filled);
      if (bytesRead === 0) throw changed(this.#path);
      filled += bytesRead;
    }
    this.#at += wanted;
    return into.subarray(0, wanted);
  }

  async verify(): Promise<void> {
    const opened = await this.#file.stat({ bigint: true });
    const named = await stat(this.#path, { bigint: true }).catch(() => null);
    if (!isSame(opened, this.#version) || !named || !isSame(named, this.#version)) throw changed(this.#path);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

function isSame(a: BigIntStats, b: BigIntStats): boolean {
  return a.size === b.size && a.mtimeNs === b.mtimeNs && a.ino === b.ino && a.dev === b.dev;
}

function missing(path: string, cause: unknown): WaybillError {
  return new WaybillError("SOURCE_MISSING", `There is no readable file ${path}. Name a file that exists.`, { cause });
}

function changed(path: string): WaybillError {
  return new WaybillError(
    "SOURCE_CHANGED",
    `${path} changed while it was being sent. Send it again when it is complete.`,
  );
}
