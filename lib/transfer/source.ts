import { WaybillError } from "../protocol/errors.ts";
import { needFiles } from "./runtime.ts";

/**
 * What can be sent: bytes, a Blob, a file by its path, or a stream. Of a stream the length is unknown, and it can be
 * read once only. A bare string is refused: it could be a path or the payload itself.
 */
export type Payload =
  | Uint8Array
  | Blob
  | { readonly path: string }
  | ReadableStream<Uint8Array>
  | AsyncIterable<Uint8Array>;

/** Reads a payload once, from its beginning, part by part. */
export interface PartReader {
  /**
   * The next `length` bytes; fewer only at the end, none after it. They may lie in the memory that `buffer` gives, which
   * is asked for at most once per call and has room for `length` bytes.
   */
  next(length: number, buffer: () => Uint8Array): Promise<Uint8Array>;
  /** To be called after the last part. @throws WaybillError SOURCE_CHANGED if it isn't what it was at the beginning. */
  verify(): Promise<void>;
  close(): Promise<void>;
}

/** A payload that is about to be sent. */
export interface Source {
  /** Null: unknown. */
  readonly size: number | null;
  readonly contentType: string | null;
  /** Whether `open` may be called again. */
  readonly replayable: boolean;
  open(): Promise<PartReader>;
}

/**
 * Looks at a payload without reading it.
 * @throws WaybillError USAGE if it is none, SOURCE_MISSING if there is no such readable file.
 */
export async function sourceOf(payload: unknown): Promise<Source> {
  if (payload instanceof Uint8Array) return bytesSource(payload);
  if (payload instanceof Blob) return blobSource(payload);
  if (isStream(payload)) return streamSource(payload);
  if (typeof payload === "object" && payload !== null && "path" in payload && typeof payload.path === "string") {
    needFiles("{ path } can't be sent. Send a Blob, such as the File of an <input>");
    return (await import("./source-file.ts")).fileSource(payload.path);
  }
  throw new WaybillError(
    "USAGE",
    typeof payload === "string"
      ? 'A bare string is no payload. For a file say { path: "..." }, for text new TextEncoder().encode(...).'
      : "dataStream must be a Uint8Array, a Blob, { path }, or a stream of bytes.",
  );
}

function bytesSource(bytes: Uint8Array): Source {
  const open = async (): Promise<PartReader> => {
    let at = 0;
    const next = async (length: number): Promise<Uint8Array> => {
      const part = bytes.subarray(at, at + length);
      at += part.length;
      return part;
    };
    return { next, verify: async () => {}, close: async () => {} };
  };
  return { size: bytes.length, contentType: null, replayable: true, open };
}

function blobSource(blob: Blob): Source {
  const open = async (): Promise<PartReader> => {
    let at = 0;
    const next = async (length: number): Promise<Uint8Array> => {
      const slice = blob.slice(at, at + length);
      at += slice.size;
      try {
        return new Uint8Array(await slice.arrayBuffer());
      } catch (cause) {
        throw new WaybillError("SOURCE_CHANGED", "The Blob can't be read any more; its file has changed.", { cause });
      }
    };
    return { next, verify: async () => {}, close: async () => {} };
  };
  return { size: blob.size, contentType: blob.type || null, replayable: true, open };
}

type ByteStream = ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>;

function isStream(payload: unknown): payload is ByteStream {
  if (typeof payload !== "object" || payload === null) return false;
  return Symbol.asyncIterator in payload || payload instanceof ReadableStream;
}

function streamSource(stream: ByteStream): Source {
  let used = false;
  hearErrors(stream);
  const open = async (): Promise<PartReader> => {
    if (used)
      throw new WaybillError("USAGE", "A stream can be read only once. Send a file or bytes, or open it again.");
    used = true;
    return new StreamReader(Symbol.asyncIterator in stream ? stream : chunksOf(stream));
  };
  return { size: null, contentType: null, replayable: false, open };
}

/**
 * A Node stream that fails before anybody reads it would end the process. It keeps its error for whoever reads it then.
 */
function hearErrors(stream: ByteStream): void {
  const { on } = stream as { on?: unknown };
  if (typeof on === "function") on.call(stream, "error", () => {});
}

/** Cuts a stream's chunks into parts. */
class StreamReader implements PartReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();
  #ended = false;

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  async next(length: number, buffer: () => Uint8Array): Promise<Uint8Array> {
    const into = buffer();
    let filled = 0;
    while (filled < length && (this.#rest.length > 0 || (await this.#more()))) {
      const piece = this.#rest.subarray(0, length - filled);
      into.set(piece, filled);
      filled += piece.length;
      this.#rest = this.#rest.subarray(piece.length);
    }
    return into.subarray(0, filled);
  }

  async verify(): Promise<void> {}

  async close(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    // A stream that hangs would let us wait for its end; it is told, and left alone.
    void Promise.resolve(this.#chunks.return?.()).catch(() => {});
  }

  async #more(): Promise<boolean> {
    if (this.#ended) return false;
    const { done, value } = await this.#chunks.next().catch((cause: unknown) => {
      throw failed(cause);
    });
    if (done) this.#ended = true;
    else if (value instanceof Uint8Array) this.#rest = value;
    else throw new WaybillError("USAGE", "dataStream must give Uint8Arrays; this stream gives something else.");
    return !done;
  }
}

function failed(cause: unknown): WaybillError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new WaybillError("SOURCE_MISSING", `The payload's stream failed before its end: ${why}`, { cause });
}

/** For runtimes whose ReadableStream is not iterable. */
async function* chunksOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel();
  }
}
