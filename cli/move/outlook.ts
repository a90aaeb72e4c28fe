import type { WaybillError } from "../../lib/index.ts";
import { emit } from "../output.ts";
import type { Screen } from "./screen.ts";
import { span } from "./words.ts";

/** Shorter trouble passes by itself, and nobody needs to know. */
const QUIET_MS = 10_000;
/** Then it is said again after so long. */
const REPEAT_MS = 60_000;

/** Tells who waits that nothing can be heard at present: a call goes on trying, and would say nothing until it gives up. */
export class Outlook {
  readonly #screen: Screen;
  readonly #json: boolean;
  #since: number | null = null;
  #said = Number.NEGATIVE_INFINITY;
  #told = false;

  constructor(screen: Screen, json: boolean) {
    this.#screen = screen;
    this.#json = json;
  }

  readonly onTrouble = (error: WaybillError | null): void => {
    const now = performance.now();
    if (error === null) {
      if (this.#told) this.#screen.note("It answers again.");
      this.#since = null;
      this.#told = false;
      return;
    }
    this.#since ??= now;
    const lasts = now - this.#since;
    if (lasts < QUIET_MS || now - this.#said < REPEAT_MS) return;
    this.#said = now;
    this.#told = true;
    const message = `No news for ${span(lasts)}${reasonOf(error)}; still trying. ${error.message}`;
    if (this.#json) emit({ event: "trouble", milliseconds: Math.round(lasts), code: error.code, message });
    this.#screen.note(message);
  };
}

/** What the system said, if it did: ECONNREFUSED tells another story than ENOTFOUND. */
function reasonOf(error: unknown): string {
  for (let at = error, depth = 0; at instanceof Error && depth < 6; at = at.cause, depth++) {
    const { code } = at as NodeJS.ErrnoException;
    if (typeof code === "string" && /^(E[A-Z]+|UND_ERR_[A-Z_]+)$/.test(code)) return ` (${code})`;
  }
  return "";
}
