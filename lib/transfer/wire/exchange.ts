import type { Socket } from "node:net";
import type { Head } from "./head.ts";
import { Reply } from "./reply.ts";
import type { WireRequest } from "./request.ts";
import type { Scratch } from "./scratch.ts";

/**
 * What is given to the socket at a time. Each write costs a turn of the event loop: with 64 KiB a GiB costs twice the
 * processor time, with more than this no less. And TLS makes an encrypted copy of it first.
 */
const SLICE: number = 1024 * 1024;
/** A server that says nothing to "Expect: 100-continue" may not know it; RFC 9110 has us go on. As long as curl waits. */
const CONTINUE_MS = 1_000;

/** An answer whose body is still to be read. */
export interface Answer {
  readonly head: Head;
  /** Fills `into` with the next bytes of the body. @returns how many there were: fewer than fit only at its end. */
  read(into: Uint8Array): Promise<number>;
  /** Lets the rest go. */
  discard(): void;
}

/** The connection on which it happens. */
interface Line {
  watch(ready: boolean): void;
  free(): void;
  destroy(reason: Error): void;
}

/** One request and its answer, over one connection. */
export class Exchange {
  readonly reply: Reply;
  readonly #line: Line;
  readonly #socket: Socket;
  readonly #request: WireRequest;
  #unsent: Uint8Array;
  #sending: "not yet" | "yes" | "done" | "stopped" = "not yet";
  #hesitation: ReturnType<typeof setTimeout> | undefined;
  #over = false;

  constructor(
    line: Line,
    socket: Socket,
    scratch: Scratch,
    request: WireRequest,
    settle: { resolve: (answer: Answer) => void; reject: (error: Error) => void },
  ) {
    this.#line = line;
    this.#socket = socket;
    this.#request = request;
    this.#unsent = request.body ?? new Uint8Array();
    this.reply = new Reply(request.method, scratch, {
      onContinue: () => this.#sendBody(),
      onHead: (head) => settle.resolve(this.#answer(head)),
      onEnd: (keepAlive) => this.#end(keepAlive),
      onFault: (fault) => {
        this.#finish();
        settle.reject(fault); // nobody hears it if the head was there: the body's reader is told
        line.destroy(fault);
      },
      onReader: () => void socket.resume(),
    });
  }

  /** @returns whether more bytes are wanted now. */
  landed(count: number): boolean {
    this.#request.moved?.(count);
    return this.reply.landed(count);
  }

  send(head: Uint8Array): void {
    const { signal, expect, body } = this.#request;
    signal.addEventListener("abort", this.#abort, { once: true });
    this.#line.watch(true);
    this.#socket.cork();
    this.#socket.write(head);
    if (expect && body) this.#hesitation = setTimeout(this.#insist, CONTINUE_MS);
    else this.#sendBody();
    this.#socket.uncork();
  }

  /** After what has come meanwhile is read: a process that stood still is late itself. */
  readonly #insist = (): void => void setImmediate(() => this.#sendBody());

  #sendBody(): void {
    clearTimeout(this.#hesitation);
    if (this.#sending !== "not yet" || this.#over) return;
    this.#sending = "yes";
    this.#sendSlice();
  }

  #sendSlice(): void {
    if (this.#sending !== "yes") return;
    if (this.#unsent.length === 0) {
      this.#sending = "done";
      return;
    }
    const slice = this.#unsent.subarray(0, SLICE);
    this.#unsent = this.#unsent.subarray(SLICE);
    this.#socket.write(slice, (error) => error || this.#sent(slice.length)); // the socket tells its error to the reply
  }

  #sent(count: number): void {
    this.#request.moved?.(count);
    if (this.#sending === "yes") this.#line.watch(true);
    this.#sendSlice();
  }

  #answer(head: Head): Answer {
    clearTimeout(this.#hesitation);
    if (this.#sending !== "done") this.#sending = "stopped"; // whatever it is, it doesn't want the rest
    this.#line.watch(false);
    return { head, read: (into) => this.#read(into), discard: () => this.#discard() };
  }

  async #read(into: Uint8Array): Promise<number> {
    if (!this.#over) this.#line.watch(true);
    try {
      return await this.reply.read(into);
    } finally {
      if (!this.#over) this.#line.watch(false);
    }
  }

  #discard(): void {
    if (!this.reply.skip()) this.#line.destroy(new Error("Nobody wants the rest of this answer."));
  }

  #end(keepAlive: boolean): void {
    this.#finish();
    if (keepAlive && this.#sending === "done") this.#line.free();
    else this.#line.destroy(new Error("The connection ends with this answer."));
  }

  #finish(): void {
    this.#over = true;
    clearTimeout(this.#hesitation);
    this.#request.signal.removeEventListener("abort", this.#abort);
  }

  readonly #abort = (): void => this.#line.destroy(this.#request.signal.reason as Error);
}
