import { WaybillError } from "../../lib/protocol/errors.ts";
import { eachOf } from "../crew.ts";
import { PAYLOADS, readPayloadKey } from "../keys.ts";
import type { ListedObject, OpenUpload } from "../store.ts";
import { Bookmark } from "./bookmark.ts";
import { judgePayload } from "./payloads.ts";
import type { Place, Tally } from "./report.ts";
import type { Scene } from "./scene.ts";
import { judgeUpload } from "./uploads.ts";

/** Enough that the store's round trips cost nothing, and far below what it would slow down for. */
const AT_ONCE = 32;
/** What the store lists at once. */
const PAGE = 1_000;
/** Pages between two bookmarks: what a killed run has done is looked at once more. */
const PAGES_A_BOOKMARK = 10;

export interface RunOptions {
  readonly scene: Omit<Scene, "now">;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly tally: Tally;
  /** Whether the run must end, in good time. */
  readonly isOver: () => boolean;
}

/** What one pass does with the things that it walks over. */
interface Pass<T> {
  readonly name: Place["pass"];
  readonly list: (after: Place | null) => Promise<{ entries: readonly T[]; more: boolean }>;
  readonly visit: (scene: Scene, entry: T) => Promise<void>;
  /** Does what the visits of a page have put aside. */
  readonly settle: () => Promise<void>;
}

/** One run of a sweeper: first over the uploads, then over the payloads, a page at a time. */
export class Run {
  readonly #options: RunOptions;
  readonly #tally: Tally;
  readonly #bookmark: Bookmark;
  #place: Place | null = null;
  #doomed: ListedObject[] = [];

  constructor(options: RunOptions) {
    this.#options = options;
    this.#tally = options.tally;
    this.#bookmark = new Bookmark(options.scene.store);
  }

  /** @returns where it stopped, or null at the end. */
  async go(): Promise<Place | null> {
    try {
      this.#place = await this.#bookmark.read();
      if (await this.#walkAll(this.#place)) this.#place = null;
      await this.#bookmark.write(this.#place);
    } catch (error) {
      this.#tally.blame(error);
    }
    return this.#place;
  }

  async #walkAll(from: Place | null): Promise<boolean> {
    const inPayloads = from?.pass === "payloads";
    if (!inPayloads && !(await this.#walk(this.#uploads(), from))) return false;
    return this.#walk(this.#payloads(), inPayloads ? from : null);
  }

  /** @returns whether it came to the end; else `#place` is where it goes on. */
  async #walk<T extends ListedObject | OpenUpload>(pass: Pass<T>, from: Place | null): Promise<boolean> {
    let at = from?.key ? from : null;
    for (let pages = 1; ; pages++) {
      this.#place = at ?? { pass: pass.name, key: "", uploadId: "" };
      if (this.#options.isOver()) return false;
      const { entries, more } = await pass.list(at);
      const seen = await this.#visitAll(pass, entries);
      await pass.settle();
      const last = entries[seen - 1];
      if (last) at = { pass: pass.name, key: last.key, uploadId: "uploadId" in last ? last.uploadId : "" };
      if (seen === entries.length && !more) return true;
      if (pages % PAGES_A_BOOKMARK === 0) await this.#bookmark.write(at);
    }
  }

  /** @returns how many of them, from the first one on, were seen before time was over. */
  async #visitAll<T>(pass: Pass<T>, entries: readonly T[]): Promise<number> {
    const { scene, clock, isOver } = this.#options;
    const now = clock(); // after the listing, whose answer told the store's time
    const seen = await eachOf(entries, AT_ONCE, async (entry) => {
      if (isOver()) return false;
      await pass.visit({ ...scene, now }, entry);
      return true;
    });
    const unseen = seen.indexOf(false);
    return unseen < 0 ? entries.length : unseen;
  }

  #uploads(): Pass<OpenUpload> {
    const { store } = this.#options.scene;
    return {
      name: "uploads",
      list: (after) => store.listUploads(PAYLOADS, after),
      visit: (scene, upload) => this.#attempt(upload.key, () => this.#visitUpload(scene, upload)),
      settle: async () => {},
    };
  }

  #payloads(): Pass<ListedObject> {
    const { store } = this.#options.scene;
    return {
      name: "payloads",
      list: async (after) => {
        const entries = await store.list(PAYLOADS, { limit: PAGE, ...(after && { startAfter: after.key }) });
        return { entries, more: entries.length === PAGE };
      },
      visit: (scene, payload) => this.#attempt(payload.key, () => this.#visitPayload(scene, payload)),
      settle: () => this.#delete(this.#doomed.splice(0)),
    };
  }

  async #visitUpload(scene: Scene, upload: OpenUpload): Promise<void> {
    this.#tally.looked.uploads += 1;
    const verdict = await judgeUpload(scene, upload);
    if (verdict !== "abort") return this.#tally.leave(verdict);
    await scene.store.abort(upload.key, upload.uploadId);
    this.#tally.aborted += 1;
  }

  async #visitPayload(scene: Scene, payload: ListedObject): Promise<void> {
    this.#tally.looked.payloads += 1;
    const verdict = await judgePayload(scene, payload);
    if (verdict !== "sweep") return this.#tally.leave(verdict);
    this.#doomed.push(payload);
  }

  /** Their records say that they go, so what fails here is done by a later run. */
  async #delete(payloads: readonly ListedObject[]): Promise<void> {
    if (payloads.length === 0) return;
    try {
      await this.#options.scene.store.delete(payloads.map(({ key }) => key));
    } catch (error) {
      this.#tally.blame(error);
      return this.#tally.leave("failed", payloads.length);
    }
    this.#tally.swept.payloads += payloads.length;
    for (const { size } of payloads) this.#tally.swept.bytes += size;
  }

  /** One that can't be dealt with holds up no other. */
  async #attempt(key: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const place = readPayloadKey(key);
      if (place && isDamage(error)) return this.#tally.damage(place.ref);
      this.#tally.blame(error);
      this.#tally.leave("failed");
    }
  }
}

/** What stands there isn't what we wrote, and will not get better. */
function isDamage(error: unknown): boolean {
  return error instanceof WaybillError && (error.code === "INTERNAL" || error.code === "BAD_MANIFEST");
}
