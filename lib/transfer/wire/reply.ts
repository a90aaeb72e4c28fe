import { garbage, WireFault } from "./fault.ts";
import { bare, checkInterim, fieldOf, framingOf, type Head, HeadLines, keepsAlive, MAX_HEAD } from "./head.ts";
import type { Scratch } from "./scratch.ts";

/** A size, and extensions, which hardly anybody sends. */
const CHUNK_LINE = /^([0-9A-Fa-f]{1,12})(?:;[\w-]+(?:=[\w-]+)?)*$/;
const MAX_CHUNK_LINE = 1024;
/** 100 Continue, 103 Early Hints, perhaps from two proxies. */
const MAX_INTERIM = 8;

/** What the connection is told. */
export interface ReplyEvents {
  /** The server wants the request's body: 100 Continue. */
  readonly onContinue: () => void;
  readonly onHead: (head: Head) => void;
  /** The last byte has come. */
  readonly onEnd: (keepAlive: boolean) => void;
  /** It can't be read on. */
  readonly onFault: (fault: Error) => void;
  /** Somebody waits for bytes again, after `landed` said that nobody does. */
  readonly onReader: () => void;
}

interface Reading {
  readonly into: Uint8Array;
  at: number;
  readonly resolve: (count: number) => void;
  readonly reject: (error: Error) => void;
}

/**
 * One response, read from bytes as they land. Knows nothing of sockets: whoever has bytes puts them into `room()` and
 * says how many there were. The body's bytes have their room in the memory of whoever reads.
 */
export class Reply {
  readonly #method: string;
  readonly #scratch: Scratch;
  readonly #events: ReplyEvents;
  #state: "head" | "body" | "chunk line" | "chunk end" | "trailers" | "end" | "fault" = "head";
  #lines = new HeadLines();
  /** Bytes of lines that are still allowed. */
  #allowed = MAX_HEAD;
  #interim = 0;
  #chunked = false;
  #keepAlive = false;
  /** Bytes of the body, or of this chunk, that are still to come. */
  #left = 0;
  #reading: Reading | null = null;
  /** Whether the last room was the reader's own memory. */
  #direct = false;
  #fault: Error | null = null;

  constructor(method: string, scratch: Scratch, events: ReplyEvents) {
    this.#method = method;
    this.#scratch = scratch;
    this.#events = events;
  }

