import { randomBytes } from "node:crypto";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import * as z from "zod/mini";
import { WaybillError } from "./protocol/errors.ts";
import { id32 } from "./protocol/requests.ts";

const place = z.object({ seq: z.int().check(z.gte(0)), hash: id32 });
const file = z.object({ seq: z.int().check(z.gte(0)), trail: z.optional(z.array(place)) });
/** An event and the hash of its block. */
export type Mark = z.infer<typeof place>;
type File = z.infer<typeof file>;

/** A reading position that outlives its process. The file appears whole or stays what it was. */
export class Position {
  readonly #path: string;
  #saved: File | null;
  #wanted: File | null = null;
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
    return new Position(path, text === null ? null : readFileText(path, text));
  }

  private constructor(path: string, saved: File | null) {
    this.#path = path;
    this.#saved = saved;
  }

  /**
   * Null when there was none. A reorg may have put other events there since: then it is the newest event of those that were
   * marked that still stands, and what follows is read again.
   * @param stands Whether an event is where it was.
   */
  seq(stands: (mark: Mark) => boolean): number | null {
    const { seq = null, trail } = this.#saved ?? {};
    return trail ? (trail.find(stands)?.seq ?? 0) : seq;
  }

  /**
   * Writes soon; of many positions only the newest.
   * @param mark Of an event; undefined when there is none.
   */
  save(seq: number, mark: (seq: number) => Mark | undefined): void {
    const trail = steps(seq).flatMap((step) => mark(step) ?? []);
    const last = this.#wanted ?? this.#saved;
    if (last?.seq === seq && last.trail?.[0]?.hash === trail[0]?.hash && this.#error === null) return;
    this.#wanted = { seq, trail };
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
    for (let next = this.#wanted; next !== this.#saved && next !== null; next = this.#wanted) {
      try {
        await replace(this.#path, JSON.stringify(next));
        this.#saved = next;
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

/** The event itself and some before it, ever farther apart: the deeper a reorg, the more is read again. */
function steps(seq: number): number[] {
  const found = [seq];
  for (let back = 1; back < seq; back *= 2) found.push(seq - back);
  return found;
}

function readFileText(path: string, text: string): File {
  try {
    return file.parse(JSON.parse(text));
  } catch {
    throw new WaybillError("USAGE", `${path} is no reading position. Remove it to start at the newest event.`);
  }
}

function unwritable(path: string, cause: unknown): WaybillError {
  return new WaybillError("TARGET_UNWRITABLE", `The reading position ${path} can't be kept. Check its folder.`, {
    cause,
  });
}
