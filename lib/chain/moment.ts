/**
 * Now, and how long ago that is: by both clocks, because the monotonic one may stand still while a process is frozen, as
 * Lambda freezes its instances, and the other one may be set.
 */
export class Moment {
  readonly #monotonic: number = performance.now();
  readonly #wall: number = Date.now();

  /** Whether it is less than `ms` milliseconds ago. */
  isWithin(ms: number): boolean {
    const wall = Date.now() - this.#wall;
    return performance.now() - this.#monotonic < ms && wall >= 0 && wall < ms;
  }
}
