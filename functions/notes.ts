/** What the operator should know: each thing once for as long as it lasts, and again when it comes back. */
export class Notes {
  readonly #log: (line: string) => void;
  #before: ReadonlySet<string> = new Set();
  #now = new Set<string>();

  constructor(log: (line: string) => void = () => {}) {
    this.#log = log;
  }

  /** Something is so in this turn. */
  tell(line: string): void {
    if (!this.#before.has(line) && !this.#now.has(line)) this.#log(`publisher: ${line}`);
    this.#now.add(line);
  }

  /** The turn is over: what wasn't told in it has passed. */
  turn(): void {
    this.#before = this.#now;
    this.#now = new Set();
  }
}
