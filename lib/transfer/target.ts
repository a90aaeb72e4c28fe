import { WaybillError } from "../protocol/errors.ts";
import { GiB } from "../protocol/limits.ts";
import type { Manifest } from "../protocol/manifest.ts";
import type { PartSink } from "./download.ts";
import { isNode, needFiles } from "./runtime.ts";

/**
 * Where a received payload goes: into memory; to a file; into a folder, as `<sender>-<tag>` with whatever could mislead in a
 * file name replaced; or out of a stream, which is handed out when the whole payload is verified. What the stream has not
 * given yet lies in a nameless file in the system's temporary folder (in memory where there are no files), which is gone
 * when the stream was read to its end or cancelled: do one of them.
 *
 * Into a file or folder a payload is received once, however often the process is killed meanwhile. Until it is whole it is
 * `<name>.<16 hex digits>.part` beside the file, with a `.journal` of its verified parts; a later call for the same payload and
 * place verifies these again and fetches the others. They stay after a time that is over, a signal, a failing network, store or
 * callback, a crash and a power cut (which costs the last seconds' parts). They go when the payload is there; when it turned out
 * CORRUPT, TOO_LARGE, REFUSED or replaced (CONFLICT); when you were expelled; after TARGET_EXISTS, TARGET_UNWRITABLE and NO_SPACE;
 * and when the file is there with another payload. One call at a time receives a file, which a `.lock` beside it says, whose
 * word ends with its process; others get TARGET_BUSY. "bytes" and "stream" begin anew.
 */
export type Destination =
  | "bytes"
  | { readonly path: string }
  | {
      readonly dir: string;
      /** "tag": the file is named by its tag alone, which two senders may both use. */
      readonly named?: "tag";
    }
  | "stream";

/** A received payload: bytes, a file's path, or a stream. */
export type Received = Uint8Array | string | ReadableStream<Uint8Array>;

/** A destination for one payload, or one after the other. Nothing is visible there before `commit`. */
export interface Target<T> {
  /** @throws WaybillError TARGET_UNWRITABLE, before anything is waited for. */
  check(): Promise<void>;
  /**
   * Makes room, or finds what an earlier call has left. Null when the very payload is there already.
   * @throws WaybillError TARGET_EXISTS, TARGET_BUSY, TARGET_UNWRITABLE, NO_SPACE; the signal's reason.
   */
  begin(manifest: Manifest, sender: string, signal?: AbortSignal): Promise<PartSink | null>;
  /** The payload is whole: it appears at its destination, and stays there whatever happens to the machine. */
  commit(): Promise<T>;
  /**
   * To be called when anything of this has failed. In a folder, what is verified stays for a later call, unless the reason means
   * that none can go on with it.
   */
  discard(reason: unknown): Promise<void>;
  /** Whether the very payload is there, of an earlier call. What `commit` would give, or null. Makes and changes nothing. */
  holds?(manifest: Manifest, sender: string, signal: AbortSignal): Promise<T | null>;
  /** The payload will not be received, although an earlier call may have begun to. */
  forget?(manifest: Manifest, sender: string): Promise<void>;
}

export interface TargetOptions {
  /** Overwrite an existing file. */
  readonly force?: boolean | undefined;
}

/** Memory is dearer than disk, and what a sender announces decides how much of it is taken. */
export const MAX_BYTES_IN_MEMORY: number = GiB;

/** @throws WaybillError USAGE if it is no destination. */
export async function targetOf(to: unknown, options: TargetOptions): Promise<Target<Received>> {
  if (to === "bytes") return new BytesTarget();
  if (to === "stream") return streamTarget();
  if (typeof to === "object" && to !== null) {
    needFiles('`to` must be "bytes" or "stream"');
    const file = await import("./target-file.ts");
    if ("path" in to && typeof to.path === "string") return file.fileTarget(to.path, options);
    if ("dir" in to && typeof to.dir === "string")
      return file.folderTarget(to.dir, options, "named" in to ? to.named : undefined);
  }
  throw new WaybillError("USAGE", '`to` must be "bytes", { path }, { dir } or "stream".');
}

async function streamTarget(): Promise<Target<Received>> {
  if (isNode) return (await import("./target-stream.ts")).streamTarget();
  const bytes = new BytesTarget();
  return {
    check: () => bytes.check(),
    begin: (manifest) => bytes.begin(manifest),
    commit: async () => new Blob([(await bytes.commit()) as Uint8Array<ArrayBuffer>]).stream(),
    discard: () => bytes.discard(),
  };
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
