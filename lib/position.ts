import { randomBytes } from "node:crypto";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { WaybillError } from "./protocol/errors.ts";

/** A reading position that outlives its process. The file appears whole or stays what it was. */
export class Position {
  readonly #path: string;
  #saved: number | null;
  #wanted: number | null = null;
  #saving: Promise<void> | null = null;
  #error: unknown = null;

  /**
   * @param name What it is the position of; a file name.
   * @throws WaybillError TARGET_UNWRITABLE; USAGE when the file is none of ours.
   */
  static async open(dir: string, name: string): Promise<Position> {
    const path = join(resolve(dir), `${name}.json`);
    await mkdir(dir, { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
      throw unwritable(path, cause);
    });
    const text = await readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
      if (cause.code === "ENOENT") return null;
      throw unwritable(path, cause);
    });
    return new Position(path, text === null ? null : readSeq(path, text));
  }

  private constructor(path: string, saved: number | null) {
    this.#path = path;
    this.#saved = saved;
  }

  /** Null when there was none. */
  get seq(): number | null {
    return this.#saved;
  }

  /** Writes soon; of many positions only the newest. */
  save(seq: number): void {
    this.#wanted = seq;
    this.#saving ??= this.#saveAll().finally(() => {
      this.#saving = null;
    });
  }

  /** Resolves when everything is written. @throws what kept it from being written since the last call. */
  async flush(): Promise<void> {
    await this.#saving;
    const error = this.#error;
    this.#error = null;
    if (error !== null) throw error;
  }

  async #saveAll(): Promise<void> {
    for (let seq = this.#wanted; seq !== this.#saved && seq !== null; seq = this.#wanted) {
      try {
        await replace(this.#path, JSON.stringify({ seq }));
        this.#saved = seq;
      } catch (cause) {
        this.#error = unwritable(this.#path, cause);
        return;
      }
    }
  }
}

async function replace(path: string, text: string): Promise<void> {
  const draft = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    const file = await open(draft, "wx", 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

function readSeq(path: string, text: string): number {
  try {
    const { seq } = JSON.parse(text) as { seq?: unknown };
    if (Number.isSafeInteger(seq) && Number(seq) >= 0) return Number(seq);
  } catch {
    // said below
  }
  throw new WaybillError("USAGE", `${path} is no reading position. Remove it to start at the newest event.`);
}

function unwritable(path: string, cause: unknown): WaybillError {
  return new WaybillError("TARGET_UNWRITABLE", `The reading position ${path} can't be kept. Check its folder.`, {
    cause,
  });
}
