import { randomBytes } from "node:crypto";
import { type FileHandle, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Manifest } from "../protocol/manifest.ts";
import type { PartSink } from "./download.ts";
import { attempt, checkSpace, writeAll } from "./file.ts";
import type { Target } from "./target.ts";

/** What is read of the file at a time. */
const CHUNK: number = 256 * 1024;

/**
 * A stream over a file that has no name: it is removed from its folder as soon as it is open, and its space is free when the
 * stream was read to its end or cancelled, or when the process ends.
 */
export function streamTarget(): Target<ReadableStream<Uint8Array>> {
  return new StreamTarget();
}

class StreamTarget implements Target<ReadableStream<Uint8Array>> {
  readonly #path = join(tmpdir(), `waybill-${randomBytes(8).toString("hex")}.part`);
  #file: FileHandle | null = null;

  async check(): Promise<void> {}

  async begin(manifest: Manifest): Promise<PartSink> {
    await checkSpace(tmpdir(), this.#path, manifest.size);
    const file = await attempt(this.#path, () => open(this.#path, "wx+", 0o600));
    this.#file = file;
    await attempt(this.#path, () => rm(this.#path));
    return {
      memory: () => null,
      write: ({ start }, bytes) => attempt(this.#path, () => writeAll(file, bytes, start)),
    };
  }

  async commit(): Promise<ReadableStream<Uint8Array>> {
    const file = this.#file!;
    this.#file = null;
    return streamOf(file);
  }

  async discard(): Promise<void> {
    const file = this.#file;
    this.#file = null;
    await file?.close().catch(() => {});
  }
}

function streamOf(file: FileHandle): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const { bytesRead, buffer } = await file.read(new Uint8Array(CHUNK), 0, CHUNK, at);
        at += bytesRead;
        if (bytesRead > 0) return controller.enqueue(buffer.subarray(0, bytesRead));
        await file.close();
        controller.close();
      },
      cancel: () => file.close(),
    },
    { highWaterMark: 0 },
  );
}
