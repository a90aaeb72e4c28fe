/** S3 lists keys in the order of their UTF-8 bytes, which differs from JavaScript's UTF-16 order. */
export function compareKeys(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** The keys of a bucket, in S3's order. */
export class SortedKeys {
  readonly #keys: string[] = [];

  add(key: string): void {
    const index = this.indexOf(key);
    if (this.#keys[index] !== key) this.#keys.splice(index, 0, key);
  }

  remove(key: string): void {
    const index = this.indexOf(key);
    if (this.#keys[index] === key) this.#keys.splice(index, 1);
  }

  /** Keys at or behind `key`, in order. */
  *from(key: string): Generator<string> {
    for (let index = this.indexOf(key); index < this.#keys.length; index++) yield this.#keys[index] as string;
  }

  /** Where `key` is, or would be. */
  private indexOf(key: string): number {
    let [low, high] = [0, this.#keys.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareKeys(this.#keys[middle] as string, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
