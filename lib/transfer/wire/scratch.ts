/** Holds any head of a permitted size, and what follows a head in the same packet. */
const SIZE: number = 64 * 1024;
/** Below this a read is not worth its system call. */
const WORTH_READING = 4096;
const LF = 10;

/** What a connection has brought and nobody has taken yet. */
export class Scratch {
  #bytes: Buffer = Buffer.allocUnsafeSlow(SIZE);
  /** What is held lies between these two. */
  #from = 0;
  #to = 0;

  get length(): number {
    return this.#to - this.#from;
  }

  /**
   * Where the next bytes shall land; never empty. It stays right until the next call, whatever is taken meanwhile. TLS may
   * bring more after the socket was paused, what it had read before; then this grows.
   */
  room(): Uint8Array {
    if (this.#from > 0 && this.#bytes.length - this.#to < WORTH_READING) this.#move(this.#bytes);
    if (this.length === 0) this.#from = this.#to = 0;
    if (this.#to === this.#bytes.length) this.#move(Buffer.allocUnsafeSlow(2 * this.#bytes.length));
    return this.#bytes.subarray(this.#to);
  }

  /** `count` bytes have landed in the room. */
  landed(count: number): void {
    this.#to += count;
  }

  /** The next line without its CRLF, or null if it isn't whole yet. */
  line(): string | null {
    const end = this.#bytes.subarray(this.#from, this.#to).indexOf(LF);
    if (end < 0) return null;
    const line = this.#bytes.toString("latin1", this.#from, this.#from + end + 1);
    this.#from += end + 1;
    return line;
  }

  /** The first bytes as text. */
  peek(count: number): string {
    return this.#bytes.toString("latin1", this.#from, Math.min(this.#from + count, this.#to));
  }

  /** Moves as many bytes as there are, and as fit. */
  take(into: Uint8Array): number {
    const count = Math.min(into.length, this.length);
    into.set(this.#bytes.subarray(this.#from, this.#from + count));
    this.#from += count;
    return count;
  }

  /** Forgets as many bytes as there are, at most `most`. */
  drop(most: number): number {
    const count = Math.min(most, this.length);
    this.#from += count;
    return count;
  }

  #move(into: Buffer): void {
    this.#bytes.copy(into, 0, this.#from, this.#to);
    this.#bytes = into;
    this.#to -= this.#from;
    this.#from = 0;
  }
}
