/** A terminal line is rewritten this often at most; more only flickers. */
const REDRAW_MS = 200;

/** Says on stderr how far everybody is: one rewritten line on a terminal, a line per finished transfer elsewhere. */
export class ProgressLine {
  readonly #shares = new Map<string, number>();
  readonly #out: NodeJS.WriteStream;
  #drawn = 0;

  constructor(out: NodeJS.WriteStream = process.stderr) {
    this.#out = out;
  }

  readonly update = (name: string, bytes: number, total: number): void => {
    const done = bytes >= total;
    if (done && this.#shares.get(name) === 100) return;
    this.#shares.set(name, done ? 100 : Math.floor((100 * bytes) / total));
    if (this.#out.isTTY) this.#draw(done);
    else if (done) this.note(`${name}: ${bytes} bytes done`);
  };

  /** A whole line that stays. */
  note(text: string): void {
    this.clear();
    this.#out.write(`${text}\n`);
  }

  /** Takes the rewritten line away. */
  clear(): void {
    if (this.#out.isTTY) this.#out.write("\r\x1b[K");
  }

  #draw(now: boolean): void {
    if (!now && performance.now() - this.#drawn < REDRAW_MS) return;
    this.#drawn = performance.now();
    const text = [...this.#shares].map(([name, share]) => `${name} ${share} %`).join("   ");
    this.#out.write(`\r\x1b[K${text.slice(0, (this.#out.columns ?? 80) - 1)}`);
  }
}
