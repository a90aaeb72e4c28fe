import type { Hex } from "../protocol/hex.ts";
import type { TaskEvent } from "../protocol/wire.ts";
import { checkLine, lagging } from "./line.ts";
import { isRefusal, isTooLong } from "./rpc.ts";
import type { Cursor } from "./view.ts";

/** Blocks looked at together when walking back: events come in bursts, and most nodes allow ranges of a hundred. */
const BLOCKS_BACK = 100;
/** Events beyond what was asked for, times the limit, after which smaller windows are read. */
const SURPLUS = 4;
/** Windows that a node answers before it is asked for longer ones than it last refused. */
const CONTENT = 16;
/** Events that are fetched one block at a time in one reading: it begins at the newest, so it has to be held whole. */
const LONGEST_WALK = 2_000;

/** One query for a task's events from block to block, both included, oldest first. */
export type FetchEvents = (task: Hex, from: number, to: number) => Promise<TaskEvent[]>;

/**
 * Finds a task's events at one node. Nodes cap ranges and sizes in their own ways, and anybody may fill a block with large
 * events, so windows of blocks are as wide as the node allows; and where there are more windows than events, each event's
 * `prevBlock` leads to the one before it, a block at a time.
 */
export class Logs {
  readonly #fetch: FetchEvents;
  /** Blocks in one query: all, until the node finds that too many. */
  #span: number = Number.POSITIVE_INFINITY;
  /** Answers still to come before wider windows are tried again. */
  #content = 0;

  constructor(fetch: FetchEvents) {
    this.#fetch = fetch;
  }

  /** The events after `cursor`, about `limit`, and the block up to which there are no others; `latest` is the newest. */
  async after(task: Hex, cursor: Cursor, latest: Cursor, limit: number): Promise<{ events: TaskEvent[]; end: number }> {
    const events: TaskEvent[] = [];
    let end = cursor.block - 1;
    while (events.length < Math.min(limit, latest.seq - cursor.seq) && end < latest.block) {
      const seq = cursor.seq + events.length;
      if (this.#isSparse(latest.block - end, latest.seq - seq))
        return { events: [...events, ...(await this.#walk(task, latest, seq))], end: latest.block };
      const to = Math.min(latest.block, end + this.#span);
      const found = await this.#try(task, end + 1, to, limit);
      if (!found) continue;
      events.push(...found.filter((event) => event.seq > cursor.seq));
      end = to;
    }
    return { events, end };
  }

  /** The events before `cursor`, at least `limit`, or all. */
  async before(task: Hex, cursor: Cursor, limit: number): Promise<TaskEvent[]> {
    let line: TaskEvent[] = []; // ends with the cursor's own event, if that is in the cursor's block
    let oldest: Cursor = { seq: cursor.seq + 1, block: cursor.block };
    while (oldest.seq > 1 && oldest.seq > cursor.seq - limit) {
      const from = Math.max(0, oldest.block - Math.min(BLOCKS_BACK, this.#span - 1));
      const found = await this.#try(task, from, oldest.block, limit);
      if (!found) continue;
      const older = found.filter((event) => event.seq < oldest.seq);
      if (older.length === 0) throw lagging();
      line = [...older, ...line];
      const newest = line.at(-1)?.seq === cursor.seq ? cursor.seq : cursor.seq - 1;
      checkLine(line, line[0]!.seq, newest);
      oldest = { seq: line[0]!.seq, block: line[0]!.prevBlock };
    }
    return line.filter((event) => event.seq < cursor.seq);
  }

  /** Would it take more windows than there are events? */
  #isSparse(blocks: number, events: number): boolean {
    return events <= LONGEST_WALK && Math.ceil(blocks / this.#span) > events;
  }

  /** The events from `newest` back to the one after `seq`. */
  async #walk(task: Hex, newest: Cursor, seq: number): Promise<TaskEvent[]> {
    const line: TaskEvent[] = []; // newest first
    for (let at = newest; at.seq > seq; ) {
      const found = (await this.#fetch(task, at.block, at.block)).filter((event) => event.seq <= at.seq);
      const [first] = found;
      if (!first) throw lagging();
      checkLine(found, first.seq, at.seq);
      line.push(...found.reverse());
      at = { seq: first.seq - 1, block: first.prevBlock };
    }
    return line.reverse().filter((event) => event.seq > seq);
  }

  /** Null when that was too much for one answer; less will be tried next. */
  async #try(task: Hex, from: number, to: number, limit: number): Promise<TaskEvent[] | null> {
    const width = to - from + 1;
    try {
      const events = await this.#fetch(task, from, to);
      if (events.length > SURPLUS * limit) this.#span = Math.max(1, Math.floor((width * limit) / events.length));
      else if (this.#content > 0) this.#content -= 1;
      else this.#span = Math.max(this.#span, 2 * width);
      return events;
    } catch (error) {
      if (!(isRefusal(error) || isTooLong(error)) || width === 1) throw error;
      this.#span = Math.floor(width / 2);
      this.#content = CONTENT;
      return null;
    }
  }
}
