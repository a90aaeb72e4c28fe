import { writeFileSync } from "node:fs";
import { type FileHandle, open, rm } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { decodeChunked } from "./chunked.ts";
import { Digests, type Promises, readPromises } from "./digests.ts";
import { S3Error } from "./errors.ts";

/** S3's limit on one PUT and on one part. */
const MAX_UPLOAD = 5 * 2 ** 30;
/** A Complete of 10,000 parts with checksums is 1.9 MB. */
const MAX_DOCUMENT = 8 * 2 ** 20;
/** Bytes written at once: a socket brings 64 KiB at a time, and a call for each costs more than the writing. */
const BATCH = 2 ** 19;
/** Up to here one call at once is quicker than several by way of the thread pool. */
const SMALL = 2 ** 16;

/** Verified bytes in a file that nobody else knows of. */
export interface Received {
  readonly file: string;
  readonly size: number;
  /** base64. */
  readonly sha256: string;
}

/** A request's body, of which no byte is asked for until somebody wants it. */
export class Body {
  readonly promises: Promises;
  readonly #message: IncomingMessage;
  readonly #proceed: () => void;

  /** @param proceed answers 100 Continue to a client that waits for it */
  constructor(message: IncomingMessage, headers: Readonly<Record<string, string>>, proceed: () => void) {
    this.promises = readPromises(headers);
    this.#message = message;
    this.#proceed = proceed;
  }

  /** Streams the body into a new file. If it breaks off or is not what was promised, the file is gone again. */
  async toFile(file: string): Promise<Received> {
    if (this.promises.size > MAX_UPLOAD) throw new S3Error("EntityTooLarge");
    return receive(this.decoded(), file, this.promises);
  }

  /** The whole of a small XML document. */
  async toText(): Promise<string> {
    if (this.promises.size > MAX_DOCUMENT) throw new S3Error("MaxMessageLengthExceeded");
    const { bytes, verify } = digested(this.decoded(), this.promises);
    const text = (await gather(bytes)).toString("utf8");
    verify();
    return text;
  }

  private decoded(): Source {
    this.#proceed();
    const trailers = new Map<string, string>();
    // Whoever stops reading must not thereby close the connection: the client is to learn the reason.
    const bytes: AsyncIterable<Buffer> = this.#message.iterator({ destroyOnReturn: false });
    return { trailers, bytes: this.promises.chunked ? decodeChunked(bytes, trailers) : bytes };
  }
}

interface Source {
  readonly bytes: AsyncIterable<Buffer>;
  readonly trailers: ReadonlyMap<string, string>;
}

/** Streams bytes that are promised to be `promises` into a new file, which exists afterwards only if they are. */
export async function receive(source: Source, file: string, promises: Promises): Promise<Received> {
  const { bytes, verify } = digested(source, promises);
  try {
    await (promises.size <= SMALL ? writeSmall(file, bytes) : writeLarge(file, bytes));
    return { file, size: promises.size, sha256: verify() };
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  }
}

async function writeSmall(file: string, bytes: AsyncIterable<Buffer>): Promise<void> {
  writeFileSync(file, await gather(bytes), { flag: "wx" });
}

async function writeLarge(file: string, bytes: AsyncIterable<Buffer>): Promise<void> {
  const handle = await open(file, "wx");
  await writeBatches(handle, bytes).finally(() => handle.close());
}

async function gather(bytes: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** While one batch goes to the disk the next one is collected; the sender waits when both are full. */
async function writeBatches(handle: FileHandle, bytes: AsyncIterable<Buffer>): Promise<void> {
  let [batch, size, writing]: [Buffer[], number, Promise<void>] = [[], 0, Promise.resolve()];
  for await (const chunk of bytes) {
    batch.push(chunk);
    size += chunk.length;
    if (size < BATCH) continue;
    await writing;
    writing = writeAll(handle, batch, size);
    writing.catch(() => {}); // heard of at the next await
    [batch, size] = [[], 0];
  }
  await writing;
  if (size > 0) await writeAll(handle, batch, size);
}

async function writeAll(handle: FileHandle, batch: readonly Buffer[], size: number): Promise<void> {
  const { bytesWritten } = await handle.writev(batch);
  if (bytesWritten !== size) throw new Error("the disk is full");
}

function digested({ bytes, trailers }: Source, promises: Promises): { bytes: AsyncIterable<Buffer>; verify(): string } {
  const digests = new Digests(promises);
  async function* pass(): AsyncGenerator<Buffer, void, undefined> {
    for await (const chunk of bytes) {
      digests.update(chunk);
      yield chunk;
    }
  }
  return { bytes: pass(), verify: () => digests.verify(trailers) };
}
