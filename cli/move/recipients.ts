import type { ReceiptEvent, RecipientEvent } from "../../lib/index.ts";
import type { View } from "./screen.ts";
import { percent, span } from "./words.ts";

/** Whose age is told: who moves is heard of every few seconds. */
const OLD_MS = 10_000;

/** How far the recipients of a notice are, by their names. */
export class Recipients implements View {
  readonly #told = new Map<string, RecipientEvent>();
  readonly #heard = new Map<string, number>();
  readonly #answers = new Map<string, string>();
  readonly #names: readonly string[];
  #deadline: number | null = null;

  constructor(names: readonly string[]) {
    this.#names = names;
  }

  /** Seconds since 1970, in the chain's time. */
  set deadline(seconds: number) {
    this.#deadline = seconds;
  }

  update(event: RecipientEvent): void {
    this.#told.set(event.recipient, event);
    this.#heard.set(event.recipient, performance.now());
  }

  answered({ recipient, outcome }: Pick<ReceiptEvent, "recipient" | "outcome">): void {
    this.#answers.set(recipient, outcome === "VERIFIED" ? "verified" : `rejected it: ${outcome}`);
  }

  lines(): readonly string[] {
    const longest = Math.max(...this.#names.map(({ length }) => length));
    return [...this.#names.map((name) => `${name.padEnd(longest)}  ${this.#stateOf(name)}`), ...this.#timeLeft()];
  }

  line(): string | null {
    const waited = this.#names.filter((name) => !this.#answers.has(name));
    const list = waited.map((name) => `${name} (${this.#stateOf(name)})`);
    return list.length === 0 ? null : [`waiting for ${list.join(", ")}`, ...this.#timeLeft()].join("; ");
  }

  #timeLeft(): string[] {
    if (this.#deadline === null) return [];
    return [`the deadline is in ${span(this.#deadline * 1000 - Date.now())}`];
  }

  #stateOf(name: string): string {
    const answer = this.#answers.get(name);
    if (answer) return answer;
    const told = this.#told.get(name);
    if (!told) return "waiting";
    const age = told.age + performance.now() - this.#heard.get(name)!;
    const old = age > OLD_MS ? `, ${span(age)} ago` : "";
    const share = `${percent(told.bytes, told.totalBytes)} %`;
    if (told.state === "verified") return "has it, and its receipt is on its way";
    if (told.state === "failed") return `failed at ${share}${old}, and may come back`;
    if (told.state === "waiting") return `is in line for it${old}`;
    return told.stalled ? `stalled at ${share}${old}` : `downloading ${share}${old}`;
  }
}
