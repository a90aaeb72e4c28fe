import { Dice } from "./crowd.ts";

// Seeded mutations of good inputs: what gets past the first check of a parser is nearly good.

/** Something that an input may do to us and must not. */
export class Violation extends Error {}

/** Whom inputs are given to, one at a time. */
export interface Subject {
  readonly name: string;
  /** Of a hundred thousand inputs; the cheap ones get the rest. */
  readonly share: number;
  /** Makes one input and judges what became of it. @throws Violation */
  readonly try: (dice: Dice) => Promise<void> | void;
}

const TOKENS: readonly string[] = [
  ..."\0|\r\n|\r\n\r\n|\n|\t| |%00|%2e%2e%2f|../|..|//|\\|\"|'|;|,|:|=|&|#|?|@|{|}|[|]|(|)|<|>|<!--|-->|]]>|&#0;|&lt;|*".split(
    "|",
  ),
  ..."0x|0X|-0|-1|0.5|1e400|1e3|9007199254740993|18446744073709551616|NaN|Infinity|null|true|undefined|{}|[]".split(
    "|",
  ),
  ..."__proto__|constructor|prototype|toString|\u202e|\ufeff|\ud800|\udfff|é|e\u0301|İ|ß|𝟘|٣|\u2028|\x1b[2J|\x7f|\x80|\xff".split(
    "|",
  ),
  ..."javascript:|file:///etc/passwd|http://127.0.0.1|https://evil.test|//evil.test|bytes|chunked|gzip|eth=|created=|nonce=".split(
    "|",
  ),
];
/** As they stand in JSON: no JavaScript value says all of them. */
const JSON_VALUES: readonly string[] = [
  ...'null|true|false|0|-0|1|-1|0.5|1e400|-1e400|1e-400|1e3|9007199254740991|9007199254740993|18446744073709551616|01|+1|0x10|NaN|""'.split(
    "|",
  ),
  ...'"0"|"0x"|"0X00"|"\\u0000"|"\\ud800"|"\\udc00\\ud800"|"\\u202e"|"..%2f"|"../../outbox/x"|[]|{}|[[]]|[null]|{"":0}|{"__proto__":{"x":1}}'.split(
    "|",
  ),
  ...'{"constructor":{"prototype":{"x":1}}}|{"toJSON":1}|{"length":1e9}|"\u{1f600}"|"\\uD83D\\uDE00"|undefined|\'x\'|"x'.split(
    "|",
  ),
];
const KEYS: readonly string[] = [
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "",
  "0",
  "length",
  "task",
  "kind",
  "more",
];
const LONGEST = 80 * 1024;

export class Mutator {
  readonly dice: Dice;

  constructor(dice: Dice) {
    this.dice = dice;
  }

  chance(share: number): boolean {
    return this.dice.next() < share;
  }

  /** The text with some changes, at times none. */
  text(seed: string): string {
    let text = seed;
    for (let left = this.dice.whole(0, 3); left > 0; left--) text = this.#change(text).slice(0, LONGEST);
    return text;
  }

  bytes(seed: Uint8Array): Uint8Array {
    const bytes = Buffer.from(
      this.chance(0.5) ? Buffer.from(this.text(Buffer.from(seed).toString("utf8")), "utf8") : seed,
    );
    for (let left = this.dice.whole(0, 3); left > 0 && bytes.length > 0; left--)
      bytes[this.dice.whole(0, bytes.length - 1)] = this.dice.whole(0, 255);
    return new Uint8Array(bytes);
  }

  /** JSON text like the value's, with changes in its structure. */
  json(value: unknown): string {
    if (this.chance(0.1)) return this.text(JSON.stringify(value));
    const holes: string[] = [];
    const changed = this.#inside(structuredClone(value), holes, this.dice.whole(1, 2));
    const text = JSON.stringify(changed) ?? "";
    return text.replaceAll(/"@hole(\d+)@"/g, (_, at: string) => holes[Number(at)]!).slice(0, LONGEST);
  }

  /** The same with a key twice, which nobody who is strict may take. Null where there is no object. */
  doubled(value: object): string | null {
    const text = JSON.stringify(value);
    const keys = [...text.matchAll(/[{,]("(?:[^"\\]|\\.)*"):/g)];
    if (keys.length === 0) return null;
    const { 1: key, index } = this.dice.pick(keys);
    const spelled = this.chance(0.3) ? `"${escapedFirst(key!.slice(1, -1))}"` : key!;
    return `${text.slice(0, index + 1)}${spelled}:${this.dice.pick(["0", "null", '"x"', "{}"])},${text.slice(index + 1)}`;
  }

  #inside(value: unknown, holes: string[], changes: number): unknown {
    let root = value;
    for (let left = changes; left > 0; left--) root = this.#altered(root, holes);
    return root;
  }

  #altered(value: unknown, holes: string[]): unknown {
    if (value === null || typeof value !== "object" || this.chance(0.12)) return this.#instead(value, holes);
    const keys = Object.keys(value);
    const node = value as Record<string, unknown>;
    if (keys.length === 0 || this.chance(0.1)) return this.#resized(node, holes);
    const key = this.dice.pick(keys);
    if (this.chance(0.1) && !Array.isArray(value)) delete node[key];
    else node[key] = this.#altered(node[key], holes);
    return value;
  }

