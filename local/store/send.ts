import { type FileHandle, open } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import type { Slice } from "./ranges.ts";

/** Measured here: below 256 KiB the calls cost more than the copying, above 1 MiB the processor's cache is left. */
const BUFFER_SIZE = 2 ** 19;
/** Buffers kept for the next answer: 32 MiB. */
const MAX_IDLE = 64;

const idle: Buffer[] = [];

function take(): Buffer {
  return idle.pop() ?? Buffer.allocUnsafeSlow(BUFFER_SIZE);
}

function giveBack(buffer: Buffer): void {
  if (idle.length < MAX_IDLE) idle.push(buffer);
}

/**
 * Writes stretches of files to an answer. Two buffers take turns, so the disk is read while the socket is written, and no
 * answer holds more than them, however slow its reader is.
 *
 * @throws when a file is not what it should be or the reader is gone; the answer is then to be destroyed
 */
export async function sendSlices(response: ServerResponse, slices: readonly Slice[]): Promise<void> {
  const writer = new Writer(response);
  try {
    for (const slice of slices) await sendSlice(writer, slice);
    await writer.finish();
  } finally {
    writer.end();
  }
}

async function sendSlice(writer: Writer, { file, start, end }: Slice): Promise<void> {
  const handle = await open(file, "r");
  try {
    for (let position = start; position < end; ) {
      const buffer = await writer.buffer();
      const length = await read(handle, buffer, Math.min(end - position, BUFFER_SIZE), position);
      writer.write(buffer.subarray(0, length));
      position += length;
    }
  } finally {
    await handle.close();
  }
}

async function read(handle: FileHandle, buffer: Buffer, length: number, position: number): Promise<number> {
  const { bytesRead } = await handle.read(buffer, 0, length, position);
  if (bytesRead === 0) throw new Error("a stored file is shorter than its record");
  return bytesRead;
}

/** Two buffers, each free again when its bytes have left for the socket. */
class Writer {
  readonly #response: ServerResponse;
  readonly #buffers = [take(), take()] as const;
  readonly #pending: [Promise<void>, Promise<void>] = [Promise.resolve(), Promise.resolve()];
  readonly #refuse: [() => void, () => void] = [() => {}, () => {}];
  readonly #onClose = (): void => {
    for (const refuse of this.#refuse) refuse();
  };
  #turn: 0 | 1 = 0;

  constructor(response: ServerResponse) {
    this.#response = response;
    response.once("close", this.#onClose);
  }

  async buffer(): Promise<Buffer> {
    this.#turn = this.#turn === 0 ? 1 : 0;
    await this.#pending[this.#turn];
    return this.#buffers[this.#turn];
  }

  write(bytes: Buffer): void {
    const written = new Promise<void>((resolve, reject) => {
      const refuse = (): void => reject(new Error("the reader is gone"));
      this.#refuse[this.#turn] = refuse;
      if (this.#response.destroyed) refuse();
      else this.#response.write(bytes, (error) => (error ? refuse() : resolve()));
    });
    written.catch(() => {}); // whoever next wants the buffer hears of it
    this.#pending[this.#turn] = written;
  }

  /** The buffers are given back only here: after a failure the socket may still hold one. */
  async finish(): Promise<void> {
    await Promise.all(this.#pending);
    for (const buffer of this.#buffers) giveBack(buffer);
  }

  end(): void {
    this.#response.off("close", this.#onClose);
  }
}
