import { note } from "../output.ts";
import { harmless } from "../words.ts";

/** It is looked this often; a terminal that is redrawn more often only flickers. */
const LOOK_MS = 200;
/** Elsewhere a line of status comes this often: enough for who waits, and no spam in a log. */
const LINE_MS = 10_000;
const ERASE = "\x1b[K";

/** What goes on, in lines for a terminal of a width, or in one line. */
export interface View {
  /** Some time has passed. */
  tick?(): void;
  /** Is called with every redraw. */
  lines(width: number): readonly string[];
  /** Null when there is nothing to say. */
  line(): string | null;
}

/**
 * Shows on stderr what goes on: on a terminal in lines that are redrawn, elsewhere as a line now and then. What has happened
 * stays there as a line of its own. It uses no colours.
 */
export class Screen {
  readonly #out: NodeJS.WriteStream;
  readonly #live: boolean;
  #view: View | null = null;
  /** The widths of the lines that stand there. */
  #drawn: number[] = [];
  #timer: NodeJS.Timeout | undefined;
  #lined = performance.now();
  readonly #woken = (): void => {
    this.#drawn = []; // the shell has written there meanwhile
  };

  /** @param silent Nothing is shown at all: a program reads us. */
  constructor({ silent = false }: { silent?: boolean } = {}, out: NodeJS.WriteStream = process.stderr) {
    this.#out = out;
    this.#live = out.isTTY === true && process.env.TERM !== "dumb";
    if (silent) return;
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    process.on("SIGCONT", this.#woken);
  }

  show(view: View | null): void {
    this.#view = view;
  }

  /** A line that stays. It may quote a server, which may say anything. */
  note(text: string): void {
    if (!this.#timer) return;
    this.#erase();
    note(harmless(text));
  }

  /** A line of the command's answer, on stdout, which may be the same terminal. */
  print(text: string): void {
    this.#erase();
    process.stdout.write(`${text}\n`);
  }

  /** Takes away what is redrawn, and ends. */
  end(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    process.off("SIGCONT", this.#woken);
    this.#erase();
  }

  #look(): void {
    this.#view?.tick?.();
    if (this.#live) this.#draw();
    else if (performance.now() - this.#lined >= LINE_MS) this.#line();
  }

  #line(): void {
    this.#lined = performance.now();
    const line = this.#view?.line();
    if (line) note(line);
  }

  #draw(): void {
    const width = Math.max(20, this.#out.columns || 80);
    const lines = (this.#view?.lines(width) ?? []).map((line) => line.slice(0, width - 1));
    this.#erase();
    if (lines.length > 0) this.#out.write(lines.map((line) => `${line}${ERASE}`).join("\n"));
    this.#drawn = lines.map(({ length }) => length);
  }

  /** A terminal that became narrower has broken the lines that stand there. */
  #erase(): void {
    if (this.#drawn.length === 0) return;
    const width = this.#out.columns || 80;
    const rows = this.#drawn.reduce((sum, length) => sum + Math.max(1, Math.ceil(length / width)), 0);
    this.#out.write(`\r${rows > 1 ? `\x1b[${rows - 1}A` : ""}\x1b[J`);
    this.#drawn = [];
  }
}
