import type { Address } from "../lib/protocol/hex.ts";

// What members say of themselves (tags, reasons, message bodies) is shown to others, in terminals that obey control characters.

/** Everything that isn't shown as itself: controls, invisible and direction-changing characters, breaks of lines, halves of pairs. */
const UNSAFE = /[\\\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;

/**
 * Text of others on one line, and safe for a terminal: what it could obey stands there as \x1b or \u{202e}, and a backslash
 * as two.
 * @param most Characters, after which it is cut off with "…".
 */
export function printable(text: string, most = 200): string {
  const characters = [...text.slice(0, 2 * most + 2)];
  const shown = characters.slice(0, most).join("").replaceAll(UNSAFE, escaped);
  return characters.length > most ? `${shown}…` : shown;
}

function escaped(character: string): string {
  if (character === "\\") return "\\\\";
  if (character === "\n") return "\\n";
  if (character === "\t") return "\\t";
  const code = character.codePointAt(0)!;
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
}

/** Seconds of chain time, as people read them everywhere. */
export function timeOf(seconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** What accounts are called: by the config file, and "you". */
export class Names {
  readonly #names: ReadonlyMap<Address, string>;

  constructor(names: ReadonlyMap<string, Address>, self: Address) {
    this.#names = new Map([[self, "you"], ...[...names].map(([name, account]) => [account, name] as const)]);
  }

  /** Null when it has no name. */
  of(account: Address): string | null {
    return this.#names.get(account) ?? null;
  }

  /** The name, or else the whole account. */
  short(account: Address): string {
    return this.of(account) ?? account;
  }

  full(account: Address): string {
    const name = this.of(account);
    return name === null ? account : `${account} (${name})`;
  }
}
