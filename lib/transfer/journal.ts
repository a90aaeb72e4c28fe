import type { FileHandle } from "node:fs/promises";
import type { Hex } from "../protocol/hex.ts";
import { partCount } from "../protocol/plan.ts";
import { type Makers, makeFile, openOwn } from "./file.ts";

/** Of a journal that has grown for ten thousand parts, and many times again, there is less. */
const MOST_BYTES: number = 1024 * 1024;

/** What a journal is about. */
export interface Journaled {
  /** The manifest's digest. */
  readonly digest: Hex;
  readonly size: number;
  readonly partSize: number;
}

/**
 * Which parts of a payload are in the file beside it: a line of what it is about, and a line with the number of each part that
 * was verified and written. It is only appended to. What it says is a hint where to look: what stands behind it is read and
 * verified again, because a power cut may keep a line and lose the bytes.
 */
export class Journal {
  readonly #file: FileHandle;
  /** The parts that it named when it was opened. */
  readonly named: ReadonlySet<number>;
  /** Lines that wait while others are written; they are written together, since small parts come faster than a write ends. */
  #lines = "";
  #next: Promise<void> | null = null;
  #writing: Promise<void> = Promise.resolve();

  /** Null when there is none about this payload. */
  static async open(path: string, about: Journaled, makers: Makers): Promise<Journal | null> {
    const file = await openOwn(path, makers, "append");
    if (!file) return null;
    const named = readJournal(await textOf(file), about);
    if (named) {
      const journal = new Journal(file, named);
      await journal.#append(""); // what was being written last may have no end
      return journal;
    }
    await file.close();
    return null;
  }

  /** A new one, instead of any other. */
  static async make(path: string, about: Journaled): Promise<Journal> {
    const journal = new Journal(await makeFile(path, "append"), new Set());
    await journal.#append(headOf(about));
    return journal;
  }

  private constructor(file: FileHandle, named: ReadonlySet<number>) {
    this.#file = file;
    this.named = named;
  }

  /** To be called when the part is written. */
  add(number: number): Promise<void> {
    return this.#append(String(number));
  }

  sync(): Promise<void> {
    return this.#file.datasync();
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  #append(line: string): Promise<void> {
    this.#lines += `${line}\n`;
    this.#next ??= this.#writing.catch(() => {}).then(() => this.#write());
    return this.#next;
  }

  #write(): Promise<void> {
    const lines = this.#lines;
    this.#lines = "";
    this.#next = null;
    this.#writing = this.#file.appendFile(lines);
    return this.#writing;
  }
}

/** The parts that a journal names; null when it is not about this payload. Lines that mean nothing are passed over. */
export function readJournal(text: string, about: Journaled): ReadonlySet<number> | null {
  const [head, ...lines] = text.split("\n").slice(0, -1); // what has no end may be cut short
  if (head !== headOf(about)) return null;
  const numbers = lines.filter((line) => /^[1-9][0-9]{0,4}$/.test(line)).map(Number);
  return new Set(numbers.filter((number) => number <= partCount(about)));
}

function headOf({ digest, size, partSize }: Journaled): string {
  return `waybill journal 1 ${digest} ${size} ${partSize}`;
}

async function textOf(file: FileHandle): Promise<string> {
  const { size } = await file.stat();
  if (size > MOST_BYTES) return "";
  const { bytesRead, buffer } = await file.read(new Uint8Array(size), 0, size, 0);
  return Buffer.from(buffer.subarray(0, bytesRead)).toString("latin1");
}
