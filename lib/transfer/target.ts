import { WaybillError } from "../protocol/errors.ts";
import { GiB } from "../protocol/limits.ts";
import type { Manifest } from "../protocol/manifest.ts";
import type { PartSink } from "./download.ts";
import { needFiles } from "./here.ts";

/**
 * Where a received payload goes: into memory; to a file; or into a folder, as `<sender>-<tag>` with whatever could mislead
 * in a file name replaced.
 */
export type Destination = "bytes" | { readonly path: string } | { readonly dir: string };

/** A destination for one payload. Nothing is visible there before `commit`, and nothing is left there after `discard`. */
export interface Target<T> {
  /** @throws WaybillError TARGET_UNWRITABLE, before anything is waited for. */
  check(): Promise<void>;
  /**
   * Makes room. Null when the very payload is there already.
   * @throws WaybillError TARGET_EXISTS, TARGET_UNWRITABLE, NO_SPACE
   */
  begin(manifest: Manifest, sender: string): Promise<PartSink | null>;
  /** The payload is whole: it appears at its destination, and stays there whatever happens to the machine. */
  commit(): Promise<T>;
  discard(): Promise<void>;
}

export interface TargetOptions {
  /** Overwrite an existing file. */
  readonly force?: boolean | undefined;
}

/** Memory is dearer than disk, and what a sender announces decides how much of it is taken. */
export const MAX_BYTES_IN_MEMORY: number = GiB;

/** @throws WaybillError USAGE if it is no destination. */
export async function targetOf(to: unknown, options: TargetOptions): Promise<Target<Uint8Array | string>> {
  if (to === "bytes") return new BytesTarget();
  if (typeof to === "object" && to !== null) {
    needFiles('`to` must be "bytes"');
    const file = await import("./target-file.ts");
    if ("path" in to && typeof to.path === "string") return file.fileTarget(to.path, options);
    if ("dir" in to && typeof to.dir === "string") return file.folderTarget(to.dir, options);
  }
  throw new WaybillError("USAGE", '`to` must be "bytes", { path } or { dir }.');
}

class BytesTarget implements Target<Uint8Array> {
  #bytes: Uint8Array = new Uint8Array();

  async check(): Promise<void> {}

  async begin(manifest: Manifest): Promise<PartSink> {
    try {
      this.#bytes = new Uint8Array(manifest.size);
    } catch (cause) {
      throw new WaybillError("NO_SPACE", `There is no memory for ${manifest.size} bytes. Receive into a file.`, {
        cause,
      });
    }
    const bytes = this.#bytes;
    return { memory: ({ start, length }) => bytes.subarray(start, start + length), write: async () => {} };
  }

  async commit(): Promise<Uint8Array> {
    return this.#bytes;
  }

  async discard(): Promise<void> {
    this.#bytes = new Uint8Array();
  }
}
