/** What the operator should know: each thing once, and again only after it had passed. */
export class Notes {
  readonly #log: (line: string) => void;
  readonly #told = new Map<string, string>();

  constructor(log: (line: string) => void = () => {}) {
    this.#log = log;
  }

  /** `line`: what is wrong with `topic`; null when nothing is. */
  tell(topic: string, line: string | null): void {
    if (line !== null && this.#told.get(topic) !== line) this.#log(`publisher: ${line}`);
    if (line === null) this.#told.delete(topic);
    else this.#told.set(topic, line);
  }
}