  #instead(value: unknown, holes: string[]): unknown {
    if (typeof value === "string" && this.chance(0.6)) return this.text(value);
    if (typeof value === "number" && this.chance(0.4)) return value + this.dice.pick([-1, 1, 0.5, 2 ** 31, 2 ** 53]);
    return this.#hole(this.dice.pick(JSON_VALUES), holes);
  }

  /** More or fewer entries, other keys, or much deeper. */
  #resized(node: Record<string, unknown>, holes: string[]): unknown {
    if (Array.isArray(node)) {
      const times = this.dice.pick([0, 2, 65, 257, 300]);
      return Array.from({ length: times }, () => node[0]);
    }
    if (this.chance(0.3)) return this.#hole(`${"[".repeat(40)}0${"]".repeat(40)}`, holes);
    return { ...node, [this.dice.pick(KEYS)]: this.#hole(this.dice.pick(JSON_VALUES), holes) };
  }

  #hole(text: string, holes: string[]): string {
    return `@hole${holes.push(text) - 1}@`;
  }

  #change(text: string): string {
    const at = this.dice.whole(0, text.length);
    const to = Math.min(text.length, at + this.dice.whole(1, 8));
    const [before, piece, after] = [text.slice(0, at), text.slice(at, to), text.slice(to)];
    switch (this.dice.whole(0, 8)) {
      case 0:
        return before + after;
      case 1:
        return before + this.dice.pick(TOKENS) + piece + after;
      case 2:
        return before + this.dice.pick(TOKENS) + after;
      case 3:
        return before + piece.repeat(this.dice.pick([2, 3, 100])) + after;
      case 4:
        return before;
      case 5:
        return before + (this.chance(0.5) ? piece.toUpperCase() : piece.toLowerCase()) + after;
      case 6:
        return before + [...piece].map((c) => `%${c.codePointAt(0)!.toString(16).padStart(2, "0")}`).join("") + after;
      case 7:
        return before + String.fromCharCode(this.dice.whole(0, this.chance(0.7) ? 127 : 0xffff)) + after;
      default:
        return after + before + piece;
    }
  }
}

function escapedFirst(key: string): string {
  return key === "" ? key : `\\u${key.charCodeAt(0).toString(16).padStart(4, "0")}${key.slice(1)}`;
}

/** How a run of inputs went. */
export interface Run {
  readonly name: string;
  inputs: number;
  milliseconds: number;
  /** The slowest input's. */
  longest: number;
}

/** The subjects' turns: those with a share get it, all others the rest in equal parts. */
export function plan(subjects: readonly Subject[], count: number): [Subject, number][] {
  const shared = subjects.reduce((sum, { share }) => sum + share, 0);
  const others = subjects.filter(({ share }) => share === 0).length;
  const rest = (count * (1 - shared / 100_000)) / Math.max(1, others);
  return subjects.map((one) => [one, Math.max(1, Math.ceil(one.share === 0 ? rest : (count * one.share) / 100_000))]);
}

/** Gives a subject so many inputs; each has a seed of its own, by which a violation can be repeated. */
export async function feed(subject: Subject, count: number, seed: number): Promise<Run> {
  const run: Run = { name: subject.name, inputs: 0, milliseconds: 0, longest: 0 };
  const begun = performance.now();
  for (let nth = 0; nth < count; nth++) {
    const own = (seed + Math.imul(nth, 0x9e3779b1)) | 0;
    const started = performance.now();
    try {
      await subject.try(new Dice(own));
    } catch (error) {
      throw new Error(`${subject.name}, input ${nth} of seed ${seed}: ${said(error)}`, { cause: error });
    }
    if (nth % 1_000 === 0) checkPrototypes();
    run.inputs += 1;
    run.longest = Math.max(run.longest, performance.now() - started);
  }
  checkPrototypes();
  run.milliseconds = performance.now() - begun;
  return run;
}

function said(error: unknown): string {
  return error instanceof Violation ? error.message : `not one of our errors: ${String(error)}`;
}

/** Whatever was read must not have come into every object. */
function checkPrototypes(): void {
  for (const prototype of [Object.prototype, Array.prototype, Function.prototype])
    if (Object.keys(prototype).length > 0 || "x" in prototype) throw new Violation("a prototype was written to");
}

/** What was in an input, fit for a message. */
export function shown(input: unknown): string {
  const text =
    typeof input === "string" ? input : input instanceof Uint8Array ? Buffer.from(input).toString("latin1") : input;
  return JSON.stringify(text).slice(0, 600);
}
