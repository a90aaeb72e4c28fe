import { connect, createServer, type Socket } from "node:net";
import type { Link } from "./servers.ts";

// A slow, far or failing link to a port of this machine: node link.js PORT {"rate":…,"delay":…,"breakEvery":…}
// It says its own port. Bytes go through as they are.

/** How often bytes are let go. */
const TICK_MS = 2;
/** What a connection may have standing here, beyond what its rate and delay keep on the way. */
const SLACK = 256 * 1024;
/** After a pause a connection may send so much at once, as through any shaper. */
const BURST_MS = 10;

interface Late {
  readonly bytes: Buffer;
  readonly due: number;
}

/** One direction of one connection. */
class Pipe {
  readonly #to: Socket;
  readonly #from: Socket;
  readonly #rate: number;
  readonly #delay: number;
  readonly #room: number;
  readonly #line: Late[] = [];
  #standing = 0;
  #allowance = 0;
  #last: number = performance.now();
  #ended = false;
  #full = false;

  constructor(from: Socket, to: Socket, rate: number, delay: number) {
    this.#from = from;
    this.#to = to;
    this.#rate = rate;
    this.#delay = delay;
    this.#room = SLACK + ((rate || 512 * 2 ** 20) * (delay + TICK_MS)) / 1_000;
    from.on("data", (bytes: Buffer) => this.#take(bytes));
    from.on("end", () => {
      this.#ended = true;
      this.work(performance.now());
    });
    to.on("drain", () => {
      this.#full = false;
    });
  }

  work(now: number): void {
    const limited = this.#rate > 0;
    this.#allowance = limited
      ? Math.min(this.#allowance + (this.#rate * (now - this.#last)) / 1_000, (this.#rate * BURST_MS) / 1_000)
      : Number.POSITIVE_INFINITY;
    this.#last = now;
    while (!this.#full && this.#allowance > 0 && (this.#line[0]?.due ?? Number.POSITIVE_INFINITY) <= now) this.#let();
    if (this.#standing < this.#room) this.#from.resume();
    if (this.#ended && this.#line.length === 0) this.#to.end();
  }

  #take(bytes: Buffer): void {
    this.#line.push({ bytes, due: performance.now() + this.#delay });
    this.#standing += bytes.length;
    if (this.#standing >= this.#room) this.#from.pause();
    if (this.#rate === 0 && this.#delay === 0) this.work(performance.now());
  }

  #let(): void {
    const { bytes } = this.#line.shift()!;
    this.#allowance -= bytes.length; // it may go below nothing, and waits the longer then
    this.#standing -= bytes.length;
    this.#full = !this.#to.write(bytes);
  }
}

const [port, text] = process.argv.slice(2);
const { rate, delay, breakEvery } = JSON.parse(text ?? "") as Link;
const pipes = new Set<Pipe>();
let carried = 0;
let breaks = 1;

/** The connection that carries the next round number of bytes breaks. */
function count(bytes: number, socket: Socket): void {
  carried += bytes;
  if (breakEvery === 0 || carried < breaks * breakEvery) return;
  breaks += 1;
  socket.resetAndDestroy();
}

const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
  const far = connect({ port: Number(port), host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
  const own = [new Pipe(near, far, rate, 0), new Pipe(far, near, rate, delay)];
  for (const pipe of own) pipes.add(pipe);
  far.on("data", ({ length }: Buffer) => count(length, near));
  const end = (): void => {
    near.destroy();
    far.destroy();
    for (const pipe of own) pipes.delete(pipe);
  };
  for (const socket of [near, far]) socket.on("error", end).on("close", end);
});
server.listen(0, "127.0.0.1", () => process.stdout.write(`${(server.address() as { port: number }).port}\n`));
setInterval(() => {
  const now = performance.now();
  for (const pipe of pipes) pipe.work(now);
}, TICK_MS);
