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
  return cut(text, most).replaceAll(UNSAFE, escaped);
}

/** The first characters of a text, and "…" if there are more. */
export function cut(text: string, most: number): string {
  const characters = [...text.slice(0, 2 * most + 2)]; // a character has two units at most
  return characters.length > most ? `${characters.slice(0, most).join("")}…` : text;
}

/** As `printable`, for sentences of ours that quote others: on one line, with backslashes as they are, and whole. */
export function harmless(text: string): string {
  return text.replaceAll(UNSAFE, (character) => (character === "\\" ? character : escaped(character)));
}

/** JSON on one line that a terminal shows and doesn't obey, and that any parser reads as the same value. */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value).replaceAll(UNSAFE, (character) => (character === "\\" ? character : units(character)));
}

function units(character: string): string {
  const hex = (unit: number): string => `\\u${unit.toString(16).padStart(4, "0")}`;
  return Array.from({ length: character.length }, (_, i) => hex(character.charCodeAt(i))).join("");
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

/** 12.3 MiB */
export function sizeOf(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)));
  return `${(bytes / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}

/** 3 s, 5 min, 2 h, 4 d */
export function spanOf(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`;
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
