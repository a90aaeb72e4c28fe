interface Waiting {
  readonly amount: number;
  readonly first: boolean;
  readonly enter: () => void;
}

/** So much of something that several use at a time. Who finds too little waits in line. */
export class Room {
  #capacity: number;
  #used = 0;
  readonly #line: Waiting[] = [];

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get used(): number {
    return this.#used;
  }

  /** Whether there is some left that nobody waits for. */
  get idle(): boolean {
    return this.#line.length === 0 && this.#used < this.#capacity;
  }

  /** Whether somebody waits who goes before all others. */
  get urgent(): boolean {
    return this.#line[0]?.first ?? false;
  }

  /** @throws the signal's reason when it aborts first. @param first Before all others. */
  async take(amount: number, signal: AbortSignal, first = false): Promise<void> {
    signal.throwIfAborted();
    if ((first || this.#line.length === 0) && this.#fits(amount)) {
      this.#used += amount;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const enter = (): void => {
        signal.removeEventListener("abort", stop);
        resolve();
      };
      const waiting = { amount, first, enter };
      const stop = (): void => {
        this.#line.splice(this.#line.indexOf(waiting), 1);
        this.#admit();
        reject(signal.reason as Error);
      };
      if (first) this.#line.unshift(waiting);
      else this.#line.push(waiting);
      signal.addEventListener("abort", stop, { once: true });
    });
  }

  /** Only if it is there now and nobody waits for it. */
  tryTake(amount: number): boolean {
    if (this.#line.length > 0 || !this.#fits(amount)) return false;
    this.#used += amount;
    return true;
  }

  give(amount: number): void {
    this.#used -= amount;
    this.#admit();
  }

  resize(capacity: number): void {
    this.#capacity = capacity;
    this.#admit();
  }

  #admit(): void {
    while (this.#line.length > 0 && this.#fits(this.#line[0]!.amount)) {
      const { amount, enter } = this.#line.shift()!;
      this.#used += amount;
      enter();
    }
  }

  /** What is larger than all there is gets in alone; it would wait for ever. */
  #fits(amount: number): boolean {
    return this.#used + amount <= this.#capacity || (this.#used === 0 && this.#capacity > 0);
  }
}
