import type { OnReadOpts, Socket } from "node:net";
import { type Answer, Exchange } from "./exchange.ts";
import { stalled, WireFault } from "./fault.ts";
import type { WireRequest } from "./request.ts";
import { Scratch } from "./scratch.ts";

/** S3 closes idle connections after about 5 s; one that we close first can't die under a request. */
const IDLE_MS = 4_000;

/** Enough for one turn of a busy event loop. */
const DOUBT_MS = 1_000;

/** Who keeps connections hears when one is free again, and when it is gone. */
interface Keeper {
  onFree(): void;
  onGone(): void;
}

/** One connection, for one request after another. */
export class Connection {
  readonly #scratch = new Scratch();
  readonly #stallMs: number;
  readonly #keeper: Keeper;
  #socket: Socket | null = null;
  #exchange: Exchange | null = null;
  /** Silent for too long, unless something comes now. */
  #doubted = false;

  constructor(stallMs: number, keeper: Keeper) {
    this.#stallMs = stallMs;
    this.#keeper = keeper;
  }

  /**
   * What the socket must be made with. It asks for memory before every read, so that the bytes of a body land where their
   * reader wants them.
   */
  readonly onread: OnReadOpts = {
    buffer: () => this.#exchange?.reply.room() ?? this.#scratch.room(),
    callback: (count) => this.#landed(count),
  };

  /** Takes over a socket that is connected. */
  attach(socket: Socket): void {
    this.#socket = socket;
    socket.on("data", (chunk) => this.#pour(chunk)); // of those that don't know onread
    socket.on("end", () => this.#exchange?.reply.closed());
    socket.on("error", (error) => this.#exchange?.reply.fail(error));
    socket.on("timeout", () => this.#silent());
    socket.on("close", () => {
      this.#exchange?.reply.fail(new WireFault("CUT_SHORT", "The connection ended in the middle."));
      this.#keeper.onGone();
    });
  }

  /** As far as we know; the other side may have ended it just now. */
  get isAlive(): boolean {
    return this.#socket?.readyState === "open";
  }

  /** Sends a request, whose head is given, and waits for the head of its answer. @throws WireFault, the socket's error, the signal's reason. */
  exchange(request: WireRequest, head: Uint8Array): Promise<Answer> {
    const socket = this.#socket!;
    return new Promise((resolve, reject) => {
      socket.ref();
      this.#exchange = new Exchange(this, socket, this.#scratch, request, { resolve, reject });
      this.#exchange.send(head);
    });
  }

  /** Whether anybody is ready for bytes to move; only then is silence a stall. */
  watch(ready: boolean): void {
    this.#doubted = false;
    this.#socket?.setTimeout(ready ? this.#stallMs : 0); // a long write that moves counts as moving
  }

  /**
   * If this process itself was held up, timers go off before it sees what came meanwhile. So silence is believed when it
   * lasts a little longer.
   */
  #silent(): void {
    if (this.#doubted || !this.#exchange) {
      this.destroy(stalled(this.#stallMs));
    } else {
      this.#doubted = true;
      this.#socket?.setTimeout(Math.min(DOUBT_MS, this.#stallMs / 4));
    }
  }

  /** The exchange is over and has left nothing behind. */
  free(): void {
    const socket = this.#socket!;
    this.#exchange = null;
    socket.resume(); // it may have been told to wait for a reader; now it listens for the other side's end
    socket.setTimeout(IDLE_MS);
    socket.unref();
    this.#keeper.onFree();
  }

  /** Ends it now, whatever is under way. */
  destroy(reason: Error): void {
    this.#socket?.destroy();
    this.#exchange?.reply.fail(reason);
  }

  #pour(chunk: Uint8Array): void {
    if (this.#doubted) this.watch(true);
    if (!this.#exchange) this.#socket?.destroy();
    else if (!this.#exchange.reply.feed(chunk)) this.#socket?.pause();
  }

  #landed(count: number): boolean {
    if (this.#doubted) this.watch(true);
    if (this.#exchange) return this.#exchange.landed(count);
    this.#socket?.destroy(); // it speaks without being asked
    return false;
  }
}
