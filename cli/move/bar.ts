import type { Moved } from "../../lib/index.ts";
import { Rate } from "./rate.ts";
import type { View } from "./screen.ts";
import { percent, size, span } from "./words.ts";

const LEAST_BAR = 10;
const MOST_BAR = 40;

/** How far the bytes of one transfer are. */
export class Bar implements View {
  readonly #name: string;
  readonly #rate = new Rate();
  #moved: Moved = { movedBytes: 0, totalBytes: null, heldBytes: 0 };
  #begun = false;

  /** @param name Safe for a terminal. */
  constructor(name: string) {
    this.#name = name;
  }

  update(moved: Moved): void {
    this.#begun = true;
    this.#moved = moved;
  }

  tick(): void {
    if (this.#begun) this.#rate.look(performance.now(), this.#moved.movedBytes);
  }

  lines(width: number): readonly string[] {
    if (!this.#begun) return [];
    const words = this.#words();
    const { movedBytes, totalBytes } = this.#moved;
    const room = Math.min(MOST_BAR, width - 1 - this.#name.length - words.length - "  []  ".length);
    if (totalBytes === null || room < LEAST_BAR) return [`${this.#name}  ${words}`];
    const full = Math.floor((room * percent(movedBytes, totalBytes)) / 100);
    return [`${this.#name}  [${"#".repeat(full)}${"-".repeat(room - full)}]  ${words}`];
  }

  line(): string | null {
    return this.#begun ? `${this.#name}: ${this.#words()}` : null;
  }

  #words(): string {
    const { movedBytes, totalBytes } = this.#moved;
    const far =
      totalBytes === null
        ? size(movedBytes)
        : `${percent(movedBytes, totalBytes)} %  ${size(movedBytes)} of ${size(totalBytes)}`;
    return `${far}${this.#pace(totalBytes === null ? null : totalBytes - movedBytes)}`;
  }

  #pace(left: number | null): string {
    if (left !== null && left <= 0) return "";
    const { perSecond, stalled } = this.#rate;
    if (stalled !== null) return `  stalled for ${span(stalled)}`;
    if (perSecond === null) return "";
    const ms = left === null ? null : this.#rate.left(left);
    return `  ${size(perSecond)}/s${ms === null ? "" : `  ${span(ms)} left`}`;
  }
}
