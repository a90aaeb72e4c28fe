import * as z from "zod/mini";
import type { Store } from "../store.ts";
import type { Place } from "./report.ts";

/** Among the records, where the sweeper may write. No task has such an id, and nothing but speed depends on it. */
const KEY = "transfer/sweeper.json";

const bookmarkSchema = z.object({
  place: z.nullable(z.object({ pass: z.enum(["uploads", "payloads"]), key: z.string(), uploadId: z.string() })),
});

/**
 * Where a run that was out of time stopped, so that the last keys of a large bucket have their turn, too. Of two sweepers
 * at once the slower one's word is dropped.
 */
export class Bookmark {
  readonly #store: Store;
  #etag: string | undefined;
  #place: Place | null = null;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Null: from the beginning. */
  async read(): Promise<Place | null> {
    const found = await this.#store.getJson(KEY);
    const parsed = bookmarkSchema.safeParse(found?.value);
    this.#etag = found?.etag;
    this.#place = parsed.success ? parsed.data.place : null;
    return this.#place;
  }

  async write(place: Place | null): Promise<void> {
    if (place === null && this.#place === null) return; // most buckets never need one
    const condition = this.#etag === undefined ? ({ ifNoneMatch: true } as const) : { ifMatch: this.#etag };
    const written = await this.#store.putJson(KEY, { place }, condition);
    if (written === null) return;
    this.#etag = written.etag;
    this.#place = place;
  }
}
