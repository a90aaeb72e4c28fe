import { S3Error } from "./errors.ts";

/** Longer than any chunk header or trailer line that an SDK writes. */
const MAX_LINE = 1_024;
const MAX_TRAILERS = 16;
const CR_LF = Buffer.from("\r\n");

/**
 * Takes the `aws-chunked` coding off a body: chunks of `hex-size CRLF bytes CRLF`, a zero chunk, then trailer lines, which
 * go into `trailers` by lower-case name. Streams: no chunk is ever held whole.
 */
export async function* decodeChunked(
  source: AsyncIterable<Buffer>,
  trailers: Map<string, string>,
): AsyncGenerator<Buffer, void, undefined> {
  const reader = new ChunkReader(source);
  for (;;) {
    const size = readSize(await reader.line());
    if (size === 0) break;
    yield* reader.bytes(size);
    if ((await reader.line()) !== "") throw new S3Error("IncompleteBody");
  }
  for (let count = 0; ; count++) {
    const line = await reader.line();
    if (line === "") break;
    const [name = "", value] = line.split(/:(.*)/);
    if (value === undefined || count === MAX_TRAILERS) throw new S3Error("InvalidRequest", "The trailer is malformed.");
    trailers.set(name.trim().toLowerCase(), value.trim());
  }
  await reader.finish();
}

function readSize(line: string): number {
  const [, size] = /^([0-9a-fA-F]{1,10})(?:;.*)?$/.exec(line) ?? [];
  if (size === undefined) throw new S3Error("InvalidRequest", "The chunk header is malformed.");
  return Number.parseInt(size, 16);
}

class ChunkReader {
  readonly #source: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    for (;;) {
      const end = this.#held.indexOf(CR_LF);
      if (end >= 0) {
        const line = this.#held.toString("latin1", 0, end);
        this.#held = this.#held.subarray(end + 2);
        return line;
      }
      if (this.#held.length > MAX_LINE) throw new S3Error("InvalidRequest", "A chunk header is too long.");
      if (!(await this.more())) throw new S3Error("IncompleteBody");
    }
  }

  async *bytes(size: number): AsyncGenerator<Buffer, void, undefined> {
    for (let left = size; left > 0; ) {
      if (this.#held.length === 0 && !(await this.more())) throw new S3Error("IncompleteBody");
      const piece = this.#held.subarray(0, left);
      this.#held = this.#held.subarray(piece.length);
      left -= piece.length;
      yield piece;
    }
  }

  /** Nothing may follow the trailers. */
  async finish(): Promise<void> {
    if (this.#held.length > 0 || (await this.more()))
      throw new S3Error("InvalidRequest", "Bytes follow the last chunk.");
  }

  private async more(): Promise<boolean> {
    const next = await this.#source.next();
    if (next.done) return false;
    this.#held = this.#held.length === 0 ? next.value : Buffer.concat([this.#held, next.value]);
    return true;
  }
}
