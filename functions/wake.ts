import type { Bell } from "./bell.ts";

/** The door bell of a publisher in the same process. A ring while it works is heard when it next waits. */
export class DoorBell {
  #rung = false;
  #wake: (() => void) | null = null;

  readonly ring: Bell = async () => {
    this.#rung = true;
    this.#wake?.();
  };

  /** Until the bell rings, `ms` milliseconds have passed, or `signal` aborts. */
  async wait(ms: number, signal?: AbortSignal): Promise<void> {
    if (!this.#rung && !signal?.aborted) await this.#sleep(ms, signal);
    this.#rung = false;
  }

  #sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", wake);
        this.#wake = null;
        resolve();
      };
      const timer = setTimeout(wake, ms);
      signal?.addEventListener("abort", wake);
      this.#wake = wake;
    });
  }
}