  /** Where the next bytes shall land; never empty. */
  room(): Uint8Array {
    const reading = this.#reading;
    this.#direct = this.#state === "body" && reading !== null && this.#scratch.length === 0;
    if (!this.#direct || !reading) return this.#scratch.room();
    return reading.into.subarray(reading.at, Math.min(reading.into.length, reading.at + this.#left));
  }

  /** So many bytes have landed in the room. @returns whether more are wanted now. */
  landed(count: number): boolean {
    if (this.#state === "fault") return false;
    if (this.#direct && this.#reading) {
      this.#reading.at += count;
      this.#left -= count;
    } else this.#scratch.landed(count);
    this.#advance();
    return this.#state !== "body" || this.#reading !== null;
  }

  /** Bytes that have landed elsewhere. @returns whether more are wanted now. */
  feed(bytes: Uint8Array): boolean {
    this.#direct = false;
    for (let at = 0; at < bytes.length; ) {
      const room = this.#scratch.room();
      const piece = bytes.subarray(at, at + room.length);
      room.set(piece);
      this.#scratch.landed(piece.length);
      at += piece.length;
    }
    return this.landed(0);
  }

  /** The other side has ended. */
  closed(): void {
    if (this.#state === "body" && this.#left === Number.POSITIVE_INFINITY) {
      this.#left = this.#scratch.length; // what is there is all
      this.#advance();
    } else this.fail(new WireFault("CUT_SHORT", "The connection ended in the middle."));
  }

  /** No more is to be had. */
  fail(fault: Error): void {
    if (this.#state === "end" || this.#state === "fault") return;
    this.#state = "fault";
    this.#fault = fault;
    const reading = this.#reading;
    this.#reading = null;
    reading?.reject(fault);
    this.#events.onFault(fault);
  }

  /** Fills `into` with the next bytes of the body. @returns how many there were: fewer than fit only at its end. */
  read(into: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#fault) return reject(this.#fault);
      if (this.#reading) return reject(new Error("One read at a time."));
      if (this.#state === "end" || into.length === 0) return resolve(0);
      this.#reading = { into, at: 0, resolve, reject };
      this.#advance();
      if (this.#reading !== null) this.#events.onReader();
    });
  }

  /** Lets go of what is there already. @returns whether that was all. */
  skip(): boolean {
    while (this.#state === "body" && this.#scratch.length > 0) {
      this.#left -= this.#scratch.drop(this.#left);
      this.#advance();
    }
    return this.#state === "end";
  }

  #advance(): void {
    try {
      while (this.#step());
    } catch (error) {
      this.fail(error as Error);
    }
  }

  /** @returns whether there may be another. */
  #step(): boolean {
    switch (this.#state) {
      case "head":
        return this.#line(MAX_HEAD, (line) => this.#headLine(line));
      case "chunk line":
        return this.#line(MAX_CHUNK_LINE, (line) => this.#chunkLine(line));
      case "chunk end":
        return this.#line(2, (line) => this.#chunkEnd(line));
      case "trailers":
        return this.#line(MAX_HEAD, (line) => this.#trailer(line));
      case "body":
        return this.#body();
      default:
        return false;
    }
  }

  #line(most: number, use: (line: string) => void): boolean {
    const line = this.#scratch.line();
    if (line === null) {
      if (this.#scratch.length >= Math.min(most, this.#allowed)) throw garbage("a line without end");
      if (this.#state === "head" && this.#allowed === MAX_HEAD && !"HTTP/1.".startsWith(this.#scratch.peek(7)))
        throw garbage("no status line");
      return false;
    }
    if (line.length > Math.min(most, this.#allowed)) throw garbage("too long a line");
    if (this.#state === "head" || this.#state === "trailers") this.#allowed -= line.length;
    use(bare(line));
    return true;
  }

  #headLine(line: string): void {
    const head = this.#lines.add(line);
    if (!head) return;
    if (head.status >= 200) this.#begin(head);
    else this.#wait(head);
  }

  #wait(head: Head): void {
    checkInterim(head);
    if (++this.#interim > MAX_INTERIM) throw garbage("nothing but interim answers");
    this.#lines = new HeadLines();
    this.#allowed = MAX_HEAD;
    if (head.status === 100) this.#events.onContinue();
  }

  #begin(head: Head): void {
    const framing = framingOf(this.#method, head);
    this.#chunked = framing === "chunked";
    this.#keepAlive = keepsAlive(head, framing);
    this.#left = typeof framing === "number" ? framing : Number.POSITIVE_INFINITY;
    this.#state = this.#chunked ? "chunk line" : "body";
    if (this.#left === 0) this.#noMore();
    this.#events.onHead(head);
  }

  #chunkLine(line: string): void {
    const size = CHUNK_LINE.exec(line);
    if (!size) throw garbage("no chunk");
    this.#left = Number.parseInt(size[1]!, 16);
    this.#state = this.#left > 0 ? "body" : "trailers";
    this.#allowed = MAX_HEAD;
  }

  #chunkEnd(line: string): void {
    if (line !== "") throw garbage("a chunk is longer than it says");
    this.#state = "chunk line";
  }

  #trailer(line: string): void {
    if (line === "") this.#end();
    else fieldOf(line);
  }

  #body(): boolean {
    const reading = this.#reading;
    if (reading && this.#scratch.length > 0) {
      const most = Math.min(reading.into.length, reading.at + this.#left);
      const count = this.#scratch.take(reading.into.subarray(reading.at, most));
      reading.at += count;
      this.#left -= count;
    }
    if (this.#left === 0 && this.#chunked) this.#state = "chunk end";
    else if (this.#left === 0) this.#end();
    if (reading && reading.at === reading.into.length) this.#settle();
    return this.#state === "chunk end";
  }

  #end(): void {
    this.#noMore();
    this.#state = "end";
    this.#settle();
    this.#events.onEnd(this.#keepAlive);
  }

  #settle(): void {
    const reading = this.#reading;
    this.#reading = null;
    reading?.resolve(reading.at);
  }

  /** Nothing was asked for that could answer with more. */
  #noMore(): void {
    if (this.#scratch.length > 0) throw garbage("more bytes than it announces");
  }
}
