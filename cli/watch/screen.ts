/** Shows the newest state of something: on a terminal in place of the one before, elsewhere below it, and only when it has changed. */
export class Screen {
  readonly #inPlace: boolean;
  #gist: string | null = null;
  #lines = 0;

  /** @param lines Below each other in any case. */
  constructor(lines: boolean) {
    this.#inPlace = !lines && process.stdout.isTTY === true;
  }

  /** @param gist What makes it another state. */
  show(text: string, gist: string): void {
    if (this.#inPlace) this.#replace(text);
    else if (gist !== this.#gist && text !== "") process.stdout.write(`${text}\n`);
    this.#gist = gist;
  }

  #replace(text: string): void {
    const [columns, rows] = [process.stdout.columns || 80, process.stdout.rows || 24]; // a terminal may know no size, and say 0
    const lines = text.split("\n");
    const shown =
      lines.length < rows ? lines : [...lines.slice(0, rows - 2), `… ${lines.length - rows + 2} more lines`];
    const up = this.#lines === 0 ? "" : `\x1b[${this.#lines}A\r\x1b[J`;
    process.stdout.write(`${up}${shown.join("\n")}\n`);
    this.#lines = shown.reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns)), 0);
  }
}
