import type { AddressInfo } from "node:net";
import { connect, createServer, type Socket } from "node:net";

/** Of what is no payload: it doesn't stand in line, so that a slow download is no slow API. */
const SMALL = 4096;
/** How often a line that is held is looked at. */
const LOOK_MS = 50;

/** A line to a server whose speed the test owns. */
export class Link {
  /** Bytes a second of all connections together; null: as fast as it goes. */
  rate: number | null = null;
  /** Nothing at all gets through; what comes meanwhile waits. */
  held = false;
  /** Connections that carry payload at the same time; what the others have waits. So parts come one after the other, and not all in the end. */
  lanes = Number.POSITIVE_INFINITY;
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((socket) => this.#open(socket));
  readonly #target: URL;
  readonly #inLane = new Set<Socket>();
  /** When the line is free for the next bytes. */
  #free = 0;

  private constructor(target: URL) {
    this.#target = target;
  }

  static async to(target: string): Promise<Link> {
    const link = new Link(new URL(target));
    await new Promise<void>((resolve) => link.#server.listen(0, "127.0.0.1", resolve));
    return link;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  #open(socket: Socket): void {
    const far = connect(Number(this.#target.port), this.#target.hostname);
    for (const [from, to] of [
      [socket, far],
      [far, socket],
    ] as const) {
      this.#sockets.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        this.#sockets.delete(from);
        this.#inLane.delete(from);
        to.end();
      });
      from.on("data", (bytes) => this.#carry(from, to, bytes));
    }
  }

  #carry(from: Socket, to: Socket, bytes: Buffer): void {
    from.pause();
    const pass = (): void => {
      if ((this.held || !this.#hasLane(from, bytes)) && !to.destroyed) {
        setTimeout(pass, LOOK_MS);
        return;
      }
      to.write(bytes);
      from.resume();
    };
    const now = performance.now();
    const takes = this.rate === null || bytes.length < SMALL ? 0 : (bytes.length * 1000) / this.rate;
    if (takes === 0) {
      pass();
      return;
    }
    this.#free = Math.max(now, this.#free) + takes;
    setTimeout(pass, this.#free - now);
  }

  #hasLane(from: Socket, { length }: Buffer): boolean {
    if (length < SMALL || this.#inLane.has(from)) return true;
    if (this.#inLane.size >= this.lanes) return false;
    this.#inLane.add(from);
    return true;
  }
}
