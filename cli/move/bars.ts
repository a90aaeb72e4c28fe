import type { Moved } from "../../lib/index.ts";
import { Bar } from "./bar.ts";
import type { View } from "./screen.ts";

/** A bar for each sender from whom bytes come; of the others, that they are waited for. */
export class Bars implements View {
  readonly #bars = new Map<string, Bar>();
  readonly #waiting: Set<string>;

  constructor(names: readonly string[]) {
    this.#waiting = new Set(names);
  }

  update(name: string, moved: Moved): void {
    this.#waiting.delete(name);
    const bar = this.#bars.get(name) ?? new Bar(`from ${name}`);
    this.#bars.set(name, bar);
    bar.update(moved);
  }

  done(name: string): void {
    this.#waiting.delete(name);
    this.#bars.delete(name);
  }

  tick(): void {
    for (const bar of this.#bars.values()) bar.tick();
  }

  lines(width: number): readonly string[] {
    return [...[...this.#bars.values()].flatMap((bar) => bar.lines(width)), ...this.#rest()];
  }

  line(): string | null {
    const parts = [...[...this.#bars.values()].map((bar) => bar.line()), ...this.#rest()].filter(
      (part) => part !== null,
    );
    return parts.length === 0 ? null : parts.join("; ");
  }

  #rest(): string[] {
    return this.#waiting.size === 0 ? [] : [`waiting for ${[...this.#waiting].join(", ")}`];
  }
}
