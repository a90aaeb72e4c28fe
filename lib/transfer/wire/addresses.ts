/** S3 rotates its answers every few seconds; requests that begin together share one. */
const LIFE_MS = 5_000;
/** How long an address that failed is asked last. */
const AVOID_MS = 30_000;

/** All addresses of a name. */
export type Resolve = (host: string) => Promise<readonly string[]>;

/** The addresses of one host, so that connections spread over all of them. */
export class Addresses {
  readonly #host: string;
  readonly #resolve: Resolve;
  readonly #failed = new Map<string, number>();
  #found: Promise<readonly string[]> | null = null;
  #foundAt = 0;
  #turn = 0;

  constructor(host: string, resolve: Resolve) {
    this.#host = host;
    this.#resolve = resolve;
  }

  /**
   * In the order in which one connection shall try them: each call begins with the next one, and those that failed lately
   * come last. `fresh`: by an answer that nobody had yet. @throws what the resolver throws.
   */
  async list(fresh: boolean): Promise<string[]> {
    const now = performance.now();
    if (fresh || !this.#found || now - this.#foundAt > LIFE_MS) {
      this.#foundAt = now;
      this.#found = this.#resolve(this.#host);
      this.#found.catch(() => {
        this.#found = null;
      });
    }
    const found = await this.#found;
    const start = this.#turn++ % Math.max(1, found.length);
    const turned = [...found.slice(start), ...found.slice(0, start)];
    const failed = turned.filter((address) => now - (this.#failed.get(address) ?? -AVOID_MS) < AVOID_MS);
    return [...turned.filter((address) => !failed.includes(address)), ...failed];
  }

  failed(address: string): void {
    this.#failed.set(address, performance.now());
  }
}
